"""Media that a client sends: in come bytes, from an event loop; out go packets, in the thread of a source."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from mmstream.clock import Clock
from mmstream.core import Packet, Place, Source
from mmstream.media import AudioChunk, Gap, VideoFrame
from operators.sources.container import Streams

CHUNK_S = 0.1  # of PCM in one packet at most
SAMPLE_BYTES = 2
PCM_RATES = (8_000, 96_000)  # Hz, legal
PCM_CHANNELS = (1, 8)
LINE_S = 2.0  # of PCM that may wait for the source's thread
CUT = "cut"  # reason of a gap of no length: what came before is ended there, nothing is lost
ARRIVALS = 600  # stretches of media whose arrival is remembered: a minute of chunks


class Line(Protocol):
    """What stands between a client and the source of its session. Thread-safe."""

    @property
    def missing(self) -> frozenset[type]:
        """Payloads that will not come: known with the first packet."""

    def packets(self, session: str, clock: Clock) -> Iterator[Packet[Any]]:
        """All media of the session, waiting for it, until it has ended."""

    def end(self) -> None:
        """Nothing more comes in; what has come in still comes out."""


class Arrivals:
    """When the latest media arrived, wall-clock seconds by media second. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends = array("d")  # media seconds
        self._times = array("d")  # wall-clock seconds

    def note(self, end: float, now: float) -> None:
        """Media up to ``end`` was there at ``now``; ``end`` never goes back."""
        with self._lock:
            if len(self._ends) >= 2 * ARRIVALS:
                del self._ends[:ARRIVALS], self._times[:ARRIVALS]
            self._ends.append(end)
            self._times.append(now)

    def at(self, media_s: float) -> float | None:
        """When the media at ``media_s`` had arrived; None where that is not known, or not any more."""
        with self._lock:
            place = bisect_left(self._ends, media_s)
            if place == len(self._ends) or (place == 0 and len(self._ends) >= ARRIVALS):
                return None
            return self._times[place]


class PcmLine:
    """16-bit little-endian PCM, channels interleaved, to chunks of CHUNK_S at most: what is there when one is taken.

    Media time counts samples. ``captured_at`` of a packet is the arrival of its end, on the clock of the latest
    arrival so far: a client that has been held up, or sends faster than real time, is not late because of that.
    """

    missing: frozenset[type] = frozenset({VideoFrame})

    def __init__(
        self, sample_rate: int, channels: int, on_room: Callable[[], None], capacity_s: float = LINE_S
    ) -> None:
        """``on_room`` is called from the source's thread once there is room again, after ``offer`` had none."""
        self.arrivals = Arrivals()
        self._sample_rate, self._channels = sample_rate, channels
        self._frame = SAMPLE_BYTES * channels  # bytes
        self._on_room = on_room
        self._capacity = max(1, round(capacity_s * sample_rate)) * self._frame  # bytes
        self._changed = threading.Condition()
        self._held = bytearray()
        self._came = 0  # bytes, ever
        self._gone = 0  # of these, bytes that are not held any more
        self._times: deque[tuple[int, float]] = deque()  # bytes that had come, and when, of what is held
        self._origin: float | None = None  # wall-clock second of media second 0, by the latest arrival
        self._cuts: deque[int] = deque()  # positions in bytes, each once, of what is held
        self._wanted = False  # somebody waits for room
        self._ended = False

    @property
    def received_s(self) -> float:
        """Media seconds that have come in."""
        return self._came // self._frame / self._sample_rate

    def offer(self, data: memoryview, now: float) -> int:
        """Take what there is room for, without waiting: the number of bytes taken. After ``end`` all is thrown away."""
        with self._changed:
            if self._ended:
                return len(data)
            taken = data[: max(0, self._capacity - len(self._held))]
            self._held += taken
            self._came += len(taken)
            self._wanted = len(taken) < len(data)
            if len(taken):
                self._times.append((self._came, now))
                self.arrivals.note(self.received_s, now)
                self._changed.notify()
            return len(taken)

    def cut(self) -> None:
        """End the utterance that is open where the media stands now; a gap behind its last words says that it is so."""
        with self._changed:
            position = self._came // self._frame * self._frame
            if not self._cuts or self._cuts[-1] < position:
                self._cuts.append(position)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
            wanted, self._wanted = self._wanted, False
        if wanted:
            self._on_room()

    def packets(self, session: str, clock: Clock) -> Iterator[Packet[AudioChunk | Gap]]:
        most = max(1, round(CHUNK_S * self._sample_rate)) * self._frame
        while (taken := self._take(most)) is not None:
            raw, position, arrived = taken
            end = position / self._frame / self._sample_rate
            start = (position - len(raw)) / self._frame / self._sample_rate
            if not raw:
                captured_at = clock.now() if self._origin is None else self._origin + end
                yield Packet(session, start, end, Gap("audio", CUT), captured_at)
                continue
            samples = np.frombuffer(raw, "<i2").reshape(-1, self._channels) * np.float32(1 / 32768)
            origin = arrived - end
            self._origin = origin if self._origin is None else max(origin, self._origin)
            yield Packet(session, start, end, AudioChunk(samples, self._sample_rate), self._origin + end)

    def _take(self, most: int) -> tuple[bytes, int, float] | None:
        """Whole frames, ``most`` bytes at most, the position of their end, and when that arrived; None at the end.

        No bytes: here is a cut.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._cuts or len(self._held) >= self._frame)
            length = min(most, len(self._held) // self._frame * self._frame)
            if self._cuts:
                length = min(length, self._cuts[0] - self._gone)
                if not length:
                    return b"", self._cuts.popleft(), 0.0
            if not length:
                return None
            raw = bytes(self._held[:length])
            del self._held[:length]
            self._gone += length
            while self._times[0][0] < self._gone:
                self._times.popleft()
            arrived = self._times[0][1]
            wanted = self._wanted and 2 * len(self._held) <= self._capacity
            if wanted:
                self._wanted = False
        if wanted:
            self._on_room()
        return raw, self._gone, arrived


class Incoming(Source):
    """Media of a client of the server, which comes as it happens: what is late may be given up.

    A client can be asked to wait, so the edges behind this source may block.
    """

    emits = (AudioChunk, VideoFrame)
    live: ClassVar[bool] = True
    runs_on: ClassVar[Place] = "driver"

    def __init__(self, line: Any = None, streams: Streams = "audio") -> None:
        """``line``: a ``Line``, which comes with each session. ``streams``: what the graph makes use of."""
        super().__init__()
        self.line: Line | None = line
        self.streams: Streams = streams

    def __str__(self) -> str:
        return ""  # nobody at the server is to be told what each client sends

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        line = self.line
        if line is None:
            raise ValueError("it needs a line: this source is for mmstream serve")
        for packet in line.packets(session, self.clock):
            self.missing = line.missing
            yield packet
            if self.stopping.is_set():
                return

    def stop(self) -> None:
        super().stop()
        if self.line is not None:
            self.line.end()


class Upload(Incoming):
    """Media of a client that is there as a whole, and never late."""

    live: ClassVar[bool] = False

    @classmethod
    def comes_live(cls, arguments: Mapping[str, Any]) -> bool:
        return False
