"""Media to packets inside a decoding child: as in every other source, but from bytes, and within limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Protocol

from mmstream.core import Packet
from mmstream.media import Medium
from mmstream.server.decoding_wire import END, PIECE, DecodingLimits, Job, write_end, write_opened, write_packet
from operators.sources.container import (
    USUAL_FRAME_S,
    Container,
    Decoded,
    Readable,
    Streams,
    cause_of,
    import_av,
    make_tracks,
    put_on_track,
)
from operators.sources.errors import SourceError
from operators.sources.live_url import LONGEST_GAP_S
from operators.sources.media_file import MediaFile
from operators.sources.tracks import Timeline

NAME = "the media"  # in messages
USUAL_RATES_S = (1 / 120, 0.5)  # how long a picture of a live stream may say that it lasts

# What is read as media. Not here: whatever refers to other files or addresses (playlists, concat, sdp, image2),
# pictures, subtitles, raw data without a header that says what it is, devices.
FORMATS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,ogg,mpegts,mpeg,avi,flv,asf,rm,mxf,nut,gxf,dv,"
    "wav,w64,aiff,au,caf,mp3,aac,flac,ac3,eac3,dts,dtshd,amr,amrnb,amrwb,wv,tta,ape,mpc,mpc8,tak,qcp,oma,voc"
)
_BEGINNINGS = {b"\x1aE\xdf\xa3": "matroska", b"OggS": "ogg", b"fLaC": "flac"}  # of what may come live
_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg")  # an MP4 begins with one of them
_SYNC, _TS_PACKET = b"\x47", 188  # every packet of MPEG-TS, of so many bytes, begins with it
_KINDS = "WebM (Matroska), Ogg, MPEG-TS, fragmented MP4, WAV nor FLAC"

_CLOSED_IN = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "none",  # there is no such protocol: a file refers to nothing
    "enable_drefs": "0",
    "max_streams": "64",
}
_AT_ONCE = {  # a live stream is looked at for as long as it takes to learn its formats, not its frame rate
    "fpsprobesize": "0",
    "probesize": "1000000",  # bytes
    "analyzeduration": "1000000",  # microseconds
}


class Seekable(Readable, Protocol):
    """A file on disk."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to ``offset``; where that is from the start."""


class Renewable(Protocol):
    """An allowance of processor time."""

    def renew(self) -> None:
        """A packet has come."""


class Outlet:
    """Where the child's packets go."""

    def __init__(self, session: socket.socket, allowance: Renewable) -> None:
        self._session = session
        self._allowance = allowance

    def open(self, media: tuple[Medium, ...]) -> None:
        """Say which media follow."""
        self._session.sendall(write_opened(media))

    def send(self, packet: Packet[Any]) -> None:
        """Waits until the server takes it.

        Raises:
            ConnectionError: the session has ended.
        """
        header, payload = write_packet(packet)
        sent = self._session.sendmsg([header, payload])
        if sent < len(header):
            self._session.sendall(header[sent:])
        if sent < len(header) + len(payload):
            self._session.sendall(payload[max(0, sent - len(header)) :])
        self._allowance.renew()

    def end(self) -> None:
        """Say that all is well, and that nothing follows."""
        self._session.sendall(write_end(END)[0])


class Pieces:
    """A live stream as a file that only goes forward. It knows when its latest bytes arrived at the server."""

    def __init__(self, session: socket.socket) -> None:
        self._session = session
        self._begin = b""  # what was looked at before
        self._left = 0  # bytes of the piece that is being read
        self.arrived_at = 0.0  # wall-clock second

    def begin(self, count: int) -> bytes:
        """The first ``count`` bytes; fewer where there are no more. They are read again."""
        while len(self._begin) < count and (data := self._receive(count - len(self._begin))):
            self._begin += data
        return self._begin

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes of one piece, once it is there; none at the end."""
        if self._begin:
            data, self._begin = self._begin[:size], self._begin[size:]
            return data
        return self._receive(size)

    def _receive(self, size: int) -> bytes:
        if not self._left:
            header = self._session.recv(PIECE.size, socket.MSG_WAITALL)
            if len(header) < PIECE.size:
                return b""
            self.arrived_at, self._left = PIECE.unpack(header)
        data = self._session.recv(min(size, self._left))
        self._left -= len(data)
        return data


def decode(source: Pieces | Seekable, outlet: Outlet, job: Job) -> None:
    """Send every packet of ``source``.

    Raises:
        SourceError: the media is bad, or beyond the limits; its message is for whoever sent the media.
        MemoryError: it takes too much memory.
        ConnectionError: nobody wants it any more.
    """
    if isinstance(source, Pieces):
        _decode_live(source, outlet, job)
    else:
        file = _UnnamedFile(source, job)
        for place, packet in enumerate(file.packets("")):
            if not place:
                outlet.open(file.media)
            outlet.send(packet)
    outlet.end()


def _decode_live(pieces: Pieces, outlet: Outlet, job: Job) -> None:
    form = _live_format(pieces)
    fault = ""
    with _open(pieces, job.limits, _AT_ONCE, form) as container:
        container.select(job.streams, threads=False)
        outlet.open(container.selected)
        frame_s = container.frame_s if USUAL_RATES_S[0] <= container.frame_s <= USUAL_RATES_S[1] else USUAL_FRAME_S
        timeline = Timeline(LONGEST_GAP_S)
        tracks = make_tracks("", container.selected, timeline, chunk_ms=job.limits.chunk_ms, frame_s=frame_s)
        try:
            for decoded in container.decoded(interleaved=False):
                for packet in put_on_track(tracks[decoded.medium], decoded, pieces.arrived_at):
                    outlet.send(packet)
        except MemoryError:
            raise
        except container.fault as error:
            fault = cause_of(error)
    for track in tracks.values():
        for packet in track.flush():
            outlet.send(packet)
    reached = max((track.position for track in tracks.values() if track.position is not None), default=None)
    if reached is None:
        raise SourceError(f"{NAME} ended before any sound or picture came" + (f": {fault}" if fault else ""))
    if fault:
        raise SourceError(f"{NAME} is damaged at {reached:.2f} s: {fault}")
    if pieces.read(1):
        raise SourceError(f"{NAME} ends at {reached:.2f} s, but more came after it; a session takes one recording")


def _live_format(pieces: Pieces) -> str:
    """What ffmpeg calls the format; its own way of finding out waits for more bytes, and knows too many formats."""
    begin = pieces.begin(12)
    if not begin:
        raise SourceError(f"{NAME} is empty (0 bytes)")
    if begin[4:8] in _BOXES:
        return "mov"
    if begin.startswith(b"RIFF") and begin[8:12] == b"WAVE":
        return "wav"
    if begin[:1] == _SYNC and pieces.begin(_TS_PACKET + 1)[_TS_PACKET:] in (_SYNC, b""):
        return "mpegts"
    for magic, form in _BEGINNINGS.items():
        if begin.startswith(magic):
            return form
    raise SourceError(f"{NAME} is neither {_KINDS}")


def _open(source: Readable, limits: DecodingLimits, options: dict[str, str], form: str | None = None) -> _Limited:
    av = import_av()
    try:
        return _Limited(source, limits, options, form)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise SourceError(f"{NAME} cannot be read as media: {cause_of(error)}") from error


class _Limited(Container):
    """A container whose streams stay within the limits."""

    def __init__(self, source: Readable, limits: DecodingLimits, options: dict[str, str], form: str | None) -> None:
        self._limits = limits
        self._pixels = round(limits.megapixels * 1_000_000)
        super().__init__(source, NAME, options={**_CLOSED_IN, **options}, timeout_s=None, form=form)

    def select(self, streams: Streams, *, threads: bool) -> None:
        """As in every container, but in one thread, which is all that there is.

        Raises:
            SourceError: a stream is missing, or beyond the limits.
        """
        super().select(streams, threads=False)
        for medium in self.selected:
            context = self.found[medium].codec_context
            context.thread_count = 1
            context.options = {"max_pixels": str(self._pixels)}
            if medium == "audio":
                self._check_sound(context.sample_rate, context.layout.nb_channels)
            elif context.width * context.height > self._pixels:
                raise SourceError(
                    f"{self.name}: its pictures have {context.width}x{context.height} pixels; "
                    f"at most {self._limits.megapixels:g} megapixels are taken"
                )

    def decoded(self, *, interleaved: bool) -> Iterator[Decoded]:
        """As in every container, but no more pictures than the limit for their rate allows, and no larger ones."""
        due = float("-inf")
        for decoded in super().decoded(interleaved=interleaved):
            if decoded.frame is None:
                yield decoded
            elif decoded.medium == "audio":
                self._check_sound(decoded.frame.rate, decoded.frame.layout.nb_channels)
                yield decoded
            else:
                time_s = decoded.time
                if time_s is not None and due - 1 < time_s < due:
                    continue
                due = due if time_s is None else time_s + 1 / self._limits.frame_rate
                yield Decoded("video", _Picture(decoded.frame, self._limits), time_s, decoded.lasts_s)

    def _check_sound(self, sample_rate: int, channels: int) -> None:
        if sample_rate > self._limits.sample_rate or channels > self._limits.channels:
            raise SourceError(
                f"{self.name}: its sound has {sample_rate} Hz and {channels} channels; at most "
                f"{self._limits.sample_rate} Hz and {self._limits.channels} channels are taken"
            )


class _Picture:
    """What ``pixels_of`` asks of a frame, scaled down to the limits."""

    def __init__(self, frame: Any, limits: DecodingLimits) -> None:
        self._frame = frame
        short, long = sorted((frame.width, frame.height))
        self._scale = min(1.0, limits.short_side / short, limits.long_side / long)
        self.rotation = frame.rotation

    def to_ndarray(self, format: str) -> Any:  # noqa: A002 - PyAV's name
        """The pixels."""
        options: dict[str, Any] = {"threads": 1}
        if self._scale < 1:
            options |= {
                "width": max(1, round(self._frame.width * self._scale)),
                "height": max(1, round(self._frame.height * self._scale)),
                "interpolation": "AREA",
            }
        return self._frame.to_ndarray(format=format, **options)


class _UnnamedFile(MediaFile):
    """A media file that is already open and has no name."""

    def __init__(self, file: Seekable, job: Job) -> None:
        super().__init__(NAME, job.streams, chunk_ms=job.limits.chunk_ms)
        self._file = file
        self._limits = job.limits

    @property
    def media(self) -> tuple[Medium, ...]:
        """What is in it, once packets come."""
        return self._opened.selected

    def _open(self) -> Container:
        if not self._file.read(1):
            raise SourceError(f"{NAME} is empty (0 bytes)")
        self._file.seek(0)
        self._opened = _open(self._file, self._limits, {})
        return self._opened
