"""Small operators and sources for tests of the runtime, and graphs made of them without a file."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmstream.core import BatchOperator, MmstreamError, Operator, Packet, Sink, Source
from mmstream.graph import Batch, Edge, Graph, Node, Overflow, WorkerSpec
from mmstream.media import AudioChunk, Features, Gap, VideoFrame


class Tone(Source):
    """``count`` audio chunks of 100 ms that hold their own number, ``pause_s`` apart; then, if asked, a fault."""

    emits = (AudioChunk,)

    def __init__(
        self,
        count: int = 10,
        fail_at: int | None = None,
        endless: bool = False,
        samples: int = 4,
        pause_s: float = 0.0,
        missing: bool = False,
    ) -> None:
        super().__init__()
        if missing:
            raise MmstreamError("the toy source is not there")
        self.count, self.fail_at, self.endless, self.samples = count, fail_at, endless, samples
        self.pause_s = 0.01 if endless and not pause_s else pause_s

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        number = 0
        while self.endless or number < self.count:
            if number == self.fail_at:
                raise MmstreamError("the toy source broke")
            samples = np.full((self.samples, 1), number, np.float32)
            yield Packet(session, number / 10, (number + 1) / 10, AudioChunk(samples, 16000), self.clock.now())
            number += 1
            if self.pause_s and self.clock.wait(self.pause_s, self.stopping):
                return


class Pictures(Source):
    """``count`` video frames at 25 per second that hold their own number."""

    emits = (VideoFrame,)

    def __init__(self, count: int = 25, pause_s: float = 0.0) -> None:
        super().__init__()
        self.count, self.pause_s = count, pause_s

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        for number in range(self.count):
            pixels = np.full((2, 2, 3), number % 256, np.uint8)
            yield Packet(session, number / 25, (number + 1) / 25, VideoFrame(pixels), self.clock.now())
            if self.pause_s and self.clock.wait(self.pause_s, self.stopping):
                return


class Leash:
    """Lets the source that holds it give so many packets and no more; ``doors`` keeps it from being built."""

    def __init__(self, count: int = 0, fault: Exception | None = None) -> None:
        self.built = 0  # how many sources have held it
        self.fault = fault  # at the end
        self.doors = threading.Event()
        self.doors.set()
        self.over = threading.Event()  # the source has given everything
        self._count = count
        self._asked = 0  # number of the packet that the source would give next
        self._changed = threading.Condition()

    def let(self, count: int, wait: bool = False) -> None:
        """Allow ``count`` packets in all; ``wait`` until they have been sent."""
        with self._changed:
            self._count = max(count, self._count)
            self._changed.notify_all()
            assert not wait or self._changed.wait_for(lambda: self._asked >= count, 10)

    def pull(self, number: int, stopping: threading.Event) -> bool:
        """Whether packet ``number`` may be given, once it is known."""
        with self._changed:
            self._asked = number
            self._changed.notify_all()
            while number >= self._count and not stopping.is_set():
                self._changed.wait(0.1)
            return not stopping.is_set()

    def end(self, count: int) -> None:
        """The source has given everything."""
        with self._changed:
            self._asked = count
            self._changed.notify_all()
        self.over.set()


class Leashed(Source):
    """``count`` chunks of 100 ms that hold their own number, or pictures, as far as ``leash`` lets it."""

    emits = (AudioChunk, VideoFrame)

    def __init__(
        self, leash: Leash, count: int, pictures: bool = False, repeats: bool = False, missing: bool = False
    ) -> None:
        super().__init__()
        leash.doors.wait(10)
        leash.built += 1
        if missing:
            raise MmstreamError("the toy source is not there")
        self.leash, self.count, self.pictures, self.repeats = leash, count, pictures, repeats

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        for number in range(self.count):
            if not self.leash.pull(number, self.stopping):
                return
            data = VideoFrame(np.full((2, 2, 3), number, np.uint8)) if self.pictures else chunk(number)
            yield Packet(session, number / 10, (number + 1) / 10, data, 0.0)
        self.leash.end(self.count)
        if self.leash.fault is not None:
            raise self.leash.fault


class Script(Source):
    """What the test wrote down, (start, end, payload) each; of another session where ``lost`` is set."""

    emits = (AudioChunk, VideoFrame)

    def __init__(self, script: list[tuple[float, float, Any]], lost: bool = False) -> None:
        super().__init__()
        self.script, self.lost = script, lost

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        for start, end, data in self.script:
            yield Packet("lost" if self.lost else session, start, end, data, end)


@dataclass
class Sum:
    session: str
    total: float = 0.0
    seen: int = 0


class Add(Operator[Sum]):
    """Features that hold the running sum of the chunks, and a -1 at the end; a fault at the chunk ``fail_at``."""

    accepts = (AudioChunk, Features)
    emits = (Features,)

    def __init__(self, fail_at: int | None = None, pause_s: float = 0.0) -> None:
        self.fail_at, self.pause_s = fail_at, pause_s

    def open(self, session: str) -> Sum:
        return Sum(session)

    def process(self, packet: Packet[Any], state: Sum) -> Iterable[Packet[Any]]:
        if state.seen == self.fail_at:
            raise ZeroDivisionError("a toy fault")
        time.sleep(self.pause_s)
        state.seen += 1
        values = packet.data.samples[:1] if isinstance(packet.data, AudioChunk) else packet.data.values
        state.total += float(values.sum())
        yield packet.derive(Features(np.array([[state.total]], np.float32), 10.0))

    def flush(self, state: Sum) -> Iterable[Packet[Any]]:
        last = state.seen / 10
        yield Packet(state.session, last, last, Features(np.array([[-1.0]], np.float32), 10.0), 0.0)


class AddShared(BatchOperator[Sum]):
    """The running sum, for several sessions in one call; the sum of one session never depends on another's."""

    accepts = (AudioChunk,)
    emits = (Features,)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def open(self, session: str) -> Sum:
        return Sum(session)

    def process_batch(self, packets: Sequence[Packet[Any]], states: Sequence[Sum]) -> Iterable[Iterable[Packet[Any]]]:
        assert len({packet.session for packet in packets}) == len(packets)
        for packet, state in zip(packets, states, strict=True):
            state.total += float(packet.data.samples[0, 0])
            yield [packet.derive(Features(np.array([[state.total, len(packets)]], np.float32), 10.0))]


class Pair(Operator[None]):
    """Audio and video in the order in which they arrive, each as its number and its kind (0 audio, 1 video)."""

    accepts = (AudioChunk, VideoFrame, Features)
    emits = (Features,)

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        kind = 1.0 if isinstance(packet.data, VideoFrame) else 0.0
        yield packet.derive(Features(np.array([[kind, packet.start]], np.float32), 10.0))


@dataclass
class Lines:
    session: str
    lines: list[str] = field(default_factory=list)


class Write(Sink[Lines]):
    """One line for each packet, in the file ``path`` at the end of the session."""

    accepts = (Features, Gap)

    def __init__(self, path: str, pause_s: float = 0.0) -> None:
        self.path, self.pause_s = path, pause_s

    def open(self, session: str) -> Lines:
        return Lines(session)

    def process(self, packet: Packet[Any], state: Lines) -> Iterable[Packet[Any]]:
        time.sleep(self.pause_s)
        if isinstance(packet.data, Gap):
            state.lines.append(f"{packet.start:.2f} {packet.end:.2f} gap {packet.data.reason}")
        else:
            state.lines.append(f"{packet.start:.2f} {packet.end:.2f} {packet.data.values.tolist()}")
        return ()

    def flush(self, state: Lines) -> Iterable[Packet[Any]]:
        with Path(self.path.replace("{session}", state.session)).open("w") as file:
            file.write("".join(line + "\n" for line in state.lines))
        return ()


class Spy(Operator[str]):
    """Passes everything on and notes (call, session, media time) in ``diary``, which only threads can share.

    Fails in the call ``fail_in`` of the session ``victim``, once the media time ``fail_from`` is reached; waits for
    ``gate`` before each packet.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk, VideoFrame, Features)
    emits = (AudioChunk, VideoFrame, Features)

    def __init__(
        self,
        diary: list[tuple[str, str, float]] | None = None,
        fail_in: str = "",
        victim: str = "",
        fail_from: float = 0.0,
        gate: threading.Event | None = None,
    ) -> None:
        self.diary = [] if diary is None else diary
        self.fail_in, self.victim, self.fail_from, self.gate = fail_in, victim, fail_from, gate
        self.note("constructor", "", 0.0)

    def note(self, call: str, session: str, start: float) -> None:
        self.diary.append((call, session, start))
        if call == self.fail_in and session == self.victim and start >= self.fail_from:
            raise ZeroDivisionError("a toy fault")

    def open(self, session: str) -> str:
        self.note("open", session, 0.0)
        return session

    def process(self, packet: Packet[Any], state: str) -> Iterable[Packet[Any]]:
        if self.gate is not None and not self.gate.wait(30):
            raise TimeoutError("nobody opened the gate")
        self.note("process", state, packet.start)
        yield packet

    def flush(self, state: str) -> Iterable[Packet[Any]]:
        self.note("flush", state, 0.0)
        return ()

    def discard(self, state: str) -> None:
        self.note("discard", state, 0.0)

    def close(self) -> None:
        self.note("close", "", 0.0)


class SpyOnGaps(Spy):
    """A spy that takes gaps as its own matter."""

    accepts = (*Spy.accepts, Gap)


class Keep(Sink[list[Packet[Any]]]):
    """Puts a session's packets into ``kept`` when it ends well, which only threads can share."""

    accepts = (AudioChunk, VideoFrame, Features, Gap)

    def __init__(self, kept: dict[str, list[Packet[Any]]], fail: bool = False, gate: threading.Event | None = None):
        self.kept, self.fail, self.gate = kept, fail, gate
        self.sessions: dict[int, str] = {}

    def open(self, session: str) -> list[Packet[Any]]:
        state: list[Packet[Any]] = []
        self.sessions[id(state)] = session
        return state

    def process(self, packet: Packet[Any], state: list[Packet[Any]]) -> Iterable[Packet[Any]]:
        if self.gate is not None and not self.gate.wait(30):
            raise TimeoutError("nobody opened the gate")
        if self.fail:
            raise OSError("no space left on the toy device")
        state.append(packet)
        return ()

    def flush(self, state: list[Packet[Any]]) -> Iterable[Packet[Any]]:
        self.kept[self.sessions.pop(id(state))] = state
        return ()


@dataclass
class Held:
    packets: list[Packet[Any]] = field(default_factory=list)


class HoldBack(Operator[Held]):
    """Gives nothing until ``count`` packets have come, then all of them, and the rest at the end."""

    accepts = (AudioChunk, VideoFrame, Features)
    emits = (AudioChunk, VideoFrame, Features)

    def __init__(self, count: int = 1_000_000) -> None:
        self.count = count

    def open(self, session: str) -> Held:
        return Held()

    def process(self, packet: Packet[Any], state: Held) -> Iterable[Packet[Any]]:
        state.packets.append(packet)
        if len(state.packets) == self.count:
            yield from self.flush(state)

    def flush(self, state: Held) -> Iterable[Packet[Any]]:
        yield from state.packets
        state.packets.clear()

    def watermark(self, state: Held, reached: float) -> float:
        return min(reached, state.packets[0].start) if state.packets else reached


class Mute(HoldBack):
    """Takes everything and gives nothing before the end: a voice activity detector in a long silence."""

    def process(self, packet: Packet[Any], state: Held) -> Iterable[Packet[Any]]:
        state.packets = [packet]
        return ()

    def watermark(self, state: Held, reached: float) -> float:
        return state.packets[0].start if state.packets else reached


def node(name: str, kind: type, max_skew_s: float | None = None, optional: bool = False, **arguments: Any) -> Node:
    return Node(name, f"tests.toys:{kind.__name__}", kind, arguments, optional, max_skew_s)


def graph(
    nodes: list[Node],
    edges: list[tuple[str, str]],
    workers: dict[str, list[str]],
    capacity: int = 8,
    overflow: Overflow = "block",
    replicas: dict[str, int] | None = None,
    batch: Batch | None = None,
    lossy: Collection[tuple[str, str]] = (),
    resources: dict[str, dict[str, float]] | None = None,
) -> Graph:
    """A graph in the order given; edges carry what both ends name; the worker ``driver`` runs in the user's process.

    ``lossy`` edges drop the oldest.
    """
    by_name = {one.name: one for one in nodes}
    made = []
    for source, target in edges:
        policy: Overflow = "drop_oldest" if (source, target) in lossy else overflow
        gives, takes = by_name[source].kind.emits, by_name[target].kind.accepts
        made.append(Edge(source, target, tuple(kind for kind in gives if kind in takes), capacity, policy))
    specs = {
        name: WorkerSpec(
            name,
            tuple(members),
            "driver" if name == "driver" else "worker",
            (resources or {}).get(name, {}),
            (replicas or {}).get(name, 1),
            batch if any(issubclass(by_name[member].kind, BatchOperator) for member in members) else None,
        )
        for name, members in workers.items()
    }
    return Graph("<test>", by_name, tuple(made), specs)


def chain(kept: dict[str, list[Packet[Any]]], *operators: Node, source: Node | None = None, **options: Any) -> Graph:
    """source -> operators -> keep, in one worker."""
    nodes = [source or node("source", Tone, count=5), *operators, node("keep", Keep, kept=kept)]
    names = [one.name for one in nodes]
    return graph(nodes, list(pairwise(names)), {"main": names}, **options)


def numbers(packets: Iterable[Packet[Any]]) -> list[float | None]:
    """What toy packets hold; None for a gap."""
    return [None if isinstance(one.data, Gap) else float(_array(one.data).flat[0]) for one in packets]


def _array(data: Any) -> Any:
    return data.samples if isinstance(data, AudioChunk) else data.values if isinstance(data, Features) else data.pixels


LOST = Gap("audio", "the device overflowed")


def chunk(number: float) -> AudioChunk:
    return AudioChunk(np.full((1, 1), number, np.float32), 16000)


def gapped() -> Node:
    """A source of two chunks and a gap between them."""
    return node("source", Script, script=[(0.0, 1.0, chunk(1)), (1.0, 2.0, LOST), (2.0, 3.0, chunk(5))])
