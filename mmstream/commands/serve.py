"""``mmstream serve``: live sessions and files over the network, and a page for browsers."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from mmstream.commands.options import Allow, ExecutorOption, Sets
from mmstream.core import MmstreamError

log = logging.getLogger(__name__)

PING_S = 20.0  # between two pings to a WebSocket, and for the answer


def serve(
    file: Annotated[Path | None, typer.Argument(help="Pipeline file; by default the one of mmstream.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model to serve, the default first; several times.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions open at a time.")] = 64,
    executor: ExecutorOption = "local",
    workers: Annotated[int, typer.Option(min=1, help="Replicas of every worker.")] = 1,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Serve live captions and transcription: a page, a WebSocket, and the APIs of OpenAI and Deepgram. Ctrl-C ends.

    Examples:

        mmstream serve

        mmstream serve pipeline.yaml --port 9000 --model avsr --model sphinx

        mmstream serve --executor ray --workers 2
    """
    from mmstream.server.app import make_app
    from mmstream.server.service import Service
    from mmstream.server.settings import Settings

    if (tls_cert is None) != (tls_key is None):
        raise MmstreamError("--tls-cert and --tls-key go together")
    settings = Settings(host=host, port=port, sessions=sessions)
    service = Service(
        model or ("auto",),
        file,
        executor=executor,
        workers=workers,
        sessions=sessions,
        sets=sets or (),
        allow=allow or (),
    )
    listener = _listen(host, port)
    with listener:
        try:
            service.start()
            log.info("model: %s", ", ".join(one.recogniser.describe() for one in service.models.values()))
            run_app(make_app(service, settings), service, settings, listener, tls_cert, tls_key)
        finally:
            service.close()


def run_app(
    app: Any, service: Any, settings: Any, listener: socket.socket, tls_cert: Path | None, tls_key: Path | None
) -> None:
    """Serve until SIGINT or SIGTERM, which drains; the second one ends at once."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # costs a session more memory than all else
        ws_max_size=settings.limits.message_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )

    class Server(uvicorn.Server):
        """Ends once the sessions have had their last words: uvicorn alone would cut them off."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if service.draining:
                self.should_exit = self.force_exit = True
                return
            service.draining = True
            log.warning("finishing the last words; Ctrl-C again to give up")
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(self._drain())))

        async def _drain(self) -> None:
            await service.drain(settings.drain_s)
            self.should_exit = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            scheme, port = "https" if tls_cert else "http", listener.getsockname()[1]
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            log.info("serving on %s://%s:%d", scheme, host, port)

    tasks: list[asyncio.Task[None]] = []
    server = Server(config)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(server.serve(sockets=[listener]))
    finally:
        loop.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        MmstreamError: it cannot.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as fault:
        raise MmstreamError(f"--host {host} --port {port}: cannot listen there: {fault.strerror or fault}") from fault
    return listener
