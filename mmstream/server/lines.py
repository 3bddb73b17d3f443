"""Media of clients on its way to the source of their session: PCM as it is, everything else decoded by a child."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap
from mmstream.server.decoding import Decoder, DecodingLimits, decode_file
from operators.sources import PcmLine, SourceError
from operators.sources.incoming import CUT, Arrivals, Line

__all__ = ["CUT", "Container", "ContainerIntake", "FileLine", "Intake", "Media", "Pcm", "PcmIntake", "Wanted", "intake"]

Wanted = Literal["any", "audio"]  # of a container: what is there of sound and pictures, or sound alone

FILE_CHUNK_MS = 500  # of a file at full speed: fewer packets cost less


@dataclass(frozen=True, slots=True)
class Pcm:
    """16-bit little-endian samples, channels interleaved."""

    sample_rate: int = 16_000  # Hz
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Container:
    """Anything that ffmpeg can read as it comes: WebM, Ogg, MPEG-TS, fragmented MP4, WAV, FLAC."""


Media = Pcm | Container


class Intake(Protocol):
    """What a session takes its media in with. For one event loop; ``line`` belongs to the source's thread."""

    @property
    def line(self) -> Line:
        """For the source."""

    @property
    def arrivals(self) -> Arrivals:
        """When media came in."""

    @property
    def received_bytes(self) -> int:
        """Bytes that count as taken: a client that comes back goes on behind them."""

    @property
    def received_s(self) -> float:
        """Media seconds that have come in."""

    @property
    def fault(self) -> str | None:
        """What is wrong with the media, for its sender; None: nothing."""

    async def feed(self, data: bytes) -> None:
        """Take media in, waiting for room; thrown away after the end."""

    def cut(self) -> None:
        """End the utterance that is open; a gap of no length, reason CUT, comes out behind its last words."""

    def end(self) -> None:
        """The media has ended: what has come in still comes out."""

    def close(self) -> None:
        """Release everything; what has not come out is thrown away."""


class PcmIntake:
    """PCM, which needs no decoding."""

    fault: str | None = None

    def __init__(self, media: Pcm, loop: asyncio.AbstractEventLoop) -> None:
        self.line = PcmLine(media.sample_rate, media.channels, self._room_again)
        self.arrivals = self.line.arrivals
        self.received_bytes = 0
        self._loop = loop
        self._room = asyncio.Event()

    @property
    def received_s(self) -> float:
        return self.line.received_s

    async def feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while len(rest):
            self._room.clear()
            taken = self.line.offer(rest, SYSTEM_CLOCK.now())
            self.received_bytes += taken
            rest = rest[taken:]
            if len(rest):
                await self._room.wait()

    def cut(self) -> None:
        self.line.cut()

    def end(self) -> None:
        self.line.end()

    def close(self) -> None:
        self.line.end()

    def _room_again(self) -> None:
        """Called from the source's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)


class ContainerIntake:
    """A container, decoded by a process of its own as it comes."""

    def __init__(self, streams: Wanted) -> None:
        """Waits for the process.

        Raises:
            DecoderUnavailable: there can be none.
        """
        self.arrivals = Arrivals()
        self.received_s = 0.0
        self._decoder = Decoder(streams)
        self.line = DecodedLine(self._decoder, self.note)

    @property
    def received_bytes(self) -> int:
        return self._decoder.taken

    @property
    def fault(self) -> str | None:
        return self.line.fault

    async def feed(self, data: bytes) -> None:
        await self._decoder.feed(data)

    def cut(self) -> None:
        self.line.cut()

    def end(self) -> None:
        self._decoder.end()

    def close(self) -> None:
        self._decoder.close()

    def note(self, packet: Packet[Any]) -> None:
        """Media up to the packet's end has come in. Called from the source's thread."""
        self.received_s = max(self.received_s, packet.end)
        self.arrivals.note(self.received_s, packet.captured_at)


def intake(media: Media, streams: Wanted, loop: asyncio.AbstractEventLoop) -> Intake:
    """The intake for what a client says it sends. Waits; for any thread.

    Raises:
        DecoderUnavailable: nothing can be decoded.
    """
    return PcmIntake(media, loop) if isinstance(media, Pcm) else ContainerIntake(streams)


class DecodedLine:
    """What the child of a live session gives. Late is counted from the latest arrival, as for ``PcmLine``."""

    def __init__(self, decoder: Decoder, note: Callable[[Packet[Any]], None]) -> None:
        """``note`` hears of every packet as it comes."""
        self.fault: str | None = None
        self._decoder, self._note = decoder, note
        self._cut_at: float | None = None  # wall-clock second of a cut that is still to be made

    @property
    def missing(self) -> frozenset[type]:
        return self._decoder.missing

    def packets(self, session: str, clock: Clock) -> Iterator[Packet[Any]]:
        origin = float("-inf")  # wall-clock second of media second 0
        try:
            for packet in self._decoder.packets(session):
                self._note(packet)
                cut_at = self._cut_at
                if cut_at is not None and isinstance(packet.data, AudioChunk) and packet.captured_at > cut_at:
                    self._cut_at = None
                    yield packet.derive(Gap("audio", CUT), end=packet.start)
                origin = max(origin, packet.captured_at - packet.end)
                yield replace(packet, captured_at=origin + packet.end)
        except SourceError as error:
            self.fault = str(error)
            raise

    def cut(self) -> None:
        """Before the first sound that comes in after this: until then there may be more to decode of what came."""
        self._cut_at = SYSTEM_CLOCK.now()

    def end(self) -> None:
        self._decoder.end()


class FileLine:
    """A file that a client has sent, decoded at full speed."""

    def __init__(self, path: Path, streams: Wanted) -> None:
        self.missing: frozenset[type] = frozenset()
        self.fault: str | None = None
        self.reached_s = 0.0  # media seconds that have come out
        self._path, self._streams = path, streams
        self._stopped = False

    def packets(self, session: str, clock: Clock) -> Iterator[Packet[Any]]:
        try:
            decoding = decode_file(self._path, self._streams, DecodingLimits(chunk_ms=FILE_CHUNK_MS))
            try:
                for packet in decoding.packets(session):
                    self.missing = decoding.missing
                    self.reached_s = max(self.reached_s, packet.end)
                    yield packet
                    if self._stopped:
                        return
            finally:
                decoding.close()
        except SourceError as error:
            self.fault = str(error)
            raise

    def end(self) -> None:
        self._stopped = True
