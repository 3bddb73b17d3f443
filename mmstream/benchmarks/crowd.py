"""Many live-paced sessions over one graph: its sources, its stub of a recogniser, its sink, and one outing of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mmstream.benchmarks.processes import tree_cpu_s
from mmstream.benchmarks.table import percentile
from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import BatchOperator, MmstreamError, Packet, Sink, Source
from mmstream.executors import Executor
from mmstream.graph import Graph
from mmstream.media import AudioChunk, Caption, Gap, Hypothesis
from mmstream.pipeline import check, read_text

Kind = Literal["stub", "avsr"]

SAMPLE_RATE = 16_000  # Hz
PACKET_S = 0.1
SHIFT_S = 7.3  # media seconds by which each session begins later in the recording
STUB_S = 0.005  # wall-clock seconds that the stub takes for a batch
WARM_UP_S = 2.0  # of each outing, not measured
LEAD_S = 0.3  # wall-clock seconds between the last session's opening and the common start
STUCK_AFTER = 10  # packets that a client takes before it stops reading
DRAIN_S = 60.0  # for what is queued at the end
QUEUE = 40  # packets on the edge from a source: what a live source loses is lost there

HERE = "mmstream.benchmarks.crowd"
NODES: Mapping[Kind, str] = {
    "stub": f"  decode: {{use: {HERE}:Stub, from: {{source: {{capacity: {QUEUE}}}}}}}",
    "avsr": f"""
  mel: {{use: operators.audio:LogMel, from: {{source: {{capacity: {QUEUE}}}}}}}
  heard: {{use: operators.encoders:AudioEncoder, from: mel}}
  fuse: {{use: operators.fusion:Fuse, from: heard}}
  words: {{use: operators.decoders:Avsr, from: fuse}}
  decode: {{use: operators.policies:Commit, with: {{policy: hold_n, n: 0}}, from: words}}""",
}
RECOGNISER: Mapping[Kind, str] = {"stub": "decode", "avsr": "mel, heard, fuse, words, decode"}


class Course:
    """What the sources of one outing share: the sound, and the moment at which they begin together."""

    def __init__(self, samples: NDArray[np.float32], seconds: float) -> None:
        """``samples``: (time,), repeated as often as needed; each session sends ``seconds`` of them."""
        self.samples, self.seconds = np.concatenate([samples, samples[: round(PACKET_S * SAMPLE_RATE)]]), seconds
        self.length = len(samples)
        self.sent: dict[str, int] = {}  # packets, by session
        self.origin = 0.0  # wall-clock second of media second 0 of the first session
        self.begun = threading.Event()

    def begin(self, origin: float) -> None:
        self.origin = origin
        self.begun.set()

    def phase_s(self, number: int, of: int) -> float:
        """How much later than the first session this one sends: they are spread evenly over a packet."""
        return PACKET_S * number / of


class Paced(Source):
    """Session ``number`` ``of`` so many on a ``course``: live sound, captured at the moment of each packet's end."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)
    live: ClassVar[bool] = True
    runs_on = "driver"

    def __init__(self, course: Any = None, number: int = 0, of: int = 1) -> None:
        super().__init__()
        self.course, self.number, self.of = course, number, of

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        course: Course = self.course
        while not course.begun.wait(1.0):
            if self.stopping.is_set():
                return
        origin = course.origin + course.phase_s(self.number, self.of)
        size = round(PACKET_S * SAMPLE_RATE)
        shift = round(self.number * SHIFT_S * SAMPLE_RATE)
        for k in range(round(course.seconds / PACKET_S)):
            due = origin + (k + 1) * PACKET_S
            if self.clock.wait(due - self.clock.now(), self.stopping):
                return
            first = (shift + k * size) % course.length
            chunk = AudioChunk(course.samples[first : first + size, None], SAMPLE_RATE)
            course.sent[session] = k + 1
            yield Packet(session, k * PACKET_S, (k + 1) * PACKET_S, chunk, due)


class Stub(BatchOperator[None]):
    """A recogniser that waits 5 ms for a batch, whatever is in it, and gives one hypothesis for each packet.

    It sleeps, as one does that waits for a GPU.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)

    def open(self, session: str) -> None: ...

    def process_batch(self, packets: Sequence[Packet[Any]], states: Sequence[None]) -> Iterable[list[Packet[Any]]]:
        time.sleep(STUB_S)
        return [[packet.derive(Hypothesis((), final=False))] for packet in packets]


@dataclass
class Seen:
    """What has come of one session: media and wall-clock seconds of each hypothesis, or of each committed word."""

    session: str
    ends: list[float] = field(default_factory=list)  # media seconds
    arrived: list[float] = field(default_factory=list)  # wall-clock seconds
    gaps: int = 0
    index: int = -1  # of the utterance that was shown last
    stable: int = 0  # its words that were

    def add(self, ends: Iterable[float], now: float) -> None:
        for end in ends:
            self.ends.append(end)
            self.arrived.append(now)


class Told(Sink[Seen]):
    """Notes when each hypothesis came, and each word when it was committed, in ``told`` under the session's name."""

    accepts: ClassVar[tuple[type, ...]] = (Hypothesis, Caption, Gap)

    def __init__(self, told: Any = None) -> None:
        self.told: dict[str, Seen] = {} if told is None else told

    def open(self, session: str) -> Seen:
        self.told[session] = Seen(session)
        return self.told[session]

    def process(self, packet: Packet[Any], state: Seen) -> Iterable[Packet[Any]]:
        now = self.clock.now()
        if isinstance(packet.data, Gap):
            state.gaps += 1
        elif isinstance(packet.data, Hypothesis):
            state.add([packet.end], now)
        else:
            if packet.data.index != state.index:
                state.index, state.stable = packet.data.index, 0
            state.add([word.end for word in packet.data.stable[state.stable :]], now)
            state.stable = max(state.stable, len(packet.data.stable))
        return ()


class Reading(Told):
    """``Told`` for clients of which those named in ``stuck`` stop reading once ``STUCK_AFTER`` packets have come."""

    def __init__(self, told: Any = None, stuck: Any = ()) -> None:
        super().__init__(told)
        self.stuck: Collection[str] = stuck

    def ready(self, state: Seen) -> bool:
        return len(state.ends) < STUCK_AFTER or state.session not in self.stuck


def crowd_graph(
    kind: Kind,
    told: dict[str, Seen],
    *,
    batch: int | None = 64,
    max_wait_ms: float = 5.0,
    replicas: int = 1,
    stuck: set[str] | None = None,
) -> Graph:
    """Source, recogniser, sink. ``batch``: packets of a shared call at most, None: each session has calls of its own.

    ``told`` is filled by the sink; ``stuck``: sessions that will stop reading, None: every session reads.
    """
    shared = "" if batch is None else f", batch: {{max_size: {batch}, max_wait_ms: {max_wait_ms:g}}}"
    text = f"""
capacity: 64
nodes:
  source: {{use: {HERE}:Paced}}
{NODES[kind]}
  told: {{use: {HERE}:{Told.__name__ if stuck is None else Reading.__name__}, from: decode}}
workers:
  recognise: {{nodes: [{RECOGNISER[kind]}], replicas: {replicas}{shared}}}
"""
    graph = check(read_text(text, "<bench sessions>"), allow=[HERE])
    arguments = {"told": told} if stuck is None else {"told": told, "stuck": stuck}
    return replace(graph, nodes={**graph.nodes, "told": replace(graph.nodes["told"], arguments=arguments)})


@dataclass(frozen=True)
class Outing:
    """What came of some sessions that ran together. Sessions that were meant to get stuck do not count."""

    sessions: int
    latency_s: NDArray[np.float64]  # of each packet or word captured after the warm-up; wall-clock seconds
    sent: int  # packets, of the whole outing
    arrived: int  # hypotheses or words, of the whole outing
    lost: int  # packets that queues dropped, or gaps in what arrived if there are more
    cores: float  # CPU seconds of all processes for each second

    def ms(self, percent: float) -> float:
        """Infinite where nothing came."""
        return 1000 * percentile(self.latency_s.tolist(), percent) if len(self.latency_s) else float("inf")

    @classmethod
    def of(cls, course: Course, seen: Sequence[tuple[int, Seen]], dropped: int, of: int, cores: float) -> Outing:
        """``seen``: each session and its number of ``of``."""
        warm_s = min(WARM_UP_S, course.seconds / 4)
        latencies = []
        for number, one in seen:
            ends, arrived = np.array(one.ends), np.array(one.arrived)
            latencies.append((arrived - ends - course.origin - course.phase_s(number, of))[ends >= warm_s])
        return cls(
            len(seen),
            np.concatenate(latencies) if latencies else np.zeros(0),
            sum(course.sent.get(one.session, 0) for _, one in seen),
            sum(len(one.ends) for _, one in seen),
            max(dropped, sum(one.gaps for _, one in seen)),
            cores,
        )


def cores_used(seconds: float) -> float:
    """CPU seconds for each second that this process and all that it has started use in the next ``seconds``."""
    cpu_s, began = tree_cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (tree_cpu_s() - cpu_s) / (time.monotonic() - began)


def go_out(
    executor: Executor, told: dict[str, Seen], name: str, sessions: int, course: Course, stuck: set[str] | None = None
) -> Outing:
    """``sessions`` sessions at once over a started executor whose graph tells ``told``. The ``stuck`` ones are ended.

    Raises:
        MmstreamError: one of the others failed.
    """
    names = {f"{name}-{number}": number for number in range(sessions)}
    stuck = stuck or set()
    for session, number in names.items():
        executor.open(session, {"source": {"course": course, "number": number, "of": sessions}})
    course.begin(SYSTEM_CLOCK.now() + LEAD_S)
    cores = cores_used(LEAD_S + course.seconds)
    dropped = _collect(executor, names, stuck)
    seen = [(number, told.pop(session)) for session, number in names.items() if session not in stuck]
    for session in stuck:
        told.pop(session, None)
    return Outing.of(course, seen, dropped, sessions, cores)


def _collect(executor: Executor, names: Mapping[str, int], stuck: Collection[str]) -> int:
    """Wait for every session's end; the packets that queues of those not stuck have lost."""
    for session in stuck:
        executor.abort(session)
    dropped, deadline = 0, time.monotonic() + DRAIN_S
    for _ in names:
        result = executor.wait(deadline - time.monotonic())
        if result is None:
            raise MmstreamError(f"sessions had not ended {DRAIN_S:.0f} s after their sources")
        if result.session in stuck:
            continue
        if result.error is not None:
            raise result.error
        dropped += result.dropped
    return dropped
