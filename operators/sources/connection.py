"""One connection to a live stream: a thread that opens, reads and decodes it until it breaks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from mmstream.clock import Clock
from mmstream.media import Medium
from operators.sources.container import Container, Decoded, Streams, cause_of, import_av
from operators.sources.errors import SourceError
from operators.sources.handoff import Handoff

WAITING_FRAMES = 32  # decoded frames between this thread and the graph

_OPTIONS = {
    # What a playlist or a session description may lead to: the network, never a file of this machine.
    "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,data,udp,rtp,srtp,rtsp,rtmp,rtmps,rtmpt,ffrtmphttp",
    "analyzeduration": "2000000",  # microseconds of media looked at to find out what a stream holds
    "overrun_nonfatal": "1",  # udp: a full buffer loses data, which shows as a gap; it does not end the stream
}


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is there."""

    selected: tuple[Medium, ...]
    frame_s: float  # how long a video frame usually lasts
    finite: bool  # a recording: it has a beginning and an end


@dataclass(frozen=True, slots=True)
class Received:
    """A frame has come."""

    decoded: Decoded
    at: float  # wall-clock seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over; nothing follows."""

    cause: str | None  # None: the server ended the stream in an orderly way


Event = Opened | Received | Ended


class Connection(threading.Thread):
    """Reads ``url`` until it breaks or ``close`` is called; ``events`` brings what it finds, and ``Ended`` last.

    A thread of its own, since a read can hang for its whole timeout, and stopping a session must not.
    """

    def __init__(
        self, url: str, streams: Streams, options: Mapping[str, str], timeout_s: tuple[float, float], clock: Clock
    ) -> None:
        super().__init__(name="mmstream-connection", daemon=True)
        self.events: Handoff[Event] = Handoff(WAITING_FRAMES)
        self._url = url
        self._streams = streams
        self._options = {**_OPTIONS, **options}
        self._timeout_s = timeout_s
        self._clock = clock

    def close(self) -> None:
        """Give up the connection soon: at the next frame, or when the read that hangs times out."""
        self.events.close()

    def run(self) -> None:
        ended = Ended("the reading thread failed")
        try:
            ended = self._read()
        finally:
            self.events.put(ended)

    def _read(self) -> Ended:
        av = import_av()
        silence = f"no answer within {self._timeout_s[0]:g} s"
        try:
            with Container(self._url, "the stream", options=self._options, timeout_s=self._timeout_s) as container:
                silence = f"nothing came for {self._timeout_s[1]:g} s"
                container.select(self._streams, threads=False)
                self.events.put(Opened(container.selected, container.frame_s, container.duration_s is not None))
                for decoded in container.decoded(interleaved=False):
                    if not self.events.put(Received(decoded, self._clock.now())):
                        break
                return Ended(None)
        except av.error.ExitError:  # PyAV's timeout
            return Ended(silence)
        except av.FFmpegError as error:
            return Ended(cause_of(error))
        except SourceError as error:
            return Ended(str(error))


def masked(url: str) -> str:
    """``url`` for people: without user, password and whatever key its query may hold."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")
    netloc = f"***@{host[2]}" if host[1] else host[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "***" if parts.query else "", ""))
