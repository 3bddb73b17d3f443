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
    """Over all utterances of a manifest. None where there is nothing to measure.

    Emission: from the capture of a word's end to the moment at which its place first showed it. Commit: to the
    moment from which it never changed. Both are negative for a word that is recognised before its end. First
    partial: from the onset of speech to the first word shown. Finalisation: from the true end of speech to the
    moment at which the last word became final. Both need the times of the words in the manifest; an entry of which
    no word came out is counted in ``missing_finals`` and in neither. Revision rate: words shown and later changed,
    divided by final words.
    """

    emission_ms: Percentiles | None
    commit_ms: Percentiles | None
    first_partial_ms: Percentiles | None
    finalisation_ms: Percentiles | None
    missing_finals: int
    revision_rate: float | None


@dataclass(frozen=True)
class Timed:
    """What came out for one entry of a manifest, and when its speech truly begins and ends, media seconds."""

    lines: Sequence[Mapping[str, Any]]  # of operators.sinks:JsonLines
    onset: float | None = None
    end: float | None = None


def latency(utterances: Iterable[Timed]) -> Latency:
    """The latency of the words in ``utterances``. Lines that tell of gaps are passed over.

    Only a run in real time says anything: one that runs as fast as possible captures its media at no time.
    """
    emissions, commits, firsts, finals = [], [], [], []
    revisions = missing = 0
    for utterance in utterances:
        words = [word for line in utterance.lines for word in line.get("words", ())]
        revisions += sum(line.get("revisions", 0) for line in utterance.lines)
        emissions += [1000 * (word["emitted_at"] - word["captured_at"]) for word in words]
        commits += [1000 * (word["committed_at"] - word["captured_at"]) for word in words]
        if utterance.onset is None or utterance.end is None:
            continue
        if not words:
            missing += 1
            continue
        origin = words[0]["captured_at"] - words[0]["end"]  # wall time of media second 0
        firsts.append(1000 * (_first_shown(utterance.lines) - (origin + utterance.onset)))
        finals.append(1000 * (words[-1]["committed_at"] - (origin + utterance.end)))
    return Latency(
        _percentiles(emissions),
        _percentiles(commits),
        _percentiles(firsts),
        _percentiles(finals),
        missing,
        revisions / len(commits) if commits else None,
    )


def _first_shown(lines: Sequence[Mapping[str, Any]]) -> float:
    """Wall time of the first word shown; of those that stayed, where the lines do not say when others came."""
    told = [line["shown_at"] for line in lines if line.get("shown_at") is not None]
    return float(min(told or [word["emitted_at"] for line in lines for word in line.get("words", ())]))


def _percentiles(values_ms: Sequence[float]) -> Percentiles | None:
    if not values_ms:
        return None
    p50, p90, p99 = (round(float(value), 1) for value in np.percentile(values_ms, [50, 90, 99]))
    return Percentiles(p50, p90, p99)
