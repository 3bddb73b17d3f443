"""How a client is told no: one code and one line, as the HTTP answer or the WebSocket's last words.

No text of an exception and no trace goes to a client: what is in a refusal was written for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.types import Message, Receive, Scope, Send

LIVE_SUBPROTOCOL = "mmstream.v1"
ERROR_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        429: "rate_limit_error",
        500: "server_error",
        503: "server_error",
    }
)


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """Why a request or a connection goes no further."""

    code: str  # for programs, such as "unauthorized"
    message: str  # for people, one line
    status: int  # of the HTTP answer
    close: int  # of the WebSocket
    retry_after_s: int | None = None
    reference: str | None = None  # of the log's line about it
    param: str | None = None  # the field of the request that is at fault

    def __str__(self) -> str:
        return self.message

    def body(self) -> bytes:
        """JSON in the shape that clients of the OpenAI API read."""
        kind = ERROR_TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        if self.reference is not None:
            error["reference"] = self.reference
        return json.dumps({"error": error}).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the HTTP answer, without its length."""
        headers = [(b"content-type", b"application/json")]
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        return headers

    def event(self) -> str:
        """The last event of a live session."""
        return json.dumps({"type": "error", "code": self.code, "message": self.message})


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal, *, connected: bool = False) -> None:
    """Answer instead of the application, before it has said anything.

    ``connected``: the application may have taken the WebSocket's request to connect already.

    A browser cannot see the status of a WebSocket that is not let in. So who speaks the live protocol is let in
    for one event and the close code; everybody else gets the HTTP answer.
    """
    if scope["type"] == "http":
        await _answer(send, refusal, "http.response")
        return
    if not connected:
        await receive()  # the request to connect
    if speaks_live(scope):
        await send({"type": "websocket.accept", "subprotocol": LIVE_SUBPROTOCOL})
        await close(scope, send, refusal)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, refusal, "websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": refusal.close, "reason": refusal.code})


async def close(scope: Scope, send: Send, refusal: Refusal) -> None:
    """End an open WebSocket, with the error's event where the client speaks the live protocol."""
    if speaks_live(scope):
        await send({"type": "websocket.send", "text": refusal.event()})
    await send({"type": "websocket.close", "code": refusal.close, "reason": refusal.code})


def speaks_live(scope: Scope) -> bool:
    """Whether the client of this WebSocket asks for the live protocol."""
    return LIVE_SUBPROTOCOL in scope.get("subprotocols", ())


async def _answer(send: Send, refusal: Refusal, kind: str) -> None:
    body = refusal.body()
    headers = [*refusal.headers(), (b"content-length", str(len(body)).encode())]
    start: Message = {"type": f"{kind}.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": f"{kind}.body", "body": body})
