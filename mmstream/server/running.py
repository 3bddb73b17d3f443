"""uvicorn around the application: it ends once the sessions have had their last words."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from types import FrameType

import uvicorn

from mmstream.server.app import make_app
from mmstream.server.connection import uvicorn_options
from mmstream.server.listening import url
from mmstream.server.service import Service
from mmstream.server.settings import Settings

log = logging.getLogger(__name__)

DRAINING = "finishing the last words; Ctrl-C again to give up"
LEAVE_S = 5  # for answers under way, once the sessions have ended


class Server(uvicorn.Server):
    """Drains at the first SIGINT or SIGTERM, where uvicorn alone would cut the sessions off; ends at the second."""

    def __init__(
        self, config: uvicorn.Config, service: Service, settings: Settings, bound: list[socket.socket], *, tls: bool
    ) -> None:
        super().__init__(config)
        self._service, self._settings = service, settings
        self._url = url(bound, settings.host, tls=tls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is None or self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        log.warning(DRAINING)
        self._draining = self._loop.create_task(self._drain())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        log.info("serving on %s", self._url)

    async def _drain(self) -> None:
        await self._service.drain(self._settings.drain_s)
        self.should_exit = True


def run(service: Service, settings: Settings, bound: list[socket.socket], tls: ssl.SSLContext | None) -> None:
    """Serve on the sockets until SIGINT or SIGTERM."""
    app = make_app(service, settings)
    config = uvicorn.Config(app, timeout_graceful_shutdown=LEAVE_S, **uvicorn_options(settings.limits, tls))
    Server(config, service, settings, bound, tls=tls is not None).run(sockets=bound)
