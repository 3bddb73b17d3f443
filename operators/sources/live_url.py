"""A live stream from the network as a source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, Literal

from mmstream.clock import Clock
from mmstream.core import Packet, Source
from mmstream.media import AudioChunk, Gap, Medium, VideoFrame
from operators.sources.connection import Connection, Ended, Event, Opened, Received, masked
from operators.sources.container import MEDIA, Streams, make_tracks, missing, put_on_track
from operators.sources.errors import SourceError, SourceLost
from operators.sources.tracks import Timeline, Track, check_chunk_ms

log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp", "rtp")
FIRST_BACKOFF_S = 0.5
LONGEST_GAP_S = 60.0  # a live timestamp further ahead than this is a clock that was set, not lost media
CATCH_UP = 1.25  # times real time: the fastest that media comes out, so that a burst does not flood the graph
BURST_S = 1.0  # media that may come out at once
RESUME_S = 0.3  # how long a new connection is watched to see where its media belongs
LAG_GROWTH = 0.05  # seconds per second by which the least lag is forgotten, should a stream come later and later
LEAVE_S = 0.5  # how long ``stop`` waits for the reading thread, which may hang in a read until its timeout


class LiveUrl(Source):
    """A stream as it comes: rtsp, rtmp, http(s) and hls, tcp, udp, rtp. It connects again when the stream breaks.

    Media time goes on by the wall clock while the connection is lost, so captions keep their place; what is missing
    is a ``Gap``. After a burst, media comes out at no more than ``CATCH_UP`` times real time.
    """

    emits = (AudioChunk, VideoFrame)
    live = True

    def __init__(
        self,
        url: str,
        streams: Streams = "audio",
        chunk_ms: int = 100,
        open_timeout_s: float = 10.0,
        read_timeout_s: float = 10.0,
        reconnect: bool = True,
        max_backoff_s: float = 10.0,
        give_up_after_s: float = 30.0,
        rtsp_transport: Literal["tcp", "udp"] = "tcp",
    ) -> None:
        """Read ``streams`` of ``url``, in audio chunks of ``chunk_ms``.

        A connection that takes longer than ``open_timeout_s`` or brings nothing for ``read_timeout_s`` is broken. The
        wait before the next attempt doubles from 0.5 s to ``max_backoff_s``; after ``give_up_after_s`` without any
        media the session ends with an error. ``reconnect: false`` ends it with the first connection.
        """
        super().__init__()
        scheme = url.partition("://")[0].lower() if "://" in url else ""
        if scheme not in SCHEMES:
            legal = ", ".join(f"{name}://" for name in SCHEMES)
            raise ValueError(f"url must begin with one of {legal}; got {masked(url)!r}")
        if streams not in MEDIA:
            raise ValueError(f"streams must be one of {', '.join(MEDIA)}, not {streams!r}")
        if rtsp_transport not in ("tcp", "udp"):
            raise ValueError(f"rtsp_transport must be tcp or udp, not {rtsp_transport!r}")
        check_chunk_ms(chunk_ms)
        times = {"open_timeout_s": open_timeout_s, "read_timeout_s": read_timeout_s, "max_backoff_s": max_backoff_s}
        for name, value in times.items():
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value:g}")
        if give_up_after_s < 0:
            raise ValueError(f"give_up_after_s must be at least 0, not {give_up_after_s:g}")
        self.url = url
        self.name = masked(url)  # for messages
        self.streams: Streams = streams
        self.chunk_ms = chunk_ms
        self.timeout_s = (open_timeout_s, read_timeout_s)
        self.reconnect = reconnect
        self.max_backoff_s = max_backoff_s
        self.give_up_after_s = give_up_after_s
        self.options = {"rtsp_transport": rtsp_transport}
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def stop(self) -> None:
        super().stop()
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def __str__(self) -> str:
        return self.name

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        """The stream until ``stop`` or its end.

        Raises:
            SourceError: no connection came about within ``give_up_after_s``.
            SourceLost: the stream broke, and did not come back within ``give_up_after_s``.
        """
        stream = _Stream(session, self.chunk_ms)
        pace = _Pace(self.clock)
        failing_since = self.clock.now()
        backoff_s = FIRST_BACKOFF_S
        cause: str | None = None
        while not self.stopping.is_set():
            finite = False
            for event in self._connect():
                if isinstance(event, Ended):
                    cause = event.cause
                elif isinstance(event, Received):
                    backoff_s, failing_since = FIRST_BACKOFF_S, event.at
                    for packet in stream.receive(event):
                        pace.wait(packet, self.stopping)
                        yield packet
                else:
                    finite = event.finite
                    if finite and stream.reached is not None:
                        break  # what was live, or broke half-way, is a recording now: it would only begin again
                    stream.open(event)
                    self.missing = missing(event.selected)
            now = self.clock.now()
            if self.stopping.is_set() or (cause is None and (finite or not self.reconnect)):
                break
            what = cause or "the server ended the stream"
            yield from stream.interrupt(now, f"connection lost: {what}")
            if finite or not self.reconnect or now + backoff_s - failing_since > self.give_up_after_s:
                raise self._failure(what, stream.reached, now - failing_since)
            log.warning("%s: %s; connecting again in %.1f s", self.name, what, backoff_s)
            self.clock.wait(backoff_s, self.stopping)
            backoff_s = min(self.max_backoff_s, backoff_s * 2)
        yield from stream.flush()

    def _connect(self) -> Iterator[Event]:
        """What one connection brings; after ``stop`` it just ends."""
        with self._lock:
            if self.stopping.is_set():
                return
            connection = self._connection = Connection(self.url, self.streams, self.options, self.timeout_s, self.clock)
        connection.start()
        try:
            while (event := connection.events.take()) is not None:
                yield event
                if isinstance(event, Ended):
                    return
        finally:
            connection.close()
            connection.join(LEAVE_S)

    def _failure(self, cause: str, reached: float | None, waited_s: float) -> SourceError:
        if reached is None:
            return SourceError(f"{self.name} cannot be opened: {cause} (tried for {waited_s:.0f} s)")
        again = f" and did not come back within {waited_s:.0f} s" if self.reconnect else ""
        return SourceLost(f"{self.name} was lost at {reached:.1f} s of the stream{again}: {cause}")


class _Stream:
    """The tracks of a stream over all its connections, and its place in media time."""

    def __init__(self, session: str, chunk_ms: int) -> None:
        self._session = session
        self._chunk_ms = chunk_ms
        self._timeline = Timeline(LONGEST_GAP_S)
        self._tracks: dict[Medium, Track] = {}
        self._interrupted: str | None = None  # why the connection before this one ended
        self._first: list[Received] = []  # of a new connection, until it is clear which media second they are
        self._received_at = 0.0  # wall-clock second
        self._lag_s = float("inf")  # least that wall clock less media clock has been of late, as media came

    @property
    def reached(self) -> float | None:
        """Media seconds up to which anything came; None before the first."""
        return max((track.position for track in self._tracks.values() if track.position is not None), default=None)

    def open(self, opened: Opened) -> None:
        """The first connection says what the stream holds."""
        if not self._tracks:
            self._tracks = make_tracks(
                self._session, opened.selected, self._timeline, chunk_ms=self._chunk_ms, frame_s=opened.frame_s
            )

    def receive(self, received: Received) -> Iterator[Packet[Any]]:
        """What comes out for one frame; before the first one of a new connection, the gap."""
        if self._interrupted is None:
            yield from self._take(received)
            return
        self._first.append(received)
        if received.at - self._first[0].at >= RESUME_S:
            yield from self._resume()

    def _take(self, received: Received) -> Iterator[Packet[Any]]:
        track = self._tracks[received.decoded.medium]
        yield from put_on_track(track, received.decoded, received.at)
        if track.position is not None:
            grown_s = self._lag_s + LAG_GROWTH * (received.at - self._received_at)
            self._lag_s = min(received.at - track.position, grown_s)
            self._received_at = received.at

    def _resume(self) -> Iterator[Packet[Any]]:
        """Go on where the media clock stands by now.

        What has waited on the way comes in a burst, so only the most punctual frame tells how media and wall clock lie.
        """
        timed = [(first, first.decoded.time) for first in self._first if first.decoded.time is not None]
        if timed:
            offset = min(first.at - time - (first.decoded.lasts_s or 0.0) for first, time in timed) - self._lag_s
            earliest = min(time for _, time in timed)
            begin = max(earliest + offset, self.reached or 0.0)
            self._timeline.restart(begin - earliest)
            yield from self._lose_until(begin, self._interrupted or "", self._first[-1].at)
        waiting, self._first, self._interrupted = self._first, [], None
        for received in waiting:
            yield from self._take(received)

    def interrupt(self, now: float, reason: str) -> Iterator[Packet[Any]]:
        """The connection broke: what is lost until now is said at once, so that captions end; the rest on return."""
        if self._first:
            yield from self._resume()
        if self._interrupted is None and self.reached is not None:
            self._interrupted = reason
            yield from self._lose_until(max(self.reached, now - self._lag_s), reason, now)

    def _lose_until(self, time: float, reason: str, now: float) -> Iterator[Packet[Any]]:
        for track in self._tracks.values():
            yield from track.lose_until(time, reason, now)

    def flush(self) -> Iterator[Packet[Any]]:
        """What is held."""
        if self._first:
            yield from self._resume()
        for track in self._tracks.values():
            yield from track.flush()


class _Pace:
    """Spreads bursts: a server may send many seconds at once, when a stream begins or comes back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due = float("-inf")  # wall-clock second at which everything until now may have come out
        self._furthest: float | None = None  # media seconds

    def wait(self, packet: Packet[Any], stop: threading.Event) -> None:
        """Return when ``packet`` may come out, or at once after ``stop``."""
        ahead_s = max(0.0, packet.end - (packet.start if self._furthest is None else self._furthest))
        self._furthest = packet.end if self._furthest is None else max(self._furthest, packet.end)
        if not isinstance(packet.data, Gap):
            now = self._clock.now()
            self._due = max(self._due, now - BURST_S) + ahead_s / CATCH_UP
            if self._due > now:
                self._clock.wait(self._due - now, stop)
