"""``mmstream bench overload``: a live session whose recogniser is three times too slow for a while, and then is not."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from mmstream.benchmarks.table import Figure, Report, percentile
from mmstream.core import MmstreamError, Operator, Packet, Sink, Source
from mmstream.drive import run_to_end, running
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.media import AudioChunk, Gap, Hypothesis
from mmstream.pipeline import check, read_text

SAMPLE_RATE = 16_000  # Hz
PACKET_S = 0.1
CALM_S = 0.03  # that the stub takes for a packet
OVERLOAD = 3.0  # times real time that it takes while it is overloaded
SERIES_S = 5.0  # media seconds of each figure in the series
BACK_S = 10.0  # target: lag is back under the bound so long after the overload
HERE = "mmstream.benchmarks.overload"


@dataclass(frozen=True)
class Course:
    """One round: how long each part of it lasts, and how late its media may be."""

    warm_s: float = 5.0
    overload_s: float = 60.0
    after_s: float = 20.0
    bound_s: float = 5.0

    @property
    def calm_again_s(self) -> float:
        """Second of the round at which the overload ends."""
        return self.warm_s + self.overload_s

    @property
    def seconds(self) -> float:
        return self.calm_again_s + self.after_s

    def cost_s(self, at_s: float) -> float:
        """What the stub takes for a packet at that second of the round."""
        return OVERLOAD * PACKET_S if self.warm_s <= at_s < self.calm_again_s else CALM_S


@dataclass
class Round:
    """One round: when it began, and what came out of it."""

    course: Course
    origin: float = 0.0  # wall-clock seconds
    sent: int = 0  # packets
    arrived: list[tuple[float, float]] = field(default_factory=list)  # second of the round, lag in seconds
    recognised_s: float = 0.0  # of media
    gaps: list[tuple[float, str]] = field(default_factory=list)  # seconds, reason
    dropped: int = 0  # packets, as its queues count them

    @property
    def lost_s(self) -> float:
        """Of media: sent and not recognised."""
        return self.sent * PACKET_S - self.recognised_s

    @property
    def told_s(self) -> float:
        """Of media: lost, as the gaps say."""
        return sum(seconds for seconds, _ in self.gaps)

    def lags(self, since_s: float, until_s: float) -> list[float]:
        return [lag for at, lag in self.arrived if since_s <= at < until_s]

    def back_s(self, lag_s: float) -> float:
        """How long after the overload what comes out was still more than ``lag_s`` behind."""
        after = [(at - self.course.calm_again_s, lag) for at, lag in self.arrived if at >= self.course.calm_again_s]
        if not after:
            raise MmstreamError("nothing came out after the overload")
        return max((at for at, lag in after if lag > lag_s), default=0.0)


class Live(Source):
    """Silence at the pace of the clock, captured at the moment of each packet's end."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)
    live: ClassVar[bool] = True
    runs_on = "driver"

    def __init__(self, under_way: Any = None) -> None:
        super().__init__()
        self.under_way: Round = under_way

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        one = self.under_way
        one.origin = self.clock.now()
        chunk = AudioChunk(np.zeros((round(PACKET_S * SAMPLE_RATE), 1), np.float32), SAMPLE_RATE)
        for k in range(round(one.course.seconds / PACKET_S)):
            due = one.origin + (k + 1) * PACKET_S
            if self.clock.wait(due - self.clock.now(), self.stopping):
                return
            one.sent = k + 1
            yield Packet(session, k * PACKET_S, (k + 1) * PACKET_S, chunk, due)


class Slow(Operator[None]):
    """A recogniser that takes as long for a packet as the course says, and gives one hypothesis for each.

    It waits, as one does that waits for a GPU.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)

    def __init__(self, under_way: Any = None) -> None:
        self.under_way: Round = under_way

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        one = self.under_way
        time.sleep(one.course.cost_s(self.clock.now() - one.origin))
        yield packet.derive(Hypothesis((), final=True))


class Told(Sink[None]):
    """Notes what comes out, and when."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk, Hypothesis, Gap)

    def __init__(self, under_way: Any = None) -> None:
        self.under_way: Round = under_way

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        one, now = self.under_way, self.clock.now()
        if isinstance(packet.data, Gap):
            one.gaps.append((packet.end - packet.start, packet.data.reason))
        else:
            one.arrived.append((now - one.origin, now - packet.captured_at))
            one.recognised_s += packet.end - packet.start
        return ()


def measure_overload(rounds: int, course: Course, say: Callable[[str], None]) -> Report:
    """``rounds`` times the course; ``say`` hears how far it is."""
    done = []
    for number in range(rounds):
        say(f"overload, round {number + 1} of {rounds}: {course.seconds:g} s")
        done.append(_go(course))
    settings = {
        "rounds": rounds,
        "bound": f"{course.bound_s:g} s",
        "overload": f"{OVERLOAD:g} times real time for {course.overload_s:g} s; before and after {CALM_S / PACKET_S:g}",
        "packets": f"{1000 * PACKET_S:g} ms",
        "executor": "local",
    }
    return Report(
        "overload",
        "A live session through an overload",
        settings,
        _figures(course, done),
        (
            "Lag is from the capture of a packet's end until its hypothesis has come to the sink.",
            f"The first gap of the last round says: {done[-1].gaps[0][1] if done[-1].gaps else 'there was none'}",
        ),
        {"lag_s": {"every_s": SERIES_S, "highest": _series(done[-1])}},
    )


def _graph(under_way: Round) -> Graph:
    """Source, recogniser, sink. The queue is longer than the bound, which is what is to act."""
    capacity = round(2 * under_way.course.bound_s / PACKET_S)
    text = f"""
max_lag_ms: {1000 * under_way.course.bound_s:g}
capacity: {capacity}
nodes:
  source: {{use: {HERE}:Live}}
  decode: {{use: {HERE}:Slow, from: source}}
  told: {{use: {HERE}:Told, from: decode}}
"""
    graph = check(read_text(text, "<bench overload>"), allow=[HERE])
    given = {"under_way": under_way}
    return replace(graph, nodes={name: replace(node, arguments=given) for name, node in graph.nodes.items()})


def _go(course: Course) -> Round:
    """One round.

    Raises:
        MmstreamError: the session failed.
    """
    under_way = Round(course)
    with running("local", _graph(under_way)) as executor:
        result: Result = run_to_end(executor, "overloaded")
    if result.error is not None:
        raise result.error
    under_way.dropped = result.dropped
    return under_way


def _figures(course: Course, done: Sequence[Round]) -> list[Figure]:
    values: defaultdict[str, list[float]] = defaultdict(list)
    for one in done:
        calm = one.lags(0.0, course.warm_s)
        loaded = one.lags(course.warm_s, course.calm_again_s)
        values["before"].append(percentile(calm, 95))
        values["p50"].append(percentile(loaded, 50))
        values["highest"].append(max(lag for _, lag in one.arrived))
        values["back"].append(one.back_s(course.bound_s))
        values["calm"].append(one.back_s(course.bound_s / 10))
        values["lost"].append(one.lost_s)
        values["gaps"].append(len(one.gaps))
        values["untold"].append(_difference(one.lost_s, one.told_s))
        values["uncounted"].append(_difference(one.lost_s / PACKET_S, one.dropped))

    def figure(name: str, unit: str, key: str, at_most: float | None = None) -> Figure:
        return Figure(name, unit, tuple(values[key]), at_most)

    return [
        figure("lag before the overload, p95", "s", "before"),
        figure("lag during the overload, median", "s", "p50"),
        figure("lag, highest", "s", "highest"),
        figure("lag back under the bound, after the overload", "s", "back", at_most=BACK_S),
        figure("lag back under a tenth of it", "s", "calm"),
        figure("media given up", "s", "lost"),
        figure("gaps", "", "gaps"),
        figure("lost and not in a gap", "s", "untold", at_most=0.0),
        figure("lost and not counted", "packets", "uncounted", at_most=0.0),
    ]


def _difference(one: float, other: float) -> float:
    """Without what is an error of floating point."""
    return round(abs(one - other), 6)


def _series(one: Round) -> list[float | None]:
    """The highest lag of each stretch of the round; None where nothing came."""
    stretches = np.arange(0.0, one.course.seconds, SERIES_S)
    return [round(max(lags), 3) if (lags := one.lags(at, at + SERIES_S)) else None for at in stretches.tolist()]
