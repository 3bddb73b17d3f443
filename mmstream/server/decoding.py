"""Media from strangers, decoded in a process of its own: bytes or a file in, packets out.

A child process for each session, with limits for memory, processor time, open files (none to open) and written files
(none), ended with its session. What it sends is checked. A fault of the media is a ``BadMedia``: one line for whoever
sent it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import select
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MediaLost, MmstreamError, Packet
from mmstream.media import Medium
from mmstream.server.decoding_wire import (
    END,
    FAULT,
    HEADER,
    LENGTH,
    OPENED,
    PIECE,
    PIECE_BYTES,
    REFUSED,
    DecodingLimits,
    Job,
    WireError,
    read_opened,
    read_packet,
    read_text,
)
from mmstream.server.decoding_zygote import Child, DecoderUnavailable, Zygote, shared_zygote
from operators.sources.container import missing
from operators.sources.errors import SourceError

__all__ = ["BadMedia", "BrokenMedia", "Decoder", "DecoderUnavailable", "DecodingLimits", "decode_file", "warm_up"]

log = logging.getLogger(__name__)


class BadMedia(SourceError):  # noqa: N818 - it is the media that is bad
    """The media cannot be decoded, or not within the limits. The message is one line for whoever sent it."""


class BrokenMedia(BadMedia, MediaLost):
    """Live media turned bad after some of it was good: that comes out whole, and then the session ends with this."""


def warm_up() -> None:
    """Start what children are made of, so that the first session need not wait. Blocks for some tenths of a second.

    Raises:
        DecoderUnavailable: decoding processes cannot be started here.
    """
    shared_zygote().start()


def decode_file(
    path: Path, streams: Literal["any", "audio"] = "audio", limits: DecodingLimits | None = None, **options: Any
) -> _Decoding:
    """The media file at ``path``, as fast as it is asked for: as ``Decoder``, but nothing is written to it.

    The child gets the open file, never its name. ``options``: ``clock`` and ``zygote``, as for ``Decoder``.

    Raises:
        BadMedia: there is no such file.
        DecoderUnavailable: no decoding process can be started.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
    except OSError as error:
        raise BadMedia(f"the media cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadMedia("the media is no file")
        return _Decoding("file", streams, limits or DecodingLimits(), descriptor, **options)
    finally:
        os.close(descriptor)


class _Decoding:
    """A child that decodes. One thread iterates ``packets``, once; ``close`` from any thread."""

    def __init__(
        self,
        mode: Literal["live", "file"],
        streams: Literal["any", "audio"],
        limits: DecodingLimits,
        file: int | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        zygote: Zygote | None = None,
    ) -> None:
        self.missing: frozenset[type] = frozenset()  # payloads that will not come: known with the first packet
        self._live = mode == "live"
        self._limits = limits
        self._clock = clock
        self._given = False  # a packet
        self._failure: SourceError | None = None  # why we ended it
        self._closed = False
        self._users = 0  # threads and tasks at the sockets
        self._lock = threading.Lock()
        self._child: Child = (zygote or shared_zygote()).spawn(file)
        self._socket: socket.socket = self._child.session
        job = json.dumps(dataclasses.asdict(Job(mode, streams, limits))).encode()
        with suppress(ConnectionError):  # there is no child: ``packets`` says so
            self._socket.sendall(LENGTH.pack(len(job)) + job)
        self._socket.setblocking(False)

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        """Every packet: ``AudioChunk``, ``VideoFrame``, ``Gap``; in order of start, each medium for itself if live.

        It waits for media, and ends with it, or quietly after ``close``.

        Raises:
            BadMedia: the media is bad or beyond the limits.
            BrokenMedia: the same, in a live session that has given packets before.
            DecoderUnavailable: the child could not be made.
        """
        with self._using() as usable:
            if not usable:
                return
            try:
                yield from self._read(session)
            except _ChildEnded:
                raise self._cause() from None
            except WireError as error:
                log.error("a decoding process sent what it never should: %s", error)
                raise self._bad("the media cannot be decoded") from None
            except _Closed:
                return
            finally:
                self.close()

    def close(self) -> None:
        """End the child and give everything back. Returns at once; the child is gone a moment later."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._users:
                self._child.hang_up()  # whoever waits there wakes, and the last one to leave closes
            else:
                self._child.close()

    @contextmanager
    def _using(self) -> Iterator[bool]:
        """Descriptors stay open inside; whether they were open to begin with."""
        with self._lock:
            usable = not self._closed
            self._users += usable
        try:
            yield usable
        finally:
            with self._lock:
                self._users -= usable
                if usable and self._closed and not self._users:
                    self._child.close()

    def _read(self, session: str) -> Iterator[Packet[Any]]:
        opened = False
        starts: dict[Medium, float] = {}  # of the last packet
        while True:
            kind, start, end, captured_at, *numbers, length = HEADER.unpack(self._receive(HEADER.size))
            if length > self._limits.payload_bytes:
                raise WireError(f"{length} bytes")
            payload = self._receive(length)
            if kind == END:
                return
            if kind == REFUSED:
                raise self._bad(read_text(payload) or "the media cannot be decoded")
            if kind == FAULT:
                log.error("a decoding process failed: %s", read_text(payload))
                raise self._bad("the media cannot be decoded")
            if kind == OPENED and not opened:
                opened, self.missing = True, missing(read_opened(numbers[0]))
                continue
            if not opened:
                raise WireError(f"kind {kind} before the first message")
            captured_at = min(captured_at, self._clock.now()) if self._live else self._clock.now()
            packet = read_packet(kind, (start, end, captured_at), tuple(numbers), payload, session, self._limits)
            if start < starts.get(packet.data.medium, 0.0):
                raise WireError(f"{packet.data.medium} of {start} s after {starts[packet.data.medium]} s")
            starts[packet.data.medium] = start
            if end > self._limits.media_s:
                raise self._bad(f"the media is longer than {self._limits.media_s:g} s")
            self._given = True
            self._progressed()
            yield packet

    def _receive(self, count: int) -> bytearray:
        """Exactly ``count`` bytes."""
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            try:
                received = self._socket.recv_into(view[got:])
            except BlockingIOError:
                self._await_child()
                continue
            except ConnectionError:
                received = 0
            if self._closed:
                raise _Closed
            if not received:
                raise _ChildEnded
            got += received
        return data

    def _await_child(self) -> None:
        """Return once the child has said something, or has ended."""
        since = self._clock.now()
        remaining_s = self._limits.stalled_s
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not poll.poll(max(1.0, remaining_s * 1000)):
            now = self._clock.now()
            owing_since = self._owing_since()
            stalled_s = 0.0 if owing_since is None else now - max(since, owing_since)
            remaining_s = self._limits.stalled_s - stalled_s
            if remaining_s <= 0:
                self._fail(f"the media gave no sound or picture within {self._limits.stalled_s:g} s")
                remaining_s = self._limits.stalled_s

    def _owing_since(self) -> float | None:
        """The wall-clock second since which the child has had something to do; None: it waits for media."""
        return 0.0

    def _progressed(self) -> None:
        """A packet has come."""

    def _fail(self, message: str) -> None:
        """End the child; ``packets`` raises."""
        self._failure = self._bad(message)
        self._child.kill()

    def _bad(self, message: str) -> SourceError:
        return BrokenMedia(message) if self._live and self._given else BadMedia(message)

    def _cause(self) -> MmstreamError:
        """Why the child is gone, which said nothing."""
        if self._failure is not None:
            return self._failure
        status = self._child.wait()
        if status is None:
            return DecoderUnavailable("the decoding process is gone; the server is restarting it or short of something")
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        log.warning("a decoding process ended: %s", signal.strsignal(number) if number else f"status {status}")
        limits = self._limits
        if number == signal.SIGXCPU:
            return self._bad(f"the media takes more processor time to decode than the {limits.cpu_s} s that it may")
        return self._bad("the media cannot be decoded: it ended the decoding process")


class Decoder(_Decoding):
    """Live media, bytes in, packets out, as they come.

    One task or thread writes (``write`` or ``feed``, then ``end``), one thread iterates ``packets``, once; ``close``
    from any. All that is written is kept in the kernel's socket buffer (some 200 KB) until the child takes it, so a
    consumer of ``packets`` that waits makes the writer wait. Once decoding has ended, for whatever reason, what is
    written is thrown away: ``packets`` says why. So is what is written after ``end``.

    WebM (Matroska), Ogg, MPEG-TS and fragmented MP4, one recording from its beginning to its end. ``captured_at`` of
    a packet is the wall-clock second at which the bytes that completed it were written.
    """

    def __init__(
        self,
        streams: Literal["any", "audio"] = "any",
        limits: DecodingLimits | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        zygote: Zygote | None = None,
    ) -> None:
        """``streams``: of sound and pictures those that are there, or sound alone. Returns within milliseconds once
        the ``zygote`` (None: that of the process) is warm.

        Raises:
            DecoderUnavailable: no decoding process can be started.
        """
        super().__init__("live", streams, limits or DecodingLimits(), clock=clock, zygote=zygote)
        self._sending = threading.Lock()
        self._unsent = bytearray()  # of what was taken
        self._blocked_since: float | None = None  # wall-clock second: the child takes nothing
        self._ended_since: float | None = None
        self._answered = 0  # bytes that were taken when the last packet came
        self.taken = 0  # bytes; exact, even where ``feed`` was cancelled: what it was given counts as a whole

    def write(self, data: bytes) -> None:
        """Give the child ``data``; blocks until the kernel has all of it."""
        self._take(data)
        self._write_all()

    async def feed(self, data: bytes) -> None:
        """As ``write``, for an event loop. Where it is cancelled, ``data`` counts as taken: the next one brings it."""
        self._take(data)
        with self._using() as usable:
            while usable and not self._flush():
                await self._writable()

    def end(self) -> None:
        """Nothing more is taken: what is left comes out, and ``packets`` ends. Never blocks."""
        with self._using() as usable:
            if usable and self._ended_since is None:
                self._ended_since = self._clock.now()
                if self._flush():
                    _shut_writing(self._socket)
                else:  # a feed was cancelled, or still waits
                    threading.Thread(target=self._write_all, name="mmstream-decoder-end", daemon=True).start()

    def _write_all(self) -> None:
        with self._using() as usable:
            if usable:
                poll = select.poll()
                poll.register(self._socket, select.POLLOUT)
                while not self._flush():
                    poll.poll()
                if self._ended_since is not None:
                    _shut_writing(self._socket)

    def _take(self, data: bytes) -> None:
        if self._closed or self._ended_since is not None:
            return
        now = self._clock.now()
        for begin in range(0, len(data), PIECE_BYTES):
            piece = data[begin : begin + PIECE_BYTES]
            self._unsent += PIECE.pack(now, len(piece)) + piece
        self.taken += len(data)
        if self.taken - self._answered > self._limits.silent_mb * 1_000_000:
            self._fail(f"{self._limits.silent_mb:g} MB of the media gave no sound or picture")

    def _flush(self) -> bool:
        """Send what goes; whether that is all."""
        with self._sending:
            try:
                while self._unsent:
                    del self._unsent[: self._socket.send(self._unsent)]
                    self._blocked_since = None
            except BlockingIOError:
                if self._blocked_since is None:
                    self._blocked_since = self._clock.now()
                return False
            except OSError:  # the child is gone, or we are closed
                self._unsent.clear()
            self._blocked_since = None
            return True

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        writable = loop.create_future()
        loop.add_writer(self._socket, _settle, writable)
        try:
            await writable
        finally:
            loop.remove_writer(self._socket)

    def _owing_since(self) -> float | None:
        return self._blocked_since if self._ended_since is None else self._ended_since

    def _progressed(self) -> None:
        self._answered = self.taken


def _shut_writing(end: socket.socket) -> None:
    with suppress(OSError):  # the child is gone: ``packets`` says why
        end.shutdown(socket.SHUT_WR)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _ChildEnded(Exception):  # noqa: N818 - an event
    """The child's end of the socket is closed."""


class _Closed(Exception):  # noqa: N818 - an event
    """We have closed it ourselves."""
