"""A media file as a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from mmstream.core import Packet, Place, Source
from mmstream.media import AudioChunk, Medium, VideoFrame
from operators.sources.container import (
    MEDIA,
    Container,
    Streams,
    cause_of,
    make_tracks,
    missing,
    open_file,
    put_on_track,
)
from operators.sources.errors import SourceError
from operators.sources.tracks import Timeline, Track, check_chunk_ms, in_order

CUT_SHORT_S = 0.5  # a stream that ends this much before its declared end was cut short
PREROLL_S = 0.5  # decoded before ``start_s`` and thrown away: codecs need some data to get going
HOLD_S: Mapping[Medium, float] = {"audio": 10.0, "video": 0.5}  # of what waits, decoded, for the other medium


class MediaFile(Source):
    """Anything that ffmpeg reads, as audio chunks, video frames or both on one clock, in order of ``start``.

    Media time 0 is the container's start: of its audio or its video, whichever is first. Lost or undecodable media
    inside the file is a ``Gap``; timestamps that jump back do not turn the clock back (see ``tracks``). Samples keep
    the file's own rate and channels; frames are upright and last until the next one.
    """

    emits = (AudioChunk, VideoFrame)

    def __init__(
        self,
        path: str,
        streams: Streams = "audio",
        pace: Literal["realtime", "fast"] = "fast",
        start_s: float = 0.0,
        end_s: float | None = None,
        chunk_ms: int = 100,
    ) -> None:
        """Read ``streams`` of the file at ``path``: what is not asked for is not decoded.

        ``pace``: as fast as the graph takes it, or as if it were happening now. ``start_s`` and ``end_s`` select a
        part; its packets keep their place in the file. ``chunk_ms``: length of an audio chunk; the last is shorter.
        """
        super().__init__()
        if streams not in MEDIA:
            raise ValueError(f"streams must be one of {', '.join(MEDIA)}, not {streams!r}")
        if pace not in ("realtime", "fast"):
            raise ValueError(f"pace must be realtime or fast, not {pace!r}")
        if start_s < 0:
            raise ValueError(f"start_s must be at least 0, not {start_s:g}")
        if end_s is not None and end_s <= start_s:
            raise ValueError(f"end_s must be more than start_s ({start_s:g}), not {end_s:g}")
        check_chunk_ms(chunk_ms)
        self.path = path
        self.streams: Streams = streams
        self.pace = pace
        self.start_s = start_s
        self.end_s = float("inf") if end_s is None else end_s
        self.chunk_ms = chunk_ms
        self.repeats = pace == "fast"

    @classmethod
    def comes_live(cls, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("pace") == "realtime"

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        """The media of the file.

        Raises:
            SourceError: the file is missing, not media, lacks a stream, or ends before it should.
        """
        with self._open() as container:
            container.select(self.streams, threads=True)
            self.missing = missing(container.selected)
            tracks = make_tracks(
                session,
                container.selected,
                Timeline(),
                chunk_ms=self.chunk_ms,
                frame_s=container.frame_s,
                since=self.start_s,
                until=self.end_s,
            )
            if self.start_s > PREROLL_S:
                container.seek(self.start_s - PREROLL_S)
            packets = self._read(container, tracks)
            if len(tracks) > 1:
                packets = in_order(((packet.start, packet.data.medium, packet) for packet in packets), HOLD_S)
            yield from self._paced(packets)

    def _open(self) -> Container:
        return open_file(self.path)

    def _read(self, container: Container, tracks: dict[Medium, Track]) -> Iterator[Packet[Any]]:
        """Everything between ``start_s`` and ``end_s``, in the order of the file."""
        fault = ""
        try:
            for decoded in container.decoded(interleaved=True):
                if self.stopping.is_set() or all(track.complete for track in tracks.values()):
                    break
                yield from put_on_track(tracks[decoded.medium], decoded)
        except MemoryError:  # one of ffmpeg's faults too, but no damage
            raise
        except container.fault as error:
            fault = f" ({cause_of(error)})"
        for track in tracks.values():
            yield from track.flush()
        if not self.stopping.is_set():
            for track in tracks.values():
                self._check_whole(container, track, fault)

    def _check_whole(self, container: Container, track: Track, fault: str) -> None:
        """Raise where a stream holds nothing, or less than its container says."""
        declared = container.declared_end(track.medium)
        reached = track.position
        at = f"before {self.start_s:g}" if reached is None and self.start_s else f"at {reached or 0.0:.2f}"
        ends = f"its {track.medium} ends {at} s"
        due = min(self.end_s, declared if declared is not None else -1.0)
        if self.start_s < due and (reached or self.start_s) < due - CUT_SHORT_S:
            raise SourceError(
                f"{self.path} is damaged or cut short: {ends} and should last until {declared:.2f} s{fault}"
            )
        if fault and not track.complete:
            raise SourceError(f"{self.path} is damaged: {ends}{fault}")
        if reached is not None:
            return
        if self.start_s == 0 and self.end_s == float("inf"):
            raise SourceError(f"{self.path} has {track.medium}, but nothing is in it")
        until = "its end" if self.end_s == float("inf") else f"{self.end_s:g} s"
        raise SourceError(f"{self.path} has no {track.medium} between {self.start_s:g} s and {until}")

    def _paced(self, packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Stamp the packets with their capture time; at realtime pace, hold each until its end would have come."""
        began: float | None = None
        for packet in packets:
            now = self.clock.now()
            if self.pace == "fast":
                yield dataclasses.replace(packet, captured_at=now)
                continue
            if began is None:
                began = now - packet.start
            due = began + packet.end
            if self.clock.wait(due - now, self.stopping):
                return
            yield dataclasses.replace(packet, captured_at=due)


class PlayedFile(MediaFile):
    """A media file as if it came from a microphone and a camera: it plays at its own pace and cannot be asked to wait.

    Like a device it runs in the user's process, so it outlives the workers of a cluster.
    """

    live: ClassVar[bool] = True
    runs_on: ClassVar[Place] = "driver"

    def __init__(
        self,
        path: str,
        streams: Streams = "audio",
        start_s: float = 0.0,
        end_s: float | None = None,
        chunk_ms: int = 100,
    ) -> None:
        """As for ``MediaFile``."""
        super().__init__(path, streams, "realtime", start_s, end_s, chunk_ms)

    def __str__(self) -> str:
        return self.path
