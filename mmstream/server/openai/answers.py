"""A file heard, as the answer that was asked for: whole, or as server-sent events while it is heard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mmstream.core import MmstreamError, Packet
from mmstream.server.formats import CONTENT_TYPES, Task, Transcript, simple, subtitles, usage, verbose
from mmstream.server.models import Model, UnknownModel
from mmstream.server.openai.asked import Asked, served_name
from mmstream.server.refusal import Refusal
from mmstream.server.service import BadMedia, Service

log = logging.getLogger(__name__)

Result = TypeVar("Result")
CLIENT_GONE = 499  # nobody reads it; the log does
UNKNOWN = "und"  # BCP-47 for a language that nobody knows

INTERNAL = Refusal("internal", "the server made a mistake: the file could not be heard", 500, 1011)


class Hearing:
    """One file on its way through the service."""

    def __init__(self, service: Service, path: Path, asked: Asked, task: Task) -> None:
        """Raises Refusal: no such model, or it does not know a language, or does not translate."""
        self.asked, self.task = asked, task
        self.transcript = Transcript()
        self.duration_s = 0.0  # of the media; known once all of it is heard
        self._service, self._path = service, path
        self._name = served_name(asked.model, list(service.models))
        self.model = chosen(service, asked, task)

    async def packets(self) -> AsyncGenerator[Packet[Any]]:
        """Captions and gaps.

        Raises:
            Refusal: it is no media, or there is no room.
            MmstreamError: it failed.
        """
        asked = self.asked
        heard = self._service.transcribe(
            self._path,
            model=self._name,
            language=asked.language,
            task=self.task,
            translate=asked.translate,
            on_length=self._note_length,
        )
        async with contextlib.aclosing(heard):
            try:
                async for packet in heard:
                    yield packet
            except BadMedia as bad:
                message = f"the file cannot be heard: {bad.message}"
                raise Refusal("invalid_file", message, 400, bad.close, param="file") from bad

    def _note_length(self, seconds: float) -> None:
        self.duration_s = seconds

    async def body(self) -> bytes:
        """The whole answer. Raises as ``packets``."""
        async with contextlib.aclosing(self.packets()) as packets:
            async for packet in packets:
                self.transcript.add(packet)
        for language in self.model.targets:
            self.transcript.translated(language)  # even where nothing was said
        self.transcript.end()
        return (await self._written()).encode()

    async def _written(self) -> str:
        shape = self.asked.format
        only = next(iter(self.transcript.translations.values()), self.transcript)  # where one language is asked for
        if shape == "text":
            return only.text + "\n"
        if shape == "srt" or shape == "vtt":
            return await asyncio.to_thread(subtitles, only, shape)
        if shape == "json":
            return _json(simple(self.transcript, self.duration_s))
        language = "en" if self.task == "translate" else self.model.spoken or UNKNOWN
        return _json(verbose(self.transcript, self.duration_s, language, self.task, self.asked.granularities))

    async def events(self) -> AsyncGenerator[bytes]:
        """The answer as it comes: deltas that add up to the text, then the text. Raises as ``packets``."""
        async with contextlib.aclosing(self.packets()) as packets:
            async for packet in packets:
                added = self.transcript.add(packet)
                if added:
                    yield _event(_delta(added))
        added = self.transcript.end()
        if added:
            yield _event(_delta(added))
        text = self.transcript.text
        yield _event({"type": "transcript.text.done", "text": text, "usage": usage(self.duration_s)})


def chosen(service: Service, asked: Asked, task: Task) -> Model:
    """The model for what is asked.

    Raises:
        Refusal: in OpenAI's words where there is none of that name.
    """
    served = list(service.models)
    try:
        return service.choose(served_name(asked.model, served), asked.language, task, asked.translate)
    except UnknownModel as unknown:
        raise model_not_found(asked.model, served) from unknown


def model_not_found(name: str, served: list[str]) -> Refusal:
    message = f"the model {name[:100]!r} does not exist; this server has auto, {', '.join(served)}"
    return Refusal("model_not_found", message, 404, 4404, param="model")


async def whole(hearing: Hearing, receive: Receive) -> Response:
    """The answer in one piece; the hearing is given up where the client leaves.

    Raises:
        Refusal: it is no media, or there is no room.
        MmstreamError: it failed.
    """
    body = await _unless_gone(hearing.body(), receive)
    if body is None:
        return Response(status_code=CLIENT_GONE)
    return Response(body, headers={"content-type": CONTENT_TYPES[hearing.asked.format]})


class EventStream(Response):
    """Server-sent events, from the first one on: ``first`` is there already, so that a fault still has a status."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], release: AsyncExitStack) -> None:
        """``release``: what is given back once all is sent, or the client has left."""
        super().__init__(headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._first, self._rest, self._release = first, rest, release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._release:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await _unless_gone(self._send(send), receive)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        try:
            async for event in self._rest:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        except Refusal as refusal:
            await send({"type": "http.response.body", "body": _wire(refusal.body()), "more_body": True})
        except MmstreamError as error:
            log.error("a file failed while its events were sent: %s", error)
            await send({"type": "http.response.body", "body": _wire(INTERNAL.body()), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def streamed(hearing: Hearing, receive: Receive, release: AsyncExitStack) -> Response:
    """The answer as events. It takes ``release`` over where it returns.

    Raises:
        Refusal: it is no media, or there is no room.
        MmstreamError: it failed before the first event.
    """
    events = await release.enter_async_context(contextlib.aclosing(hearing.events()))
    first = await _unless_gone(_next(events), receive)
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return EventStream(first, events, release.pop_all())


async def _next(events: AsyncGenerator[bytes]) -> bytes:
    return await anext(events)


async def _unless_gone(work: Coroutine[Any, Any, Result], receive: Receive) -> Result | None:
    """What ``work`` gives; None where the client left first, and then it is cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _delta(text: str) -> dict[str, Any]:
    return {"type": "transcript.text.delta", "delta": text}


def _event(event: dict[str, Any]) -> bytes:
    return _wire(_json(event).encode())


def _wire(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
