"""One connection to ``/v1/listen``, from its query to its Metadata."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation
from mmstream.server.deepgram.query import Listen, parse, served_name
from mmstream.server.deepgram.results import Beginning, Message, Messages, Piece, Pieces, error
from mmstream.server.deepgram.sound import DECODERS
from mmstream.server.formats import as_caption
from mmstream.server.lines import CUT, Container, Media, Pcm
from mmstream.server.refusal import Refusal
from mmstream.server.service import BadMedia, Service
from mmstream.server.session import Session
from mmstream.server.tokens import SCHEMES

CLOSE_S = 5.0  # for the last message and the close of a client that may not be reading
DONE, BAD_DATA, FAULT = 1000, 1008, 1011  # close codes
QUOTED = 200  # characters of a message that could not be read, said back


async def serve(websocket: WebSocket, service: Service) -> None:
    """Answer one client until it or its session ends."""
    try:
        asked = parse(websocket.query_params)
        model = served_name(asked.model, list(service.models))
        session = await service.open_live(
            model=model, language=asked.language, translate=asked.translate, media=_media(asked), name="listen"
        )
    except Refusal as refusal:
        await _deny(websocket, refusal)
        return
    try:
        messages = Messages(session.model.name, asked.punctuated)
        schemes = [one for one in websocket.scope.get("subprotocols", ()) if one in SCHEMES]
        await websocket.accept(schemes[0] if schemes else None, [(b"dg-request-id", messages.request_id.encode())])
        await _Connection(websocket, session, asked, messages).run()
    finally:
        if not session.over:
            session.abort()


def _media(asked: Listen) -> Media:
    return Container() if asked.encoding is None else Pcm(asked.sample_rate, asked.channels)


async def _deny(websocket: WebSocket, refusal: Refusal) -> None:
    """Answer the request to connect, as Deepgram does: with the reason in a header too."""
    told = {"err_code": refusal.code, "err_msg": refusal.message}
    reason = refusal.message.encode("ascii", "backslashreplace").decode()
    headers = {"dg-error": "".join(one if one.isprintable() else " " for one in reason)}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(JSONResponse(told, refusal.status, headers))
    else:
        await websocket.close(refusal.close, refusal.code)


class _Connection:
    def __init__(self, websocket: WebSocket, session: Session, asked: Listen, messages: Messages) -> None:
        self._websocket, self._session, self._asked = websocket, session, asked
        self._decode = DECODERS[asked.encoding or "linear16"]
        self._answers = Answers(asked, messages)
        self._messages = messages
        self._received = hashlib.sha256()

    async def run(self) -> None:
        """Read and write until one of them ends."""
        reader, writer = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            ends = await asyncio.gather(reader, writer, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, WebSocketDisconnect):
                raise end

    async def _read(self) -> None:
        """Take what the client sends until it leaves."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data:
                self._received.update(data)
                if not self._session.finished:
                    await self._session.feed(self._decode(data))
            elif data is not None:  # older clients end so
                await self._session.finish()
            else:
                await self._obey(message["text"])

    async def _obey(self, text: str) -> None:
        try:
            message = json.loads(text)
            kind = message["type"]
        except (ValueError, TypeError, KeyError, RecursionError):
            await self._send(error("SchemaError", "a text message is a JSON object with a type", text[:QUOTED]))
            return
        if kind == "CloseStream":
            await self._session.finish()
        elif kind == "Finalize":
            await self._finalize()
        elif kind == "Configure":
            await self._send(self._messages.configure_failure("nothing can be configured while a stream is open"))
        elif kind != "KeepAlive":
            known = "a type is one of Finalize, CloseStream, KeepAlive and Configure"
            await self._send(error("SchemaError", known, text[:QUOTED]))

    async def _finalize(self) -> None:
        if self._session.cut():
            self._answers.finalizing = True
        else:  # no media has come, or no more will
            await self._send(self._answers.finalized())

    async def _write(self) -> None:
        """Send results until the session's last one, then what was received in all, and close."""
        try:
            async for packet in self._session.packets():
                for message in self._answers.of(packet):
                    await self._send(message)
        except WebSocketDisconnect:
            raise
        except BadMedia as bad:
            await self._fail("DATA-0000", bad.message, BAD_DATA)
        except Refusal as refusal:
            await self._fail(refusal.code, refusal.message, FAULT)
        except Exception:
            await self._fail("internal", "the server made a mistake: the session has ended", FAULT)
            raise  # into the log, whole
        else:
            for message in self._answers.rest():
                await self._send(message)
            length_s = self._session.statistics().received_s
            await self._send(self._messages.metadata(self._received.hexdigest(), length_s))
            await self._close(DONE, "")

    async def _fail(self, code: str, description: str, close: int) -> None:
        await self._send(error(code, description))
        await self._close(close, code)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close(code, reason)

    async def _send(self, message: Message) -> None:
        """Raises WebSocketDisconnect: the connection is over, or another task has found it broken."""
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            raise WebSocketDisconnect(1006)
        await self._websocket.send_text(json.dumps(message, ensure_ascii=False))


class Answers:
    """What a client is told of the packets of its session, in order."""

    def __init__(self, asked: Listen, messages: Messages) -> None:
        self.finalizing = False  # the client wants what was heard so far, and has not had all of it
        self._asked, self._messages = asked, messages
        self._pieces = Pieces(asked.interim_results)
        self._translations: dict[str, Pieces] = {}  # by language
        self._held: Piece | None = None  # while finalizing: the last one of them is to be marked

    def of(self, packet: Packet[Any]) -> Iterator[Message]:
        """The messages that a packet makes."""
        data = packet.data
        if isinstance(data, Caption):
            yield from self._release()
            for one in self._pieces.take(packet):
                yield from self._tell(one)
        elif isinstance(data, Translation):
            pieces = self._translations.setdefault(data.language, Pieces(self._asked.interim_results))
            yield from self._translated(data.language, pieces.take(as_caption(packet)))
        elif isinstance(data, Gap) and data.reason == CUT:
            yield self.finalized()
            yield from self._end_of_utterance()
        elif isinstance(data, Gap) and data.medium == "audio":
            self._messages.note_lost(packet)

    def rest(self) -> Iterator[Message]:
        """What is left at the end."""
        yield from self._release()
        for piece in self._pieces.rest():
            yield from self._tell(piece)
        for language, pieces in self._translations.items():
            yield from self._translated(language, pieces.rest())
        if self.finalizing:
            yield self.finalized()

    def finalized(self) -> Message:
        """All that was heard when the client asked for it has now been said."""
        piece, self._held, self.finalizing = self._held or self._pieces.nothing(), None, False
        return self._messages.results(piece, from_finalize=True)

    def _tell(self, one: Piece | Beginning) -> Iterator[Message]:
        if isinstance(one, Beginning):
            if self._asked.vad_events:
                yield self._messages.speech_started(one)
        elif self.finalizing and one.speech_final:
            yield from self._release()
            self._held = one
        else:
            yield self._messages.results(one)
            if one.speech_final:
                yield from self._end_of_utterance()

    def _translated(self, language: str, pieces: Iterable[Piece | Beginning]) -> Iterator[Message]:
        """Results without words of their own: Deepgram has no message for translations, and nobody is to wait."""
        for piece in pieces:
            if isinstance(piece, Piece):
                nothing = replace(self._pieces.nothing(), speech_final=False)
                told = self._messages.translation(piece)
                yield {**self._messages.results(nothing), "translations": {language: told}}

    def _release(self) -> Iterator[Message]:
        piece, self._held = self._held, None
        if piece is not None:
            yield self._messages.results(piece)
            yield from self._end_of_utterance()

    def _end_of_utterance(self) -> Sequence[Message]:
        return [self._messages.utterance_end(self._pieces.last_word_end)] if self._asked.utterance_end else []
