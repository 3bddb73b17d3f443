"""What every answer carries for the browser's sake, and what a client learns of a fault of ours: its reference."""

from __future__ import annotations

import logging
import re
import secrets

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from mmstream.server.guard import is_loopback
from mmstream.server.refusal import Refusal, close, refuse

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

HEADERS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(self), microphone=(self), screen-wake-lock=(self), fullscreen=(self), geolocation=(), payment=(), "
        b"usb=(), serial=(), midi=(), display-capture=()",
    ),
)
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "worker-src 'self'; connect-src 'self'{sockets}; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
STRICT_TRANSPORT: Header = (b"strict-transport-security", b"max-age=31536000")
NOT_KEPT: Header = (b"cache-control", b"no-store")  # of what may hold somebody's words; files of the page say otherwise
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class SecurityHeaders:
    """ASGI middleware: the headers of an answer that keep a browser from doing more with it than it should."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message = {**message, "headers": _secured(scope, list(message.get("headers", ())))}
            await send(message)

        await self._app(scope, receive, with_headers)


class Faults:
    """ASGI middleware: a fault of ours is told to the log whole, and to the client as a reference into the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        said: set[str] = set()

        async def watched(message: Message) -> None:
            said.add(message["type"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Refusal as refusal:
            await _tell(scope, receive, send, said, refusal)
        except Exception as fault:  # noqa: BLE001 - the outermost place: who would tell of it if not this?
            if not _has_left(fault):
                await _tell(scope, receive, send, said, _fault(scope))


def _has_left(fault: Exception) -> bool:
    """Whether it only says that the client is gone; servers tell that by an OSError without a number."""
    if isinstance(fault, OSError):
        return fault.errno is None
    return isinstance(fault, WebSocketDisconnect | ClientDisconnect)


def _fault(scope: Scope) -> Refusal:
    """Log what is being handled, and what the client is to know of it."""
    reference = secrets.token_hex(6)
    log.exception("fault %s in %s", reference, scope["path"], extra={"reference": reference})
    message = f"the server made a mistake; its log tells of it under {reference}"
    return Refusal("internal", message, 500, 1011, reference=reference)


async def _tell(scope: Scope, receive: Receive, send: Send, said: set[str], refusal: Refusal) -> None:
    if not said:
        await refuse(scope, receive, send, refusal, connected=True)
    elif "websocket.accept" in said and "websocket.close" not in said:
        await close(scope, send, refusal)
    elif "websocket.close" not in said:
        raise ConnectionAbortedError(f"the answer broke off: {refusal.message}")  # the server cuts the connection


def _secured(scope: Scope, headers: list[Header]) -> list[Header]:
    given = {name.lower() for name, _ in headers}
    wanted = [*HEADERS, (b"content-security-policy", _policy(scope)), NOT_KEPT]
    if scope["scheme"] in ("https", "wss") and not is_loopback(_host(scope).partition(":")[0]):
        wanted.append(STRICT_TRANSPORT)
    kept = [(name, value) for name, value in headers if name.lower() != b"server"]
    return kept + [(name, value) for name, value in wanted if name not in given]


def _policy(scope: Scope) -> bytes:
    """Browsers that do not take WebSockets of the same place for 'self' want them named."""
    host = _host(scope)
    scheme = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    return POLICY.format(sockets=f" {scheme}://{host}" if host else "").encode()


def _host(scope: Scope) -> str:
    """As the client named us; empty where that could be more than a host."""
    for name, value in scope["headers"]:
        if name == b"host" and _HOST.fullmatch(value):
            return str(value.decode("ascii"))
    return ""
