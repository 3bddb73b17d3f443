"""How long words take from being said to being shown, and how often they are changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Percentiles:
    """In milliseconds; linear between the two nearest words."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Latency:
    """Over all final words. None where there is no word.

    Emission: from the capture of a word's end to the moment at which its place first showed it. Commit: to the
    moment from which it never changed. Both are negative for a word that is recognised before its end.
    Revision rate: words shown and later changed, divided by final words.
    """

    emission_ms: Percentiles | None
    commit_ms: Percentiles | None
    revision_rate: float | None


def latency(lines: Iterable[Mapping[str, Any]]) -> Latency:
    """The latency of the words in lines of ``operators.sinks:JsonLines``. Lines that tell of gaps are passed over.

    Only a run in real time says anything: one that runs as fast as possible captures its media at no time.
    """
    emissions, commits, revisions = [], [], 0
    for line in lines:
        revisions += line.get("revisions", 0)
        for word in line.get("words", ()):
            emissions.append(1000 * (word["emitted_at"] - word["captured_at"]))
            commits.append(1000 * (word["committed_at"] - word["captured_at"]))
    return Latency(_percentiles(emissions), _percentiles(commits), revisions / len(commits) if commits else None)


def _percentiles(values_ms: Sequence[float]) -> Percentiles | None:
    if not values_ms:
        return None
    p50, p90, p99 = (round(float(value), 1) for value in np.percentile(values_ms, [50, 90, 99]))
    return Percentiles(p50, p90, p99)
