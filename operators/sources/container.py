"""Containers read with PyAV, which brings its own ffmpeg: what they hold, and the decoded frames of their streams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Packet
from mmstream.media import AudioChunk, Medium, VideoFrame
from operators.sources.errors import SourceError
from operators.sources.tracks import AudioTrack, Timeline, Track, VideoTrack, in_order

Streams = Literal["audio", "video", "both", "any"]  # any: of the two, those that are there

MEDIA: Mapping[Streams, tuple[Medium, ...]] = {
    "audio": ("audio",), "video": ("video",), "both": ("audio", "video"), "any": ("audio", "video"),
}  # fmt: skip

INTERLEAVE_S: Mapping[Medium, float] = {
    "audio": 2.0,
    "video": 2.0,
}  # how far apart in a file the two media of one moment may lie
USUAL_FRAME_S = 0.04  # how long a frame lasts where the container does not say
_TIME = re.compile(r"([0-9]{1,6}):([0-9]{1,2}):([0-9]{1,2}(?:\.[0-9]{1,12})?)")  # as Matroska's tags have it

# Formats whose headers say how long each stream is. What ffmpeg says of others is an estimate from their bit rate.
_DECLARE_DURATION = ("mov,mp4", "matroska,webm", "flac")
_LOCAL_ONLY = {"protocol_whitelist": "file,crypto,data"}  # what a file refers to must not reach into the network
_FILE_TIMEOUT_S = (60.0, 60.0)  # to open and to read: a file that refers to others may never come to its end


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a media file says it holds, before anything is decoded."""

    path: str
    duration_s: float | None  # an estimate in formats that do not say; None where nothing is known
    has_audio: bool
    has_video: bool
    sample_rate: int | None  # Hz
    channels: int | None
    width: int | None  # pixels, before any rotation
    height: int | None
    frame_rate: float | None  # frames per second, on average


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame, or None for data that could not be decoded."""

    medium: Medium
    frame: Any  # av.AudioFrame | av.VideoFrame | None
    time: float | None = None  # seconds since the container's start; None where it has no timestamps
    lasts_s: float | None = None  # None where it does not say


class Readable(Protocol):
    """A file without a name: with ``seek`` and ``tell`` too, or one that only goes forward."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, as soon as there are any; none at the end."""


class Container:
    """An open container and those of its streams that were asked for. For one thread; close it, or use ``with``.

    The clock of all its streams starts with the first one to start, asked for or not.
    """

    def __init__(
        self,
        url: str | Readable,
        name: str,
        *,
        options: Mapping[str, str],
        timeout_s: tuple[float, float] | None,
        form: str | None = None,
    ) -> None:
        """Open ``url``, called ``name`` in messages; ``timeout_s`` is for opening and for each read, None for no limit.

        ``form``: ffmpeg's name of the format; None finds out, and reads ahead for it.

        Raises:
            av.FFmpegError: it cannot be opened, or is not media.
        """
        av = import_av()
        self.name = name
        self._container = av.open(
            url, format=form, container_options=dict(options), timeout=timeout_s, metadata_errors="replace"
        )
        self.fault: type[Exception] = av.FFmpegError  # what reading and decoding raise
        self._streams: dict[Medium, Any] = {}
        best = self._container.streams.best
        self.found: dict[Medium, Any] = {medium: _no_picture(best(medium)) for medium in MEDIA["both"]}
        self.origin_s = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    @property
    def selected(self) -> tuple[Medium, ...]:
        return tuple(self._streams)

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first stream's start to the last one's end; None for a live stream."""
        return None if self._container.duration is None else self._container.duration / 1_000_000

    @property
    def frame_s(self) -> float:
        """How long a frame of the video usually lasts; a guess where there is no video or it does not say."""
        video = self.found["video"]
        rate = (video.average_rate or video.guessed_rate) if video is not None else None
        return float(1 / rate) if rate else USUAL_FRAME_S

    def select(self, streams: Streams, *, threads: bool) -> None:
        """Choose what to decode: nothing else is even read, where the format allows. ``threads``: faster, later.

        Raises:
            SourceError: a stream is not there or cannot be decoded.
        """
        from av.stream import Discard

        for medium in MEDIA[streams]:
            stream = self.found[medium]
            if stream is None and streams == "any" and any(self.found.values()):
                continue
            if stream is None:
                raise SourceError(f"{self.name} has no {medium}{self._only()}")
            if stream.codec_context is None:
                raise SourceError(f"{self.name}: its {medium} is in a format that this ffmpeg cannot decode")
            self._streams[medium] = stream
        for stream in self._container.streams:
            if stream not in self._streams.values():
                stream.discard = Discard.all
        if threads and "video" in self._streams:
            self._streams["video"].thread_type = "AUTO"

    def _only(self) -> str:
        there = [medium for medium in MEDIA["both"] if self.found[medium] is not None]
        return f", only {there[0]}" if there else "; it is not a sound or video file"

    def _start(self) -> float:
        """The container's timestamp of media second 0."""
        starts = [
            float(stream.start_time * stream.time_base)
            for stream in self.found.values()
            if stream is not None and stream.start_time is not None
        ]
        return min(starts, default=(self._container.start_time or 0) / 1_000_000)

    def declared_end(self, medium: Medium) -> float | None:
        """The media second at which the header says that a stream ends; None where it does not say."""
        if not self._container.format.name.startswith(_DECLARE_DURATION):
            return None
        stream = self._streams[medium]
        begin = float((stream.start_time or 0) * stream.time_base) - self.origin_s
        if stream.duration:
            return begin + float(stream.duration * stream.time_base)
        tagged = _seconds(stream.metadata.get("DURATION", ""))
        if tagged is not None:
            return tagged - self.origin_s
        alone = len(self._container.streams) == 1
        return self.duration_s if alone else None

    def seek(self, time: float) -> None:
        """Go to ``time`` (media seconds) or somewhat before it. Where that is impossible, reading begins at the start.

        Raises:
            av.FFmpegError: the file cannot be read.
        """
        try:
            self._container.seek(int((time + self.origin_s) * 1_000_000))
        except self.fault:
            self._container.seek(0, any_frame=True)

    def decoded(self, *, interleaved: bool) -> Iterator[Decoded]:
        """Every frame of the chosen streams; ``interleaved``: in order of time, else as they come.

        Raises:
            av.FFmpegError: reading failed; what came before is good.
            MemoryError: decoding takes more memory than there is.
        """
        packets: Iterator[Any] = self._container.demux(tuple(self._streams.values()))
        if interleaved and len(self._streams) > 1:
            packets = in_order(_timed(packets), INTERLEAVE_S)
        for packet in packets:
            medium: Medium = packet.stream.type
            try:
                frames = packet.decode()
            except MemoryError:  # one of ffmpeg's faults too, but no damage
                raise
            except self.fault:
                yield Decoded(medium, None)
                continue
            for frame in frames:
                time = None if frame.pts is None else frame.time - self.origin_s
                lasts_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else None
                yield Decoded(medium, frame, time, lasts_s)


def open_file(path: str) -> Container:
    """Open a media file.

    Raises:
        SourceError: there is no such file, or it is not media.
    """
    file = Path(path)
    if not file.exists():
        there = "; a live stream is read by LiveUrl, not from a file" if "://" in path else ""
        raise SourceError(f"{path}: no such file{there}")
    if file.is_dir():
        raise SourceError(f"{path} is a folder, not a media file")
    begin = _first_bytes(file) if file.is_file() else b""
    if file.is_file() and not begin:
        raise SourceError(f"{path} is empty (0 bytes)")
    if begin.startswith((b"#EXTM3U", b"\xef\xbb\xbf#EXTM3U")):
        raise SourceError(f"{path} is a playlist, not a media file; LiveUrl reads one from its http address")
    fault = import_av().FFmpegError
    try:
        return Container(f"file:{path}", path, options=_LOCAL_ONLY, timeout_s=_FILE_TIMEOUT_S)
    except fault as error:
        # Those that were cut short have lost their index, which cameras write last.
        why = "its index is missing, so it was cut short" if begin[4:8] == b"ftyp" else cause_of(error)
        raise SourceError(f"{path} cannot be read as media: {why}") from error


def probe(path: str) -> MediaInfo:
    """What a media file holds, from its headers.

    Raises:
        SourceError: there is no such file, or it is not media.
    """
    with open_file(path) as container:
        audio, video = container.found["audio"], container.found["video"]
        rate = video.average_rate if video else None
        return MediaInfo(
            path=path,
            duration_s=container.duration_s,
            has_audio=audio is not None,
            has_video=video is not None,
            sample_rate=audio.rate if audio and audio.codec_context else None,
            channels=audio.channels if audio and audio.codec_context else None,
            width=video.width if video and video.codec_context else None,
            height=video.height if video and video.codec_context else None,
            frame_rate=float(rate) if rate else None,
        )


def missing(selected: Iterable[Medium]) -> frozenset[type]:
    """The payloads that a source of these media never gives."""
    payloads: Mapping[Medium, type] = {"audio": AudioChunk, "video": VideoFrame}
    return frozenset(payloads.values()) - {payloads[medium] for medium in selected}


def make_tracks(
    session: str,
    selected: Iterable[Medium],
    timeline: Timeline,
    *,
    chunk_ms: int,
    frame_s: float,
    since: float = 0.0,
    until: float = float("inf"),
) -> dict[Medium, Track]:
    """A track for each of the streams ``selected``, on one timeline."""
    tracks: dict[Medium, Track] = {}
    for medium in selected:
        if medium == "audio":
            tracks[medium] = AudioTrack(session, timeline, chunk_ms, since=since, until=until)
        else:
            tracks[medium] = VideoTrack(session, timeline, frame_s, since=since, until=until)
    return tracks


def put_on_track(track: Track, decoded: Decoded, received_at: float = 0.0) -> Iterator[Packet[Any]]:
    """What comes out of ``track`` once it has taken ``decoded``."""
    if decoded.frame is None:
        track.damaged("data that cannot be decoded")
        return iter(())
    if isinstance(track, AudioTrack):
        return track.add(samples_of(decoded.frame), decoded.frame.rate, decoded.time, received_at)
    return track.add(partial(pixels_of, decoded.frame), decoded.time, received_at, decoded.lasts_s)


def samples_of(frame: Any) -> NDArray[np.float32]:
    """The samples of an ``av.AudioFrame``, whatever its format: (time, channel), in -1..1."""
    data: NDArray[Any] = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, frame.layout.nb_channels)
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - np.float32(128)) / np.float32(128)
    if np.issubdtype(data.dtype, np.integer):
        return data.astype(np.float32) / np.float32(-float(np.iinfo(data.dtype).min))
    # Lossy codecs overshoot a little, damaged data without limit.
    return np.clip(np.nan_to_num(data.astype(np.float32)), -1, 1)


def pixels_of(frame: Any) -> NDArray[np.uint8]:
    """The picture of an ``av.VideoFrame``: (height, width, 3), RGB, turned upright as its container says."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def cause_of(error: Exception) -> str:
    """What an ``av.FFmpegError`` says, without the name of the file or URL."""
    return str(getattr(error, "strerror", None) or error)


def _first_bytes(file: Path) -> bytes:
    """The first 16 bytes.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        with file.open("rb") as begin:
            return begin.read(16)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error


def import_av() -> Any:
    """The ``av`` module.

    Raises:
        SourceError: it is missing.
    """
    try:
        import av
    except ImportError as error:
        raise SourceError(f"PyAV is missing ({error}); install it with: pip install av") from error
    return av


def _no_picture(stream: Any) -> Any:
    """``stream``, unless it is the cover picture of a sound file."""
    from av.stream import Disposition

    return None if stream is not None and stream.disposition & Disposition.attached_pic else stream


def _timed(packets: Iterator[Any]) -> Iterator[tuple[float, Medium, Any]]:
    """Packets with their decoding time; one that has none counts as that of its stream's last one."""
    last = {"audio": 0.0, "video": 0.0}
    for packet in packets:
        medium = packet.stream.type
        if packet.dts is not None:
            last[medium] = float(packet.dts * packet.time_base)
        yield last[medium], medium, packet


def _seconds(text: str) -> float | None:
    """ "00:01:02.500000000" as seconds; None where it is no time: what is in a file may be anything."""
    found = _TIME.fullmatch(text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None
