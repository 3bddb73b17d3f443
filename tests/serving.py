"""A real server on a port of the system, in a thread, for tests of its protocols: a stub recogniser, or real models.

with served() as server:                        # the stub: hears numbers (tests/stub.py)
    async with websockets.connect(server.live): ...

with served(translate=["de", "fr"]) as server:  # and translates, in capitals (tests/translations.py)

with served("sphinx", "avsr", sessions=2) as server:
    httpx.get(f"{server.url}/v1/models")
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn

from mmstream import registry
from mmstream.server.app import make_app
from mmstream.server.connection import uvicorn_options
from mmstream.server.listening import listen
from mmstream.server.models import Model
from mmstream.server.service import Service
from mmstream.server.settings import Settings
from mmstream.server.translations import Offer
from tests.stub import PIPELINE, Numbers
from tests.translations import shouted

WAIT_S = 60.0
PATIENT = "max_lag_ms=60000"  # on a busy machine nothing may be given up


class Outside(registry.Model):
    """A model whose operator is none of mmstream's own, and takes no arguments."""

    commit = Numbers.commit  # type: ignore[assignment]
    before = MappingProxyType({})  # type: ignore[assignment]

    def arguments_for(self, *, watched: bool) -> dict[str, Any]:
        return {}


STUB = Model("stub", "en", Outside("stub", "tests.stub:Numbers"))


@dataclass
class Served:
    """A server under test."""

    service: Service
    host: str
    port: int
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def live(self) -> str:
        """The address of the live protocol."""
        return f"ws://{self.host}:{self.port}/v1/live"

    def drop_connections(self) -> None:
        """All of them break, without a word."""

        def drop() -> None:
            for one in list(self.server.server_state.connections):
                one.transport.abort()  # type: ignore[union-attr]

        self.loop.call_soon_threadsafe(drop)

    def until(self, holds: Any, what: str, timeout_s: float = WAIT_S) -> None:
        """Return once ``holds(service)``; what is waited for has no event, or another process makes it."""
        pause, waited_s = threading.Event(), 0.0
        while not holds(self.service):
            assert waited_s < timeout_s, what
            pause.wait(0.02)
            waited_s += 0.02


def live_address(line: str) -> str:
    """The address of the live protocol in the line with which `mmstream serve` says where it is."""
    (url,) = [word for word in line.split() if word.startswith("http")]
    return url.replace("http", "ws", 1) + "/v1/live"


@contextlib.contextmanager
def served(
    *models: str, executor: Any = "local", workers: int = 1, translate: Sequence[str] = (), **settings: Any
) -> Iterator[Served]:
    """A server of ``models``, or of the stub where none is named; ``settings``: of ``Settings``.

    ``translate``: languages that English is shouted into, in this process alone.
    """
    chosen = Settings(**{"port": 0, **settings})
    with contextlib.ExitStack() as stack:
        if translate:
            stack.enter_context(shouted(translate))
        made: dict[str, Any] = {"executor": executor, "workers": workers, "sessions": chosen.sessions}
        made["offer"] = Offer(tuple(translate))
        if models:
            service = Service(models, sets=[PATIENT], **made)
        else:
            file = stack.enter_context(_written(PIPELINE))
            service = Service([STUB], file, allow=["tests.stub"], **made)
        stack.callback(service.close)
        service.start()
        yield stack.enter_context(_running(service, chosen))


@contextlib.contextmanager
def _running(service: Service, settings: Settings) -> Iterator[Served]:
    """The service on a port of its own."""
    bound = listen(settings.host, settings.port, guarded=True)
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    class Telling(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            loops.append(asyncio.get_running_loop())
            started.set()

    config = uvicorn.Config(
        make_app(service, settings), timeout_graceful_shutdown=5, **uvicorn_options(settings.limits, None)
    )
    server = Telling(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": bound}, name="server under test")
    thread.start()
    try:
        assert started.wait(WAIT_S)
        yield Served(service, *bound[0].getsockname()[:2], server, loops[0])
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


@contextlib.contextmanager
def _written(text: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(text)
        yield path
