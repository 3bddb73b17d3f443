"""Where the time of each word went, from the capture of its end to the moment from which it never changed.

The way back from that moment: the sink had the caption from a node, which made it of a packet, which another node had
given, and so on to the source. Which of a node's calls gave a packet is told by media time: the one whose output covers
the packet's end, the last of them that began before the packet was there. So every stretch of wall-clock time between
capture and commit belongs to one stage, and a way that cannot be followed to its source leaves a rest, "unexplained".
A source's stage begins with the capture.

Media that came after the word and still had to be heard (the recogniser's look-ahead, the commit policy's caution, the
rest of a chunk) makes the first stage: until the last packet that decided the word had itself been captured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Literal

import numpy as np

from mmstream.core import Packet
from mmstream.observe.reading import Trace
from mmstream.observe.spans import Span
from mmstream.observe.words import Committed, Words

Part = Literal["later media", "to", "queue", "work", "unexplained"]

SAME_S = 1e-5  # media and wall-clock seconds that differ by less are the same: files hold microseconds
SEARCH_S = 300.0  # wall-clock seconds before a packet's arrival in which the call that gave it is looked for


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a word's way, wall-clock seconds. It ends before it begins where clocks or word times disagree."""

    part: Part
    node: str  # empty for what belongs to none
    began: float
    ended: float

    @property
    def name(self) -> str:
        return self.node if self.part == "work" else f"{self.part} {self.node}".rstrip()


@dataclass(frozen=True, slots=True)
class Waterfall:
    """One word; its stages in order, each beginning where the one before it ends."""

    word: Committed
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """One stage over all words, milliseconds."""

    name: str
    mean: float
    p50: float
    p95: float


def waterfalls(trace: Trace) -> list[Waterfall]:
    """Every word that became stable, in the order in which it did."""
    ways = _Ways(trace)
    words, found = Words(), []
    for shown in trace.shown:
        packet = Packet(trace.session, shown.start, shown.end, shown.caption, shown.captured_at)
        for word in words.take(packet, shown.at):
            found.append(Waterfall(word, tuple(ways.stages(word, shown.node))))
    return found


def shares(falls: Sequence[Waterfall]) -> list[Share]:
    """Every stage of any word, in order, the rest last; their means add up to the mean commit latency."""
    kinds = {_kind(stage): stage.name for fall in falls for stage in fall.stages}
    after: dict[_Kind, set[_Kind]] = {}
    for fall in falls:
        known = [_kind(stage) for stage in fall.stages if stage.part != "unexplained"]
        for kind, before in zip(known, [None, *known[:-1]], strict=True):
            after.setdefault(kind, set()).update([] if before is None else [before])
    found = [share(kinds[kind], _spent(falls, kind)) for kind in TopologicalSorter(after).static_order()]
    return [*found, share("unexplained", _spent(falls, ("unexplained", "")))]


def share(name: str, seconds: Iterable[float]) -> Share:
    """Mean and percentiles of one stage's time in every word."""
    values = 1000 * np.fromiter(seconds, float)
    p50, p95 = np.percentile(values, [50, 95])
    return Share(name, float(values.mean()), float(p50), float(p95))


_Kind = tuple[Part, str]


def _kind(stage: Stage) -> _Kind:
    return stage.part, stage.node


def _spent(falls: Sequence[Waterfall], kind: _Kind) -> Iterator[float]:
    """Seconds that each word was in a stage."""
    for fall in falls:
        yield sum(stage.ended - stage.began for stage in fall.stages if _kind(stage) == kind)


class _Ways:
    """Finds which call gave what another one took."""

    def __init__(self, trace: Trace) -> None:
        self._inputs = trace.inputs
        self._spans: dict[str, list[Span]] = {}
        for spans in trace.spans.values():
            for span in spans:
                self._spans.setdefault(span.node, []).append(span)
        for spans in self._spans.values():
            spans.sort(key=lambda span: span.began)
        self._beginnings = {node: [span.began for span in spans] for node, spans in self._spans.items()}

    def stages(self, word: Committed, sink: str) -> list[Stage]:
        """The stages of a word that became stable at ``sink``."""
        stages: list[Stage] = []
        span = next((span for span in self._before(sink, word.committed_at) if span.kind == "Caption"), None)
        at, taker = word.committed_at, sink
        while span is not None:
            if at > span.ended:
                stages.append(Stage("to", taker, span.ended, at))
                at = span.ended
            stages.append(Stage("work", span.node, span.began, at))
            at = span.began
            if span.waited_s > 0:
                stages.append(Stage("queue", span.node, at - span.waited_s, at))
                at -= span.waited_s
            last, taker, span = span, span.node, self._giver(span, at)
        if not stages:
            return [Stage("unexplained", "", word.captured_at, at)]
        if self._inputs.get(last.node):
            stages.append(Stage("unexplained", "", last.captured_at, at))
        else:  # a source: its part begins with the capture
            stages[-1] = replace(stages[-1], began=last.captured_at)
        stages.append(Stage("later media", "", word.captured_at, last.captured_at))
        return stages[::-1]

    def _giver(self, taken: Span, at: float) -> Span | None:
        """The call that gave what ``taken`` took and what was there at the wall-clock second ``at``."""
        givers = []
        for node in self._inputs.get(taken.node, ()):
            giver = next((span for span in self._before(node, at) if _gave(span, taken)), None)
            if giver is not None:
                givers.append(giver)
        return max(givers, key=lambda span: span.began, default=None)

    def _before(self, node: str, at: float) -> Iterable[Span]:
        """The node's calls that had begun, the last first."""
        spans = self._spans.get(node, [])
        for place in range(bisect_right(self._beginnings.get(node, []), at + SAME_S) - 1, -1, -1):
            if spans[place].began < at - SEARCH_S:
                return
            yield spans[place]


def _gave(span: Span, taken: Span) -> bool:
    if taken.kind == "End":
        return span.kind == "End"
    return span.gave is not None and span.gave[0] - SAME_S <= taken.end <= span.gave[1] + SAME_S
