"""What lies around the application: every request passes these layers, outermost first."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from mmstream.server.guard import Guard
from mmstream.server.headers import Faults, SecurityHeaders
from mmstream.server.limits import BodyLimit, SocketLimit
from mmstream.server.logs import RequestLog
from mmstream.server.settings import Settings


def layers(settings: Settings, page: Path | None = None) -> list[Middleware]:
    """For ``FastAPI(middleware=...)``. ``page``: the folder of files that everybody may have."""
    foreign = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "Content-Type"),
        expose_headers=("Retry-After", "X-Request-Id"),
    )
    return [
        Middleware(RequestLog),
        Middleware(SecurityHeaders),
        Middleware(Faults),
        *([foreign] if settings.origins else []),
        Middleware(Guard, settings, _paths(page)),
        Middleware(BodyLimit, settings.limits),
        Middleware(SocketLimit, settings.limits),
    ]


def _paths(page: Path | None) -> frozenset[str]:
    if page is None:
        return frozenset()
    return frozenset({"/", *(f"/{file.relative_to(page).as_posix()}" for file in page.rglob("*") if file.is_file())})
