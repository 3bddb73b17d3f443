"""How much a caller, a connection and all of them together may ask for; who asks for more is told so, or waits."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, NoReturn

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmstream.core import MmstreamError
from mmstream.server.refusal import Refusal, close, refuse
from mmstream.spelling import did_you_mean

Now = Callable[[], float]  # seconds, monotonic

UPLOADS = ("/v1/audio/",)  # where a body may be a media file
BURST_S = 4.0  # what a client may send at once, after a dropped connection for one, in seconds of its rate
MOST_CALLERS = 10_000  # remembered by a ``Rate``; the one that asked longest ago is forgotten first
SIZES = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the server but the number of its sessions. All are above zero."""

    connections: int = 4096  # TCP connections in all
    connections_per_address: int = 1024
    sessions_per_token: int = 16  # live sessions and uploads at a time; without tokens only the total counts
    requests_per_minute: int = 1200  # of one token, or of one address without
    upload_bytes: int = 512_000_000  # the body of a request that carries a media file
    body_bytes: int = 64_000  # of any other request
    message_bytes: int = 1_000_000  # one WebSocket message
    messages_per_s: int = 500  # of one WebSocket; who sends faster is read more slowly
    bytes_per_s: int = 2_000_000  # likewise
    session_s: float = 4 * 3600.0  # how long one WebSocket may last
    idle_s: float = 60.0  # without a message from the client
    header_s: float = 10.0  # until the headers of a request are there
    header_bytes: int = 32_000
    headers: int = 100
    body_start_s: float = 20.0  # of waiting for a body, and a second more for each body_rate bytes of it
    body_rate: int = 1_000
    stall_s: float = 60.0  # a client that reads nothing of what waits for it, before it is cut off


def limits(texts: Iterable[str], base: Limits | None = None) -> Limits:
    """``base`` with each NAME=VALUE of the command line put in; sizes may end in k, M or G.

    Raises:
        MmstreamError: no such limit, or no such value.
    """
    changed = base or Limits()
    legal = [field.name for field in fields(Limits)]
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in legal:
            hint = did_you_mean(name, legal) or f"; legal are {', '.join(legal)}"
            raise MmstreamError(f"--limit {text}: no NAME=VALUE with a limit's name{hint}")
        given: dict[str, Any] = {name: _number(text, value, whole=isinstance(getattr(changed, name), int))}
        changed = replace(changed, **given)
    return changed


def _number(option: str, text: str, *, whole: bool) -> float:
    digits, factor = (text[:-1], SIZES[text[-1]]) if text[-1:] in SIZES else (text, 1)
    try:
        number: float = int(digits) * factor if whole else float(digits) * factor
    except ValueError:
        number = 0
    if not (0 < number < math.inf):
        kind = "a whole number" if whole else "a number"
        raise MmstreamError(f"--limit {option}: needs {kind} above 0, such as 30 or 2M")
    return number


def network_of(address: str) -> str:
    """Whom an address counts for: of IPv6 the network of 64 bits, which one host has to itself."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False).network_address)


class Rate:
    """So many a minute for each caller, and at most a minute's worth at once. For one thread."""

    def __init__(self, per_minute: int, now: Now = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_s = per_minute / 60
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> what is left, and when it was

    def take(self, caller: str, cost: float = 1.0) -> float:
        """Seconds until the caller may ask again; 0 where it may now, and then ``cost`` is counted.

        A caller that is refused is not charged, so waiting as long as it is told helps.
        """
        now = self._now()
        left, then = self._left.pop(caller, (self._most, now))
        left = min(self._most, left + (now - then) * self._per_s)
        allowed = left >= 1
        self._left[caller] = (max(0.0, left - cost) if allowed else left, now)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_s


class Pace:
    """How long to wait before reading on, so that a sender keeps to its messages and bytes a second. One thread."""

    def __init__(self, limits: Limits, now: Now = time.monotonic) -> None:
        self._cost_s = (1 / limits.messages_per_s, 1 / limits.bytes_per_s)
        self._now = now
        self._until = now()  # when all that has come would be paid, at the rate

    def delay(self, size: int) -> float:
        """Seconds to wait after a message of ``size`` bytes."""
        now = self._now()
        per_message, per_byte = self._cost_s
        self._until = max(self._until, now) + max(per_message, size * per_byte)
        return max(0.0, self._until - now - BURST_S)


class Seats:
    """How many sessions each caller holds now. For one thread."""

    def __init__(self, per_caller: int) -> None:
        self._per_caller = per_caller
        self._held: dict[str, int] = {}

    def take(self, caller: str) -> None:
        """One more for the caller; it is given back by ``free``.

        Raises:
            Refusal: the caller holds as many as it may.
        """
        held = self._held.get(caller, 0)
        if held >= self._per_caller:
            message = f"{self._per_caller} sessions at a time are allowed for one token: end one first"
            raise Refusal("too_many", message, 429, 4429, retry_after_s=5)
        self._held[caller] = held + 1

    def free(self, caller: str) -> None:
        """A session of the caller has ended."""
        held = self._held[caller] - 1
        if held:
            self._held[caller] = held
        else:
            del self._held[caller]


class BodyLimit:
    """ASGI middleware: a body that is too long is answered with 413, one that trickles in with 408.

    Both also where its length was not announced: then the application's read fails, and what it would answer to that
    is replaced.
    """

    def __init__(self, app: ASGIApp, limits: Limits, now: Now = time.monotonic) -> None:
        self._app = app
        self._limits = limits
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = self._limits
        most = limits.upload_bytes if scope["path"].startswith(UPLOADS) else limits.body_bytes
        announced = _announced(scope)
        if announced is not None and announced > most:
            await refuse(scope, receive, send, _too_large(most))
            return
        body = _Body(receive, send, most, limits, self._now)
        try:
            await self._app(scope, body.receive, body.send)
        except Refusal:
            if body.refusal is None:
                raise
        if body.refusal is not None and not body.answered:
            await refuse(scope, receive, send, body.refusal)


def _announced(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _too_large(most: int) -> Refusal:
    return Refusal("too_large", f"the body is larger than the {most} bytes allowed here", 413, 4413)


class _Body:
    """One request's body on its way to the application, and the application's answer on its way back."""

    def __init__(self, receive: Receive, send: Send, most: int, limits: Limits, now: Now) -> None:
        self.refusal: Refusal | None = None
        self.answered = False  # something has gone out
        self._receive = receive
        self._send = send
        self._most = most
        self._limits = limits
        self._now = now
        self._size = 0
        self._waited_s = 0.0  # for the client: the time that the application takes is not the client's
        self._more = True

    async def receive(self) -> Message:
        if not self._more:
            return await self._receive()
        message = await self._in_time()
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._size > self._most:
            self._refuse(_too_large(self._most))
        return message

    async def _in_time(self) -> Message:
        began = self._now()
        allowed = self._limits.body_start_s + self._size / self._limits.body_rate - self._waited_s
        try:
            async with asyncio.timeout(allowed):
                return await self._receive()
        except TimeoutError:
            self._refuse(Refusal("too_slow", "the body came too slowly", 408, 4408))
        finally:
            self._waited_s += self._now() - began

    def _refuse(self, refusal: Refusal) -> NoReturn:
        self.refusal = refusal
        self._more = False
        raise refusal

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.answered:
            return  # what the application makes of the broken body: the refusal is the answer
        self.answered = True
        await self._send(message)


class SocketLimit:
    """ASGI middleware: a WebSocket's messages keep to their size and pace, and it ends when idle or too long."""

    def __init__(self, app: ASGIApp, limits: Limits, now: Now = time.monotonic) -> None:
        self._app = app
        self._limits = limits
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        socket = _Socket(scope, receive, send, self._limits, self._now)
        await self._app(scope, socket.receive, socket.send)


class _Socket:
    """One WebSocket between its client and the application, which sees a refusal as the client's leaving."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits, now: Now) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limits = limits
        self._now = now
        self._pace = Pace(limits, now)
        self._ends = now() + limits.session_s
        self._open = False
        self._refusal: Refusal | None = None

    async def receive(self) -> Message:
        left = self._ends - self._now()
        try:
            if left <= 0:
                raise TimeoutError
            async with asyncio.timeout(min(left, self._limits.idle_s)):
                message = await self._receive()
        except TimeoutError:
            return await self._close(self._overdue())
        if message["type"] != "websocket.receive":
            return message
        size = _size(message)
        if size > self._limits.message_bytes:
            text = f"a message has {size} bytes; {self._limits.message_bytes} are allowed"
            return await self._close(Refusal("too_large", text, 413, 4413))
        delay = self._pace.delay(size)
        if delay > 0:
            await asyncio.sleep(delay)
        return message

    def _overdue(self) -> Refusal:
        limits = self._limits
        if self._now() >= self._ends:
            return Refusal("too_long", f"a session lasts {limits.session_s:g} s at most: start another", 408, 4408)
        return Refusal("idle", f"nothing came for {limits.idle_s:g} s; a paused client sends pings", 408, 4408)

    async def _close(self, refusal: Refusal) -> Message:
        self._refusal = refusal
        if self._open:
            await close(self._scope, self._send, refusal)
        return {"type": "websocket.disconnect", "code": refusal.close, "reason": refusal.code}

    async def send(self, message: Message) -> None:
        if self._refusal is not None:
            if message["type"] == "websocket.send":
                raise OSError(f"closed: {self._refusal.code}")  # as servers tell an application of a client that left
            return
        if message["type"] in ("websocket.accept", "websocket.close"):
            self._open = message["type"] == "websocket.accept"
        await self._send(message)


def _size(message: Message) -> int:
    """In bytes, as it came over the wire."""
    data = message.get("bytes")
    return len(data) if data is not None else len((message.get("text") or "").encode())
