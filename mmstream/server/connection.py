"""Connections as they come off the network: how many, how fast their headers come, and whether they read.

The application sees a request only once its headers are there, and an answer is out of its hands before the client
has read it: what a hostile client does before and after is bounded here, in uvicorn's protocols.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import functools
import json
import ssl
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

from mmstream.server.limits import Limits, network_of

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

KEEP_ALIVE_S = 5
LINGER_S = 5.0  # an answer given before the body is there: so long is the rest read, so that the answer arrives
LEAST_READ = 10_000  # bytes in ``stall_s`` that a client reads which is slow, but alive
PING_S = 20.0  # a WebSocket's client that has vanished is noticed after twice that
QUICKEST_TEXT = 4  # bytes of the longest character: uvicorn's own bound lies above that of the application


class Doors:
    """How many connections there are, of each address and in all. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._by_address: dict[str, int] = {}
        self._all = 0

    def enter(self, address: str) -> int | None:
        """None, and one connection more; or the status of the refusal."""
        here = self._by_address.get(address, 0)
        if self._all >= self.limits.connections:
            return 503
        if here >= self.limits.connections_per_address:
            return 429
        self._by_address[address] = here + 1
        self._all += 1
        return None

    def leave(self, address: str) -> None:
        """One connection fewer."""
        self._all -= 1
        here = self._by_address[address] - 1
        if here:
            self._by_address[address] = here
        else:
            del self._by_address[address]


class _Stall:
    """Cuts a connection whose client does not read what waits for it."""

    def __init__(self, transport: asyncio.Transport, stall_s: float) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = 0  # bytes

    def watch(self) -> None:
        """From now on what the system does not take at once counts as waiting; some may wait already."""
        self._transport.set_write_buffer_limits(high=1, low=0)

    def begin(self) -> None:
        self._waiting = self._unread()
        self._timer = asyncio.get_running_loop().call_later(self._stall_s, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._unread() > self._waiting - LEAST_READ:
            self._timer = None
            self._transport.abort()
        else:
            self.begin()

    def _unread(self) -> int:
        """Bytes that wait here and in the system, whose share is megabytes and moves in leaps."""
        held = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + held[0]


def _address(client: tuple[str, int] | None) -> str:
    return "unknown" if client is None else network_of(client[0])


class Http(HttpToolsProtocol):
    """A connection before it becomes a WebSocket, if it does."""

    def __init__(self, *arguments: Any, doors: Doors, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._doors = doors
        self._inside = False
        self._in_headers = True
        self._in_body = False
        self._has_ended = False  # a request, within what came last: that was not all headers
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = _address(self.client)
        self._stall = _Stall(transport, self._doors.limits.stall_s)
        self._stall.watch()
        status = self._doors.enter(self._address)
        if status is not None:
            self._turn_away(status, "too many connections; try again soon")
            return
        self._inside = True
        self._begin(self._doors.limits.header_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._stall.end()
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_headers and self._timer is None:  # the next request on a connection that was kept
            self._begin(self._doors.limits.header_s)
        self._has_ended = False
        super().data_received(data)
        if self._in_headers and not self._has_ended and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > self._doors.limits.header_bytes:
                self._turn_away(431, "the headers are too large")

    def handle_websocket_upgrade(self) -> None:
        if self.transport.is_closing():
            return
        self._end()
        self._stall.end()
        self._inside = False  # what comes after this leaves through the same door
        super().handle_websocket_upgrade()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._timer is None:  # it came together with what was before it
            self._begin(self._doors.limits.header_s)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._in_body = True
        self._header_bytes = 0
        self._end()
        limits = self._doors.limits
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > limits.headers or size > limits.header_bytes:
            self._turn_away(431, "the headers are too large")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_headers = True
        self._has_ended = True
        self._in_body = False
        self._end()
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._begin(LINGER_S)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.begin()

    def resume_writing(self) -> None:
        self._stall.end()
        super().resume_writing()

    def _begin(self, seconds: float) -> None:
        self._end()
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self._doors.leave(self._address)

    def _turn_away(self, status: int, message: str) -> None:
        self._end()
        kind = {503: "full", 429: "too_many"}.get(status, "too_large")
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": kind}
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status} {PHRASES[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        wait = "retry-after: 5\r\n" if status != 431 else ""
        self.transport.write(f"{head}{wait}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


PHRASES = {429: "Too Many Requests", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}


class WebSocket(WebSocketsSansIOProtocol):
    """A connection that ``Http`` has let in."""

    def __init__(self, *arguments: Any, doors: Doors, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._doors = doors

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = _address(self.client)
        self._stall = _Stall(self.transport, self._doors.limits.stall_s)
        self._stall.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stall.end()
        self._doors.leave(self._address)
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a refusal is an answer too; uvicorn would log a fault of ours

    def shutdown(self) -> None:
        """As uvicorn's, which fails, and leaves the other connections alone, where a close is under way already."""
        if self.handshake_complete and not self.close_sent and self.conn.state is not State.OPEN:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """While it does not read, its pings are not answered either, or their answers would pile up here."""
        super().pause_writing()
        self._stall.begin()
        if not self.read_paused:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._stall.end()
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()
        super().resume_writing()


def uvicorn_options(limits: Limits, tls: ssl.SSLContext | None) -> dict[str, Any]:
    """Of ``uvicorn.Config``: these bounds, no answer that names the software, and no log but ours."""
    doors = Doors(limits)
    given: Callable[..., ssl.SSLContext] | None = None if tls is None else lambda _config, _default: tls
    return {
        "http": functools.partial(Http, doors=doors),
        "ws": functools.partial(WebSocket, doors=doors),
        "ws_max_size": QUICKEST_TEXT * limits.message_bytes,
        "ws_per_message_deflate": False,  # tens of kilobytes for each connection, and media does not shrink
        "ws_ping_interval": PING_S,
        "ws_ping_timeout": PING_S,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "ssl_context_factory": given,
        "server_header": False,
        "proxy_headers": False,  # anybody could write any address into them
        "access_log": False,
        "log_config": None,
        "log_level": "error",
    }
