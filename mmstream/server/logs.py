"""Logs of the server: a line of JSON for each event, with the request's and the session's names and without secrets."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import IO, Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmstream.server.guard import CALLER
from mmstream.server.tokens import Tokens

log = logging.getLogger(__name__)

LogForm = Literal["json", "text"]
LONGEST = 8_000  # characters of a message or a trace
LONGEST_PATH = 200
QUIET = ("/health", "/ready", "/metrics")  # asked every few seconds by machines
OURS = ("mmstream", "operators", "uvicorn")
TALKATIVE = ("uvicorn", "python_multipart")  # a line for whatever strangers send, as often as they send it
HIDDEN = "***"
HEAD = ("time", "level", "logger", "message")

_request: contextvars.ContextVar[_Seen | None] = contextvars.ContextVar("request", default=None)

_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_SECRETS = (
    (re.compile(r"(?i)\b(bearer\s+)[^\s'\",;]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\bauthorization\b\W{1,6}(?:bearer|token|basic)?\s*)[^\s'\",;]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(mmstream\.token\.)[\w-]+"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(?i)(\b\w*(?:token|password|secret|api[_-]?key)\w*[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;{}]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)(://[^\s/@:]*:)[^\s/@]+@"), rf"\1{HIDDEN}@"),
)


class Lines(logging.Formatter):
    """One line for each record, in JSON for machines or as text for people; a value cannot begin another line."""

    def __init__(self, form: LogForm, tokens: Tokens) -> None:
        super().__init__()
        self._form = form
        self._tokens = tokens

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.hide(record.getMessage()),
        }
        fields |= {name: value for name, value in _names(record).items() if value is not None}
        for name, value in record.__dict__.items():
            if name not in _KNOWN and name not in fields and not name.startswith("_"):  # Ray adds such
                fields[name] = value if isinstance(value, int | float | None) else self.hide(str(value))
        if record.exc_info:
            fields["trace"] = self.hide(self.formatException(record.exc_info))
        if self._form == "json":
            return json.dumps(fields)
        return self._text(fields, record.levelno)

    def hide(self, text: str) -> str:
        """The text without what only its owner may know: tokens of the file, and what looks like a secret."""
        text = self._tokens.hide(text)
        for pattern, replacement in _SECRETS:
            text = pattern.sub(replacement, text)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text)} characters)"

    def _text(self, fields: dict[str, Any], level: int) -> str:
        trace = fields.pop("trace", None) if level >= logging.WARNING else None
        head = f"{fields['time'][11:23]} {'' if level == logging.INFO else fields['level'] + ': '}{fields['message']}"
        rest = [f"{name}={value}" for name, value in fields.items() if name not in HEAD]
        line = _one_line(f"{head}  {' '.join(rest)}" if rest else head)
        return line if trace is None else line + "".join(f"\n  {_one_line(part)}" for part in trace.splitlines())


def set_up(form: LogForm, tokens: Tokens, stream: IO[str] | None = None, *, verbose: bool = False) -> None:
    """Write what the server and its libraries log to ``stream``, standard error by default."""
    to = logging.StreamHandler(stream or sys.stderr)
    to.setFormatter(Lines(form, tokens))
    root = logging.getLogger()
    root.handlers = [to]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("mmstream", "operators"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


def name_session(name: str) -> None:
    """What is logged for this request from now on, in whichever of its tasks, belongs to the session."""
    seen = _request.get()
    if seen is not None:
        seen.session = name


class RequestLog:
    """ASGI middleware: gives each request and WebSocket an id, and logs one line when it is over.

    Paths are logged without their query, and bodies not at all: both may hold what is nobody's business.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        seen = _Seen(receive, send)
        kept = _request.set(seen)
        began = time.monotonic()
        try:
            await self._app(scope, seen.receive, seen.send)
        finally:
            level = logging.DEBUG if scope["path"] in QUIET else logging.INFO
            path = scope["path"][:LONGEST_PATH]
            method = scope.get("method", "WebSocket")
            extra = {
                "method": method,
                "path": path,
                "status": seen.status,
                "ms": round(1000 * (time.monotonic() - began)),
                "bytes_in": seen.bytes_in,
                "bytes_out": seen.bytes_out,
                "caller": scope.get(CALLER),
            }
            log.log(level, "%s %s %s", method, path, seen.status, extra=extra)
            _request.reset(kept)


class _Seen:
    """What passes between a client and the application, counted."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.id = secrets.token_hex(6)
        self.session: str | None = None  # that it is about
        self.status: int | None = None  # of the answer, or the close code
        self.bytes_in = 0
        self.bytes_out = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        self.bytes_in += _size(message)
        if message["type"] == "websocket.disconnect" and self.status is None:
            self.status = message.get("code")
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        self.bytes_out += _size(message)
        if kind == "websocket.close":
            self.status = message.get("code", 1000)
        elif kind.endswith("response.start"):
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), (b"x-request-id", self.id.encode())]}
        await self._send(message)


def _size(message: Message) -> int:
    """Bytes, or characters of text."""
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")


def _names(record: logging.LogRecord) -> dict[str, str | None]:
    seen = _request.get()
    return {
        "request": getattr(record, "request", None) or (seen.id if seen is not None else None),
        "session": getattr(record, "session", None) or (seen.session if seen is not None else None),
    }


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
