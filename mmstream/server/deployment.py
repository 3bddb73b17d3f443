"""The server as an application of Ray Serve, its sessions in workers of the same cluster.

    serve run mmstream.server.deployment:app token_file=/path/to/tokens models=sphinx

Serve listens where the cluster says, on every address behind its own proxies: so a token is always asked for.

There is one ingress replica unless ``ingress`` says otherwise. It holds hundreds of sessions, as the recognisers are
in other processes. With several, a connection that breaks comes back to any of them, and only one knows its session:
the others say ``unknown_session``, upon which clients begin a new session with the media that they keep, behind the
last word that is final. Nothing is lost by that; what had been said since is recognised again.

A replica that is to go takes no new sessions, and those that it has may end by themselves for LEAVE_S; then clients
come back to another one as just said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ray import serve
from ray.serve import Application

from mmstream.core import MmstreamError
from mmstream.executors import ExecutorName
from mmstream.server.app import make_app
from mmstream.server.guard import origins
from mmstream.server.limits import limits
from mmstream.server.logs import LogForm, set_up
from mmstream.server.service import Service
from mmstream.server.settings import Settings
from mmstream.server.tokens import read_tokens
from mmstream.server.translations import AUTO, offer

NAME = "mmstream"  # of the deployment
LEAVE_S = 60.0
LOOK_S = 1.0  # how often Serve looks whether they have
QUEUE = 2  # requests of each session at a time: its own, and what the page asks for beside it


def _listed(value: Any) -> Any:
    """A command line has texts only."""
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_listed)]


class Options(BaseModel):
    """The arguments of the application: the options of ``mmstream serve`` that are not Serve's own affair."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_file: Path  # on every node that may hold an ingress replica
    models: Texts = ["auto"]
    pipeline: Path | None = None
    executor: ExecutorName = "ray"
    workers: int = Field(1, ge=1)
    sessions: int = Field(256, ge=1)  # of one ingress replica
    origins: Texts = []
    limits: Texts = []
    sets: Texts = []
    allow: Texts = []
    translate: str | None = None  # languages; none: nothing is translated
    translator: str = AUTO
    log: LogForm = "json"
    ingress: int = Field(1, ge=1)  # replicas; see above for what more than one means


class Ingress:
    """One ingress replica: the application of ``mmstream serve``. Its graphs are loaded before it takes requests."""

    def __init__(self, options: Options) -> None:
        """Raises MmstreamError, upon which Serve tries again."""
        tokens = read_tokens(options.token_file)
        set_up(options.log, tokens)
        self._settings = Settings(
            tokens=tokens,
            origins=origins(options.origins),
            limits=limits(options.limits),
            sessions=options.sessions,
        )
        self._service = Service(
            options.models,
            options.pipeline,
            executor=options.executor,
            workers=options.workers,
            sessions=options.sessions,
            sets=options.sets,
            allow=options.allow,
            offer=offer(options.translate, options.translator, options.pipeline, options.sets, options.allow),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Its lifespan starts the service, and at the end drains and closes it."""
        return make_app(self._service, self._settings)


def app(arguments: dict[str, Any]) -> Application:
    """The application with its arguments, for ``serve run``, ``serve.run`` and a RayService's ``import_path``.

    Raises:
        MmstreamError: there is no such argument, or no such value.
    """
    try:
        options = Options.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise MmstreamError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    deployed = serve.deployment(
        name=NAME,
        num_replicas=options.ingress,
        max_ongoing_requests=QUEUE * options.sessions,
        graceful_shutdown_timeout_s=LEAVE_S,
        graceful_shutdown_wait_loop_s=LOOK_S,
    )
    application: Application = deployed(serve.ingress()(Ingress)).bind(options)
    return application
