"""Small operators and sources for tests of the runtime, and graphs made of them without a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mmstream.core import BatchOperator, MmstreamError, Operator, Packet, Sink, Source
from mmstream.graph import Batch, Edge, Graph, Node, WorkerSpec
from mmstream.media import AudioChunk, Features, Gap, VideoFrame


class Tone(Source):
    """``count`` audio chunks of 100 ms that hold their own number; then, if asked, a fault or a wait for ``stop``."""

    emits = (AudioChunk,)

    def __init__(self, count: int = 10, fail_at: int | None = None, endless: bool = False, samples: int = 4) -> None:
        super().__init__()
        self.count, self.fail_at, self.endless, self.samples = count, fail_at, endless, samples

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        number = 0
        while self.endless or number < self.count:
            if number == self.fail_at:
                raise MmstreamError("the toy source broke")
            samples = np.full((self.samples, 1), number, np.float32)
            yield Packet(session, number / 10, (number + 1) / 10, AudioChunk(samples, 16000), self.clock.now())
            number += 1
            if self.endless and self.clock.wait(0.01, self.stopping):
                return


class Pictures(Source):
    """``count`` video frames at 25 per second that hold their own number."""

    emits = (VideoFrame,)

    def __init__(self, count: int = 25) -> None:
        super().__init__()
        self.count = count

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        for number in range(self.count):
            pixels = np.full((2, 2, 3), number % 256, np.uint8)
            yield Packet(session, number / 25, (number + 1) / 25, VideoFrame(pixels), self.clock.now())


@dataclass
class Sum:
    total: float = 0.0
    seen: int = 0


class Add(Operator[Sum]):
    """Features that hold the running sum of the chunks; a fault at the chunk numbered ``fail_at``."""

    accepts = (AudioChunk, Features)
    emits = (Features,)

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at

    def open(self, session: str) -> Sum:
        return Sum()

    def process(self, packet: Packet[Any], state: Sum) -> Iterable[Packet[Any]]:
        if state.seen == self.fail_at:
            raise ZeroDivisionError("a toy fault")
        state.seen += 1
        state.total += float(packet.data.samples[0, 0] if isinstance(packet.data, AudioChunk) else packet.data.values.sum())
        yield packet.derive(Features(np.array([[state.total]], np.float32), 10.0))

    def flush(self, state: Sum) -> Iterable[Packet[Any]]:
        last = state.seen / 10
        yield Packet("flushed", last, last, Features(np.array([[-1.0]], np.float32), 10.0), 0.0)


class AddShared(BatchOperator[Sum]):
    """The running sum, for several sessions in one call; the sum of one session never depends on another's."""

    accepts = (AudioChunk,)
    emits = (Features,)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def open(self, session: str) -> Sum:
        return Sum()

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

    def __init__(self, path: str, place: Literal["a", "b"] = "a") -> None:
        self.path = path

    def open(self, session: str) -> Lines:
        return Lines(session)

    def process(self, packet: Packet[Any], state: Lines) -> Iterable[Packet[Any]]:
        if isinstance(packet.data, Gap):
            state.lines.append(f"{packet.start:.2f} {packet.end:.2f} gap {packet.data.reason}")
        else:
            state.lines.append(f"{packet.start:.2f} {packet.end:.2f} {packet.data.values.tolist()}")
        return ()

    def flush(self, state: Lines) -> Iterable[Packet[Any]]:
        with open(self.path.replace("{session}", state.session), "w") as file:
            file.write("".join(line + "\n" for line in state.lines))
        return ()


def node(name: str, kind: type, max_skew_s: float | None = None, optional: bool = False, **arguments: Any) -> Node:
    return Node(name, f"tests.toys:{kind.__name__}", kind, arguments, optional, max_skew_s)


def graph(
    nodes: list[Node],
    edges: list[tuple[str, str]],
    workers: dict[str, list[str]],
    capacity: int = 8,
    overflow: Literal["block", "drop_oldest", "drop_newest"] = "block",
    replicas: dict[str, int] | None = None,
    batch: Batch | None = None,
) -> Graph:
    """A graph in the order given; edges carry what both ends name; the worker ``driver`` runs in the user's process."""
    by_name = {one.name: one for one in nodes}
    made = []
    for source, target in edges:
        gives, takes = by_name[source].kind.emits, by_name[target].kind.accepts
        made.append(Edge(source, target, tuple(kind for kind in gives if kind in takes), capacity, overflow))
    specs = {
        name: WorkerSpec(
            name,
            tuple(members),
            "driver" if name == "driver" else "worker",
            {},
            (replicas or {}).get(name, 1),
            batch if any(issubclass(by_name[member].kind, BatchOperator) for member in members) else None,
        )
        for name, members in workers.items()
    }
    return Graph("<test>", by_name, tuple(made), specs)
