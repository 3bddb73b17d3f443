"""The application: every route of the server, what stands before them, and its life from start to end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.staticfiles import StaticFiles

from mmstream import __version__
from mmstream.server import deepgram, live, metrics, openai
from mmstream.server.guard import is_trusted
from mmstream.server.layers import layers
from mmstream.server.service import Service
from mmstream.server.settings import Settings

PAGE = Path(__file__).parent / "page"


def make_app(service: Service, settings: Settings) -> FastAPI:
    """The application over ``service``, which it starts where nobody has, and closes."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            if not service.draining:
                await service.drain(settings.drain_s)
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="mmstream",
        version=__version__,
        lifespan=life,
        docs_url=None,  # FastAPI's page comes from elsewhere; ours is reference.html
        redoc_url=None,
        middleware=layers(settings, PAGE),
    )
    app.include_router(_state(service))
    app.include_router(live.router(service, settings))
    app.include_router(openai.router(service, settings))
    app.include_router(deepgram.router(service, settings))
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


def _state(service: Service) -> APIRouter:
    """Whether the server lives, whether it takes sessions, and what it counts."""
    routes = APIRouter(tags=["state"])

    @routes.get("/health")
    async def health() -> dict[str, str]:
        """It lives."""
        return {"status": "ok", "version": __version__}

    @routes.get("/ready")
    async def ready(request: Request, response: Response) -> dict[str, object]:
        """Whether it takes sessions: 200, or 503 while it starts and once it is ending."""
        takes = service.ready and not service.draining
        response.status_code = 200 if takes else 503
        if not is_trusted(request.scope):
            return {"ready": takes}
        return {
            "ready": takes,
            "models": list(service.models),
            "sessions": service.open_sessions,
            "sessions_at_most": service.most,
        }

    @routes.get("/metrics", response_class=Response)
    async def counted() -> Response:
        """For Prometheus."""
        return Response(await asyncio.to_thread(metrics.text_of, service), media_type="text/plain; version=0.0.4")

    return routes
