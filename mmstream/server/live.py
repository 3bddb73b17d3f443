"""WebSocket /v1/live: the live protocol of docs/protocol.md. A session outlives a connection that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from mmstream.server.events import EventLog, as_text, event_of, statistics_event
from mmstream.server.logs import name_session
from mmstream.server.protocol import (
    FINISHED_CLOSE,
    VERSION,
    AlreadyConnected,
    BadMessage,
    Finish,
    Internal,
    Ping,
    Resume,
    Start,
    UnknownSession,
    read_first,
    read_later,
)
from mmstream.server.refusal import LIVE_SUBPROTOCOL, Refusal
from mmstream.server.service import Container, Draining, Pcm, Service
from mmstream.server.session import Session
from mmstream.server.settings import Settings

log = logging.getLogger(__name__)

STATISTICS_S = 1.0
CLOSE_S = 5.0  # for the last event and the close of a client that may not be reading
GOODBYE = 1000  # the client's close code when it wants nothing more


def router(service: Service, settings: Settings) -> APIRouter:
    """The route of the live protocol."""
    channels = Channels(settings.resume_s)
    routes = APIRouter()

    async def live(websocket: WebSocket) -> None:
        offered = websocket.scope.get("subprotocols", ())
        await websocket.accept(LIVE_SUBPROTOCOL if LIVE_SUBPROTOCOL in offered else None)
        try:
            connection = await _entered(websocket, service, channels, settings.first_message_s)
            await connection.run()
        except Refusal as refusal:
            await _refuse(websocket, refusal)
        except WebSocketDisconnect:
            pass

    # Starlette's own: FastAPI keeps three stacks for the dependencies of each connection, and here are none.
    routes.add_websocket_route("/v1/live", live)
    return routes


class Channel:
    """A session, its events, and the connection of its client where there is one."""

    def __init__(self, session: Session, offset_s: float) -> None:
        self.session = session
        self.offset_s = offset_s
        self.log = EventLog(len(session.model.targets))
        self.asked = False  # its client has said that the media has ended
        self.finished = False  # its last event is in the log
        self.connection: Connection | None = None
        self.expiry: asyncio.TimerHandle | None = None


class Channels:
    """The channels of a server by their tokens. One whose client is gone for ``resume_s`` is ended and forgotten."""

    def __init__(self, resume_s: float) -> None:
        self.resume_s = resume_s
        self._channels: dict[str, Channel] = {}

    def add(self, channel: Channel) -> None:
        self._channels[channel.session.token] = channel

    def find(self, asked: Resume) -> Channel:
        """The channel that a client asks for.

        Raises:
            UnknownSession: there is none, or its events are gone.
        """
        channel = self._channels.get(asked.token)
        if channel is None:
            raise UnknownSession(f"no session has this token, or its client was gone for more than {self.resume_s:g} s")
        if channel.log.after(max(0, asked.after)) is None:
            raise UnknownSession(f"the events after {asked.after} are not there to be had again")
        return channel

    def attach(self, channel: Channel, connection: Connection) -> Connection | None:
        """Give a channel another connection; gives the one before it."""
        if channel.expiry is not None:
            channel.expiry.cancel()
            channel.expiry = None
        before, channel.connection = channel.connection, connection
        return before

    def detach(self, channel: Channel, connection: Connection) -> None:
        """The connection is over: its client may come back for a while, unless it has come back, or wants no more."""
        if channel.connection is connection and channel.session.token in self._channels:
            channel.connection = None
            loop = asyncio.get_running_loop()
            channel.expiry = loop.call_later(self.resume_s, self._expire, channel)

    def end(self, channel: Channel) -> None:
        """Nobody will come back."""
        self._channels.pop(channel.session.token, None)
        if not channel.session.over:
            channel.session.abort()

    def _expire(self, channel: Channel) -> None:
        if not channel.session.over:
            log.info("session %s: its client is gone for %g s; it ends", channel.session.name, self.resume_s)
        self.end(channel)


class Connection:
    """One WebSocket of a channel, from its first message to its close."""

    def __init__(self, websocket: WebSocket, channels: Channels, channel: Channel, after: int | None = None) -> None:
        """``after``: number of the last event that the client has, of a session that is resumed."""
        loop = asyncio.get_running_loop()
        self._websocket = websocket
        self._channels, self._channel = channels, channel
        self._session = channel.session
        self._after = after
        self._taken: asyncio.Future[None] = loop.create_future()  # by another connection
        self._gone: asyncio.Future[None] = loop.create_future()  # it touches the session no more
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticking = False

    async def run(self) -> None:
        """Serve the client until it or the session ends."""
        refusal: Refusal | None = None
        name_session(self._session.name)
        try:
            before = self._channels.attach(self._channel, self)
            if before is not None:
                await before.give_way()
            refusal = await self._serve()
        finally:
            self._channels.detach(self._channel, self)
            self._gone.set_result(None)
        if refusal is not None:
            await _refuse(self._websocket, refusal)

    async def give_way(self) -> None:
        """Another connection takes over: return once this one touches the session no more."""
        if not self._taken.done():
            self._taken.set_result(None)
        await asyncio.shield(self._gone)

    async def _serve(self) -> Refusal | None:
        """Read and write until one of them ends; why the client is to be told no, if it is.

        Raises:
            WebSocketDisconnect: the connection broke.
        """
        greeting = as_text(self._started() if self._after is None else self._resumed())
        reader, writer = self._task(self._read()), self._task(self._write(greeting, self._after or 0))
        if self._session.has_begun:
            self._start_ticking()
        try:
            await asyncio.wait({reader, writer, self._taken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._taken.done():
            return AlreadyConnected()
        try:
            if writer.done() and not writer.cancelled():
                await writer
                await _close(self._websocket)  # it may come back all the same: last words get lost on their way
            elif not reader.cancelled():
                await reader
                self._channels.end(self._channel)
        except Draining as refusal:
            return refusal
        except Refusal as refusal:
            self._channels.end(self._channel)
            return refusal
        return None

    def _started(self) -> dict[str, Any]:
        model = self._session.model
        return {
            "type": "started",
            "protocol": VERSION,
            "session": self._session.name,
            "token": self._session.token,
            "model": model.name,
            "language": model.spoken,
            "translate": list(model.targets),
            "targets": list(model.into),
            "resume_s": self._channels.resume_s,
        }

    def _resumed(self) -> dict[str, Any]:
        return {
            "type": "resumed",
            "protocol": VERSION,
            "session": self._session.name,
            "received_bytes": self._session.received_bytes,
        }

    async def _read(self) -> None:
        """Take what the client sends, until it says goodbye.

        Raises:
            BadMessage: it does not keep to the protocol.
            WebSocketDisconnect: the connection broke.
        """
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code", 1006)
                if code == GOODBYE or 4400 <= code < 4500:  # the latter: sent away by what stands before us
                    return
                raise WebSocketDisconnect(code)
            if message.get("bytes") is not None:
                await self._feed(message["bytes"])
                continue
            match read_later(message["text"]):
                case Finish():
                    self._channel.asked = True
                    await self._session.finish()
                case Ping(id=number):
                    await self._send(as_text({"type": "pong", "id": number}))

    async def _feed(self, data: bytes) -> None:
        if self._channel.asked:
            raise BadMessage("media came after finish")
        self._start_ticking()
        await self._session.feed(data)

    async def _write(self, greeting: str, after: int) -> None:
        """Send events, those first that the client has missed, until the session's last one.

        Raises:
            Refusal: the session failed.
            WebSocketDisconnect: the connection broke.
        """
        channel, session = self._channel, self._session
        await self._send(greeting)
        for text in channel.log.after(after) or ():
            await self._send(text)
        if channel.finished:
            return
        try:
            async for packet in session.packets():
                event = event_of(packet, channel.offset_s)
                await self._send(channel.log.add(event) if "seq" in event else as_text(event))
        except (Refusal, WebSocketDisconnect):
            raise
        except Exception as error:
            log.error("session %s failed: %s", session.name, error)
            raise Internal(session.name) from error
        if not channel.asked:  # the server ends, and its client has more to say
            raise Draining
        channel.finished = True
        await self._send(channel.log.add({"type": "finished", "seq": 0}))

    async def _tick(self) -> None:
        """Tell how the session is doing."""
        while not self._session.over:
            await asyncio.sleep(STATISTICS_S)
            await self._send(as_text(statistics_event(self._session.statistics(), self._channel.offset_s)))

    def _start_ticking(self) -> None:
        """A session that only waits has nothing to tell."""
        if not self._ticking:
            self._ticking = True
            self._task(self._tick())

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task

    async def _send(self, text: str) -> None:
        """Raises WebSocketDisconnect: the connection is over, or another task has found it broken."""
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            raise WebSocketDisconnect(1006)
        await self._websocket.send_text(text)


async def _first_message(websocket: WebSocket, timeout_s: float) -> Start | Resume:
    try:
        async with asyncio.timeout(timeout_s):
            message = await websocket.receive()
    except TimeoutError as late:
        raise Refusal("idle", f"no message came within {timeout_s:g} s", 408, 4408) from late
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    if message.get("text") is None:
        raise BadMessage("media came before start or resume")
    return read_first(message["text"])


async def _entered(websocket: WebSocket, service: Service, channels: Channels, timeout_s: float) -> Connection:
    """The connection that the client's first message asks for.

    Raises:
        Refusal: there is none for it.
        WebSocketDisconnect: it has gone.
    """
    asked = await _first_message(websocket, timeout_s)
    if isinstance(asked, Resume):
        return Connection(websocket, channels, channels.find(asked), max(0, asked.after))
    media = asked.media
    wanted = Pcm(media.sample_rate, media.channels) if media.kind == "pcm" else Container()
    session = await service.open_live(
        model=asked.model, language=asked.language, translate=asked.translate, media=wanted
    )
    channel = Channel(session, asked.offset_s)
    channels.add(channel)
    return Connection(websocket, channels, channel)


async def _close(websocket: WebSocket) -> None:
    """All has been said."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await websocket.close(FINISHED_CLOSE)


async def _refuse(websocket: WebSocket, refusal: Refusal) -> None:
    """The last event and the close; a client that is gone, or does not read, is not waited for.

    One that is sent away because the server ends is told nothing but that: it is to come again.
    """
    with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):  # RuntimeError: closed already
        async with asyncio.timeout(CLOSE_S):
            if not isinstance(refusal, Draining):
                await websocket.send_text(refusal.event())
            await websocket.close(refusal.close, refusal.code)
