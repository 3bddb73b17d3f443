"""Transcription of files for clients of OpenAI: ``/v1/audio/...``, ``/v1/models``. docs/apis.md says what differs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from mmstream.server.formats import Task
from mmstream.server.models import Model
from mmstream.server.openai.answers import CLIENT_GONE, Hearing, chosen, streamed, whole
from mmstream.server.openai.asked import Asked, InvalidField, read
from mmstream.server.openai.described import FAULTS, TRANSCRIPTION, TRANSLATION
from mmstream.server.refusal import Refusal
from mmstream.server.service import Service
from mmstream.server.settings import Settings
from mmstream.server.uploads import Form, QuotaFull, UploadRefused, Uploads

RETRY_AFTER_S = 5


def router(service: Service, settings: Settings) -> APIRouter:
    """The routes. Uploads lie in a folder of their own as long as the application lives."""
    uploads = Uploads(file_bytes=settings.limits.upload_bytes)
    began = int(time.time())

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        with uploads:
            yield

    routes = APIRouter(prefix="/v1", tags=["transcription of files"], route_class=_Route, lifespan=life)

    async def answer(request: Request, task: Task) -> Response:
        async with AsyncExitStack() as release:
            form = await release.enter_async_context(_received(request, uploads))
            asked = read([(name, value) for name, values in form.fields.items() for value in values])
            if task == "translate" and asked.translate:
                raise InvalidField("translate", "translate belongs to /v1/audio/transcriptions; here all is English")
            chosen(service, asked, task)
            if not form.file_bytes:
                raise InvalidField("file", "file is empty")
            hearing = Hearing(service, form.file, asked, task)
            if asked.stream:
                return await streamed(hearing, request.receive, release)
            return await whole(hearing, request.receive)

    @routes.post("/audio/transcriptions", openapi_extra=TRANSCRIPTION, responses=FAULTS, response_class=Response)
    async def transcriptions(request: Request) -> Response:
        """The words of a file of sound or video, in the language that is spoken."""
        return await answer(request, "transcribe")

    @routes.post("/audio/translations", openapi_extra=TRANSLATION, responses=FAULTS, response_class=Response)
    async def translations(request: Request) -> Response:
        """The words of a file of sound or video, in English."""
        return await answer(request, "translate")

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        """The models that are served, the default one first."""
        return {"object": "list", "data": [_card(model, began) for model in service.models.values()]}

    @routes.get("/models/{model}", responses={404: FAULTS[404]})
    async def model(model: str) -> dict[str, Any]:
        """One model: by its name, or what stands behind ``auto`` and OpenAI's names."""
        return _card(chosen(service, Asked(model=model), "transcribe"), began)

    return routes


class _Route(APIRoute):
    """Answers refusals in the shape that OpenAI's clients read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as refusal:
                headers = {name.decode(): value.decode() for name, value in refusal.headers()}
                return Response(refusal.body(), refusal.status, headers)
            except ClientDisconnect:
                return Response(status_code=CLIENT_GONE)

        return answer


@contextlib.asynccontextmanager
async def _received(request: Request, uploads: Uploads) -> AsyncIterator[Form]:
    """The form of a request, its file on disk.

    Raises:
        Refusal: it is no form with a file, or there is no room for it.
    """
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdecimal() else None
    try:
        async with uploads.receive(request.headers.get("content-type", ""), request.stream(), announced) as form:
            yield form
    except QuotaFull as full:
        raise Refusal("full", str(full), 503, 4429, RETRY_AFTER_S) from full
    except UploadRefused as no:
        code = "too_large" if no.status == 413 else "invalid_form"
        raise Refusal(code, str(no), no.status, 4400, param="file") from no


def _card(model: Model, created: int) -> dict[str, Any]:
    """OpenAI's keys, and ours besides: languages, those of translations, and the media that it recognises from."""
    return {
        "id": model.name,
        "object": "model",
        "created": created,
        "owned_by": "mmstream",
        "languages": model.languages,
        "translations": list(model.into),
        "media": list(model.recogniser.media),
    }
