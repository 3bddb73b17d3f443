"""Sources and operators that only benchmarks use."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.benchmarks.processes import Vitals
from mmstream.core import Operator, Packet, Sink, Source
from mmstream.media import AudioChunk, Caption, Hypothesis, Speech, Word

PACKET_S = 0.01  # media seconds of one packet of ``Numbered``
CHUNK_S = 0.1  # media seconds of one packet of ``Loop``
WORD_S = 0.3  # seconds of speech for each word of ``Metronome``


class Numbered(Source):
    """``count`` chunks of ``samples`` samples (4 bytes each), ``per_second`` of them or as fast as they are taken.

    ``captured_at`` is the monotonic clock at the yield, which on Linux is one clock for all processes.
    """

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, count: int = 100, samples: int = 256, per_second: float | None = None) -> None:
        super().__init__()
        self.count, self.samples, self.per_second = count, samples, per_second

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        began = time.monotonic()
        for number in range(self.count):
            if self.per_second is not None:
                self.clock.wait(began + number / self.per_second - time.monotonic(), self.stopping)
            samples = np.full((self.samples, 1), number, np.float32)
            start = number * PACKET_S
            yield Packet(session, start, start + PACKET_S, AudioChunk(samples, 16_000), time.monotonic())


class Stamp(Operator[None]):
    """Passes packets on, with the monotonic clock at the yield as their ``captured_at``."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[AudioChunk], state: None) -> Iterator[Packet[AudioChunk]]:
        yield replace(packet, captured_at=time.monotonic())


@dataclass
class Times:
    """Monotonic seconds, by packet."""

    session: str
    sent: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)


class Arrivals(Sink[Times]):
    """When packets were sent and when they arrived, as an array in ``folder``/SESSION.npy. Keeps no samples."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def open(self, session: str) -> Times:
        return Times(session)

    def process(self, packet: Packet[AudioChunk], state: Times) -> Iterable[Packet[Any]]:
        state.arrived.append(time.monotonic())
        state.sent.append(packet.captured_at)
        return ()

    def flush(self, state: Times) -> Iterable[Packet[Any]]:
        np.save(Path(self.folder) / f"{state.session}.npy", np.array([state.sent, state.arrived]))
        return ()


@dataclass(frozen=True)
class Passage:
    """The times of the packets of one run, monotonic seconds."""

    sent: NDArray[np.float64]  # (packet,)
    arrived: NDArray[np.float64]  # (packet,)

    @classmethod
    def load(cls, folder: Path, session: str) -> Passage:
        """What ``Arrivals`` wrote for a session."""
        sent, arrived = np.load(folder / f"{session}.npy")
        return cls(sent, arrived)

    def latency_ms(self, percent: float) -> float:
        return 1000 * float(np.percentile(self.arrived - self.sent, percent))

    @property
    def per_second(self) -> float:
        """Packets per second, from the sending of the first to the arrival of the last."""
        return float(len(self.sent) / (self.arrived[-1] - self.sent[0]))


class Loop(Source):
    """The samples of a NumPy file, over and over, for ``hours`` of media, in stereo and as fast as they are taken."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, path: str, sample_rate: int, hours: float) -> None:
        super().__init__()
        self.path, self.sample_rate, self.hours = path, sample_rate, hours

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        recording = np.load(self.path)  # (time,), 16-bit
        size = round(CHUNK_S * self.sample_rate)
        for first in range(0, round(self.hours * 3600 * self.sample_rate), size):
            if self.stopping.is_set():
                return
            mono = recording.take(range(first, first + size), mode="wrap").astype(np.float32) / 32768
            chunk = AudioChunk(np.stack([mono, mono], axis=1), self.sample_rate)
            yield Packet(session, first / self.sample_rate, (first + size) / self.sample_rate, chunk, self.clock.now())


@dataclass
class Beat:
    """The utterance under way."""

    start: float = 0.0  # media seconds
    heard_s: float = 0.0
    words: tuple[Word, ...] = ()
    last: Packet[Speech] | None = None  # None between utterances


class Metronome(Operator[Beat]):
    """A decoder that costs next to nothing: one word for every 300 ms of an utterance."""

    accepts: ClassVar[tuple[type, ...]] = (Speech,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)

    def open(self, session: str) -> Beat:
        return Beat()

    def process(self, packet: Packet[Speech], state: Beat) -> Iterator[Packet[Hypothesis]]:
        if state.last is None:
            state.start, state.heard_s, state.words = packet.start, 0.0, ()
        state.last = packet
        state.heard_s += len(packet.data.samples) / packet.data.sample_rate
        while (len(state.words) + 1) * WORD_S <= state.heard_s:
            start = state.start + len(state.words) * WORD_S
            state.words += (Word(f"word{round(start / WORD_S)}", start, start + WORD_S, 0.5),)
        yield packet.derive(Hypothesis(state.words, packet.data.last), start=state.start)
        if packet.data.last:
            state.last = None

    def flush(self, state: Beat) -> Iterator[Packet[Hypothesis]]:
        if state.last is not None:
            yield state.last.derive(Hypothesis(state.words, final=True), start=state.start)
            state.last = None


@dataclass
class Watch:
    due: float = 0.0  # media seconds at which to look next


class Watcher(Sink[Watch]):
    """This process's memory, threads, files and CPU time, every ``every_s`` of media, as JSON lines in ``path``."""

    accepts: ClassVar[tuple[type, ...]] = (Caption,)

    def __init__(self, path: str, every_s: float = 60.0) -> None:
        self.path, self.every_s = path, every_s

    def open(self, session: str) -> Watch:
        return Watch()

    def process(self, packet: Packet[Caption], state: Watch) -> Iterable[Packet[Any]]:
        if packet.end >= state.due:
            state.due = (packet.end // self.every_s + 1) * self.every_s
            seen = {"media_s": packet.end, "cpu_s": time.process_time(), **asdict(Vitals.now())}
            with Path(self.path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(seen) + "\n")
        return ()
