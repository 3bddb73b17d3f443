"""A tiny application behind the server's layers: called in process, or served by uvicorn on a port of the system."""

import asyncio
import concurrent.futures
import contextlib
import io
import json
import logging
import threading
from dataclasses import dataclass, field

import httpx
import uvicorn

from mmstream.server import logs
from mmstream.server.connection import uvicorn_options
from mmstream.server.guard import caller_of
from mmstream.server.layers import layers
from mmstream.server.listening import listen
from mmstream.server.settings import Settings
from mmstream.server.tokens import Tokens

TOKEN = "0123456789abcdef0123456789abcdef"
OTHER = "another-token-of-forty-characters-0123456"
WAIT_S = 20.0
BIG = 8_000_000  # bytes: more than the buffers of two sockets hold
TOKEN_LINE = f"authorization: Bearer {TOKEN}\r\n".encode()
UPGRADE = (
    b"GET /v1/live HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + TOKEN_LINE + b"\r\n"
)


def guarded(**changes) -> Settings:
    return Settings(**{"tokens": Tokens([TOKEN, OTHER]), **changes})


@dataclass
class Toy:
    """Answers with what it was asked, and keeps the scopes that it saw. Paths name what it does."""

    scopes: list = field(default_factory=list)
    messages: list = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        if scope["path"] == "/fault":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
            raise RuntimeError(f"the inside of the server: {TOKEN}")
        if scope["type"] == "websocket":
            await self._talk(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _live(self, receive, send):
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def _talk(self, scope, receive, send):
        await receive()
        offered = scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None})
        while True:
            message = await receive()
            self.messages.append(message)
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "big":
                await send({"type": "websocket.send", "bytes": bytes(BIG)})
            else:
                await send({"type": "websocket.send", "text": str(len(message.get("bytes") or message["text"]))})

    async def _answer(self, scope, receive, send):
        size = 0
        while scope["path"] != "/unread":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = (
            bytes(BIG) if scope["path"] == "/big" else json.dumps({"size": size, "caller": caller_of(scope)}).encode()
        )
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def layered(toy, settings):
    """The toy behind all layers, as the server builds them."""
    app = toy
    for layer in reversed(layers(settings)):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def client(app, host="localhost", address="127.0.0.1", scheme="http") -> httpx.AsyncClient:
    """Calls the application in process."""
    transport = httpx.ASGITransport(app, client=(address, 1234))
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}")


def call(app, method, path, **named):
    """One request, in process."""
    how = {name: named.pop(name) for name in ("host", "address", "scheme") if name in named}

    async def ask():
        async with client(app, **how) as caller:
            return await caller.request(method, path, **named)

    return asyncio.run(ask())


def bearer(token=TOKEN):
    return {"authorization": f"Bearer {token}"}


@contextlib.contextmanager
def serving(app, settings, tls=None):
    """The application on a port of its own, in a thread; gives host and port."""
    bound = listen("127.0.0.1", 0, guarded=True)
    server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **uvicorn_options(settings.limits, tls)))
    started = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1, "server under test") as thread:
        served = thread.submit(lambda: asyncio.run(_serve(server, bound, started)))
        try:
            assert started.wait(WAIT_S)
            yield bound[0].getsockname()
        finally:
            server.should_exit = True
            served.result(WAIT_S)


async def _serve(server, bound, started):
    class Telling(type(server)):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            started.set()

    server.__class__ = Telling
    await server.serve(sockets=bound)


@contextlib.contextmanager
def logging_lines():
    """What is logged meanwhile, as the server's JSON lines; loggers are afterwards as before."""
    names = (None, *logs.OURS)
    kept = [(name, list(logging.getLogger(name).handlers), logging.getLogger(name).level) for name in names]
    propagate = {name: logging.getLogger(name).propagate for name in logs.OURS}
    stream = io.StringIO()
    logs.set_up("json", Tokens([TOKEN, OTHER]), stream, verbose=True)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        for name, handlers, level in kept:
            logging.getLogger(name).handlers = handlers
            logging.getLogger(name).setLevel(level)
        for name, value in propagate.items():
            logging.getLogger(name).propagate = value
