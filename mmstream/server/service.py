"""The graphs that a server runs and the sessions that are open on them, seen from asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmstream.core import Packet
from mmstream.executors import ExecutorName
from mmstream.executors.ledger import Result
from mmstream.observe.metrics import Metrics
from mmstream.server.decoding import warm_up
from mmstream.server.lines import Container, FileLine, Media, Pcm
from mmstream.server.logs import name_session
from mmstream.server.mailbox import Mailbox
from mmstream.server.models import AUTO, Kind, Model, Task, UnknownLanguage, UnknownModel, choose, graph_for, offered
from mmstream.server.refusal import Refusal
from mmstream.server.session import BadMedia, Full, Session
from mmstream.server.stage import Stage
from mmstream.server.translations import NO_OFFER, Offer, UnknownTarget
from mmstream.sessions import SessionRefused, SessionRow
from mmstream.translation.wishes import named

__all__ = [
    "BadMedia",
    "Container",
    "Draining",
    "Full",
    "Model",
    "Pcm",
    "Service",
    "Session",
    "UnknownLanguage",
    "UnknownModel",
    "UnknownTarget",
]

log = logging.getLogger(__name__)

THREADS = 8  # for what may wait: opening sessions, loading a model that nobody has asked for yet
PCM = Pcm()
STAGES = 12  # graphs at a time: each language of a model that knows many is one


class Draining(Refusal):
    """The server is about to end."""

    def __init__(self) -> None:
        super().__init__("shutting_down", "this server is shutting down: try again in a moment", 503, 1012, 5)


class Service:
    """Every model that is served, and every session. One per process; its coroutines belong to one event loop."""

    def __init__(
        self,
        models: Sequence[str | Model] = (AUTO,),
        pipeline: Path | None = None,
        *,
        executor: ExecutorName = "local",
        workers: int = 1,
        sessions: int = 64,
        sets: Sequence[str] = (),
        allow: Sequence[str] = (),
        offer: Offer = NO_OFFER,
    ) -> None:
        """``models``: by name, or as they are, the default first. ``sessions``: how many may be open, live ones and
        files together. ``offer``: of translations.

        Raises:
            ModelError: a model is not on this machine.
            TranslationError: nothing that is served can be translated into what is offered.
        """
        self.models: Mapping[str, Model] = offered(models, offer)
        offer.check([one.spoken for one in self.models.values()])
        self.metrics = Metrics()
        self.most = sessions
        self.ready = False
        self.draining = False
        self._made_of = (pipeline, tuple(sets), tuple(allow), workers)
        self._executor: ExecutorName = executor
        self._stages: dict[tuple[Kind, Any], Stage] = {}
        self._building = threading.Lock()  # held while a graph is loaded
        self._pool = ThreadPoolExecutor(THREADS, "mmstream-service")
        self._sessions: dict[str, Session] = {}
        self._files = 0  # that are being transcribed
        self._ended = asyncio.Event()  # a session has

    @property
    def default(self) -> Model:
        return next(iter(self.models.values()))

    def start(self) -> None:
        """Load the default model's live graph. Waits; call it in a thread, or before there is a loop.

        Raises:
            MmstreamError: the first fault.
        """
        if not self.ready:
            warm_up()
            self._stage(self.default, "live")
            self.ready = True

    def close(self) -> None:
        """Abort what is open and release everything. Waits; call it in a thread, or after the loop."""
        self.ready = False
        with self._building:
            for stage in reversed(self._stages.values()):
                stage.close()
            self._stages.clear()
        self._pool.shutdown()

    def choose(
        self, model: str, language: str | None, task: Task = "transcribe", translate: Sequence[str] = ()
    ) -> Model:
        """The model for what a client asks for; see ``models.choose``.

        Raises:
            UnknownModel: there is none of that name.
            UnknownLanguage: it does not know the language, or cannot translate.
            UnknownTarget: what it hears is not translated into one of ``translate``.
        """
        return choose(self.models, model, language, task, translate)

    async def open_live(
        self,
        *,
        model: str = AUTO,
        language: str | None = None,
        translate: Sequence[str] = (),
        media: Media = PCM,
        name: str | None = None,
    ) -> Session:
        """A live session. ``name``: for people, in logs; it gets a number of its own.

        Raises:
            Refusal: no such model or language, no room, or the server is about to end.
        """
        chosen = self.choose(model, language, translate=translate)
        self._admit()
        title = _title(name or "live", chosen)
        name_session(title)
        stage = await self._staged(chosen, "live")
        self._admit()  # others may have come while it was loaded
        session = Session(title, chosen, media, stage, self._pool, self.metrics, self._session_ended)
        self._sessions[title] = session
        return session

    async def transcribe(
        self,
        path: Path,
        *,
        model: str = AUTO,
        language: str | None = None,
        task: Task = "transcribe",
        translate: Sequence[str] = (),
        on_length: Callable[[float], None] = lambda _: None,
    ) -> AsyncGenerator[Packet[Any]]:
        """The captions, translations and gaps of a file, at full speed. Closing the iterator gives it up.

        ``on_length`` is told how long the media was, in seconds, once all of it was heard.

        Raises:
            Refusal: no such model or language, no room, the server is about to end, or it is no media.
            MmstreamError: it failed.
        """
        chosen = self.choose(model, language, task, translate)
        self._admit()
        self._files += 1
        try:
            stage = await self._staged(chosen, "file")
            async with contextlib.aclosing(self._heard(_title("file", chosen), stage, path, on_length)) as heard:
                async for packet in heard:
                    yield packet
        finally:
            self._files -= 1
            self._ended.set()

    async def _heard(
        self, name: str, stage: Stage, path: Path, on_length: Callable[[float], None]
    ) -> AsyncGenerator[Packet[Any]]:
        loop = asyncio.get_running_loop()
        name_session(name)
        line, mailbox, over = FileLine(path, stage.streams), Mailbox(), asyncio.Event()

        def ended(result: Result) -> None:
            mailbox.end(result.error if line.fault is None else BadMedia(line.fault))
            loop.call_soon_threadsafe(over.set)

        opening = loop.run_in_executor(self._pool, stage.open, name, line, mailbox, ended)
        try:
            await asyncio.shield(opening)  # it cannot be called off: who leaves meanwhile has to abort it
            while (packet := await mailbox.get()) is not None:
                yield packet
            on_length(line.reached_s)
        except SessionRefused as error:
            raise Full(str(error)) from error
        finally:
            if not mailbox.ended:
                await asyncio.wait({opening})
                if opening.exception() is None:
                    await loop.run_in_executor(self._pool, stage.abort, name)
                    await over.wait()

    def table(self) -> tuple[SessionRow, ...]:
        """The sessions that the executors know."""
        return tuple(row for stage in tuple(self._stages.values()) for row in stage.rows())

    @property
    def open_sessions(self) -> int:
        """Live ones, begun or not, and files."""
        return len(self._sessions) + self._files

    async def drain(self, timeout_s: float) -> None:
        """Let nobody in any more, end the media of all live sessions, and wait for their last words."""
        self.draining = True
        for session in tuple(self._sessions.values()):
            await session.finish()
        try:
            async with asyncio.timeout(timeout_s):
                while self.open_sessions:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            log.warning("sessions given up: %d", self.open_sessions)
            for session in tuple(self._sessions.values()):
                session.abort()

    def _admit(self) -> None:
        if self.draining:
            raise Draining
        if self.open_sessions >= self.most:
            raise Full(f"all {self.most} sessions of this server are taken: try again in a moment")

    def _session_ended(self, session: Session) -> None:
        self._sessions.pop(session.name, None)
        self._ended.set()

    async def _staged(self, model: Model, kind: Kind) -> Stage:
        found = self._stages.get((kind, model.key))
        if found is not None:
            return found
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._stage, model, kind)
        except SessionRefused as error:
            raise Full(str(error)) from error

    def _stage(self, model: Model, kind: Kind) -> Stage:
        """The started graph for a model; loads it where nobody has asked for it yet."""
        with self._building:
            found = self._stages.get((kind, model.key))
            if found is None:
                if len(self._stages) >= STAGES:
                    raise SessionRefused(f"{STAGES} models and languages are loaded, which is as many as may be")
                graph, source = graph_for(model, kind, *self._made_of)
                found = Stage(self._executor, graph, source, self.metrics)
                found.start()
                self._stages[kind, model.key] = found
            return found


def _title(name: str, model: Model) -> str:
    """What a session is called, here and in workers, which read from it what to translate into."""
    return named(f"{name}-{secrets.token_hex(4)}", model.targets)
