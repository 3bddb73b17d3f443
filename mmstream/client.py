"""A session on an mmstream server, as docs/protocol.md has it: sound goes up, captions and translations come down.

It outlives its connection, and the server: after a dropped connection it is resumed, and after a restart it starts anew
with what is still on tape. ``mmstream live --server`` is made of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from mmstream.client_address import ServerError, checked_address, is_overheard, why_not_connected
from mmstream.client_tape import Tape
from mmstream.client_translations import Promises
from mmstream.core import MmstreamError
from mmstream.media import Caption, Gap, Translation, Word

log = logging.getLogger(__name__)

__all__ = ["SAMPLE_RATE", "Heard", "RemoteSession", "ServerError"]

SUBPROTOCOL = Subprotocol("mmstream.v1")
SAMPLE_RATE = 16_000  # Hz, mono, 16 bits
BYTES_PER_S = 2 * SAMPLE_RATE
TAPE_S = 30.0  # of sound that is kept, for a server that comes back
PIECE = BYTES_PER_S // 10  # bytes of a message
OPEN_S = 10.0  # until a connection stands
PING_S = 15.0  # of silence from us, after which the server is told that we are there
RETRY_S = (0.25, 4.0)  # between two tries: at first, and at most
LAST_WORDS_S = 15.0  # a server that is gone is waited for, once the sound has ended
UNSHOWN_S = 2.0  # speech that has begun so lately may not have been shown yet
MOST_HEARD = 1024  # captions that wait to be taken

RESUMABLE = {1001, 1006, 4429}  # close codes after which the server still has the session, or may have it
LOST = "the server was gone for too long"


@dataclass(frozen=True, slots=True)
class Heard:
    """What the server has heard, or lost, between two media seconds."""

    start: float
    end: float
    data: Caption | Translation | Gap


class RemoteSession:
    """One session. One thread may ``feed``, ``finish`` and ``take``; another, its own, talks to the server."""

    def __init__(
        self,
        address: str,
        token: str | None = None,
        model: str = "auto",
        language: str | None = None,
        translate: Sequence[str] = (),
    ) -> None:
        """``translate``: languages that everything is translated into. Raises ServerError for what is no address."""
        self.address = checked_address(address)
        self.model = model  # what the server calls it, once open
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._ask = {"model": model, "language": language, "translate": list(translate)}
        self._tape = Tape(round(TAPE_S * BYTES_PER_S))
        self._changed = threading.Condition()
        self._heard: deque[Heard] = deque()
        self._state: str = "opening"  # then "open", then "over"
        self._error: MmstreamError | None = None
        self._finished_at: float | None = None  # monotonic second of ``finish``
        self._loop: asyncio.AbstractEventLoop | None = None
        self._talking: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="mmstream-client", daemon=True)
        # Of the thread that talks:
        self._token: str | None = None  # of the server's session; None: there is none
        self._origin = self._at = 0  # positions at which that session began, and of what goes up next
        self._seq = 0  # of the last event
        self._base = 0  # number of that session's first utterance
        self._next = 0  # number of the first utterance of a session that would begin now
        self._open: Heard | None = None  # the utterance under way
        self._settled = 0.0  # media second up to which nothing needs to be heard again
        self._promises = Promises(translate)
        self._refusal = ""  # the connection's last words, where they were a no
        self._gone: str | None = None  # what the user was told of a server that is gone
        self._pause_s = RETRY_S[0]  # before the next try

    def open(self) -> None:
        """Begin. Waits for the server.

        Raises:
            ServerError: it is not there, or says no.
        """
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._state != "opening")
            if self._error is not None:
                raise self._error
        if is_overheard(self.address):
            log.warning("%s is not encrypted: others on the way can listen; wss:// is", self.address)

    def feed(self, pcm: bytes) -> None:
        """Sound goes on with this: 16-bit samples. Never waits; what a server cannot be told in time is lost."""
        self._tape.add(pcm)
        self._wake()

    def feed_silence(self, samples: int) -> None:
        """Nothing was heard for so long."""
        self._tape.add_silence(2 * samples)
        self._wake()

    def finish(self) -> None:
        """The sound has ended."""
        self._finished_at = time.monotonic()
        self._wake()

    def take(self, *, wait: bool = False) -> list[Heard]:
        """What has come since. ``wait``: until something has; then nothing means the end.

        Raises:
            ServerError: what came from the server is nothing that a server says.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._heard or self._state == "over")
            found = list(self._heard)
            self._heard.clear()
            if self._error is not None and not found:
                raise self._error
        self._wake()
        return found

    def close(self) -> None:
        """Leave, whatever is still to come."""
        if self._loop is not None and self._talking is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._talking.cancel)
        if self._thread.is_alive():
            self._thread.join(OPEN_S)

    @property
    def settled(self) -> float:
        """Media second before which nothing will come that is still to be taken."""
        with self._changed:
            return min([self._settled, self._promises.earliest, *(heard.start for heard in self._heard)])

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._woken.set)

    # What follows runs in the thread that talks.

    def _run(self) -> None:
        try:
            asyncio.run(self._talk())
        except asyncio.CancelledError:
            self._end(None)
        except MmstreamError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - it becomes the session's error
            self._end(ServerError(f"--server {self.address}: {type(error).__name__}: {error}"))
        else:
            self._end(None)

    def _end(self, error: MmstreamError | None) -> None:
        with self._changed:
            self._state, self._error = "over", error
            self._changed.notify_all()

    async def _talk(self) -> None:
        """Connect, again and again, until the session has ended. Once it has begun, no fault of a server ends it.

        Raises:
            ServerError: it has not begun.
        """
        self._woken, self._talking = asyncio.Event(), asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        while True:
            self._refusal = ""
            try:
                await self._connected()
                return
            except (OSError, InvalidHandshake, InvalidURI) as fault:
                if self._state == "opening":
                    raise ServerError(why_not_connected(self.address, fault, OPEN_S)) from fault
            except ConnectionClosed as closed:
                self._judge(closed.rcvd.code if closed.rcvd is not None else 1006)
            if self._finished_at is not None and time.monotonic() - self._finished_at > LAST_WORDS_S:
                self._give_up()
                return
            self._say_gone()
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, RETRY_S[1])

    async def _connected(self) -> None:
        """One connection, until all has been heard.

        Raises:
            ConnectionClosed: it has ended before.
        """
        async with connect(
            self.address,
            subprotocols=[SUBPROTOCOL],
            additional_headers=self._headers,
            open_timeout=OPEN_S,
            compression=None,
        ) as socket:
            writing: asyncio.Task[None] | None = None
            try:
                with contextlib.suppress(ConnectionClosed):  # what is to be read says why
                    await socket.send(self._first_message())
                while (event := json.loads(await socket.recv()))["type"] != "finished":
                    if event["type"] in ("started", "resumed"):
                        self._greeted(event)
                        writing = asyncio.create_task(self._write(socket))
                    else:
                        self._hear(event)
                        await self._room()
            except asyncio.CancelledError:
                await socket.close()  # says goodbye
                raise
            finally:
                if writing is not None:
                    writing.cancel()
                    await asyncio.gather(writing, return_exceptions=True)

    def _first_message(self) -> str:
        if self._token is not None:
            return json.dumps({"type": "resume", "protocol": 1, "token": self._token, "after": self._seq})
        self._place()
        media = {"kind": "pcm", "sample_rate": SAMPLE_RATE, "channels": 1}
        offset_s = self._origin / BYTES_PER_S
        return json.dumps({"type": "start", "protocol": 1, "media": media, "offset_s": offset_s, **self._ask})

    def _greeted(self, event: dict[str, Any]) -> None:
        if event["type"] == "started":
            self._token, self._seq, self._at = event["token"], 0, self._origin
            self.model = _printable(event["model"])
        else:
            self._at = self._origin + event["received_bytes"]
        with self._changed:
            if self._state == "opening":
                self._state = "open"
                log.info("server: %s, model %s", self.address, self.model)
            elif self._gone is not None:
                self._gone = None
                log.info("the server is back")
            self._changed.notify_all()

    async def _write(self, socket: ClientConnection) -> None:
        """Send what is on tape, as it comes, and the end of it."""
        while True:
            self._woken.clear()
            piece = self._tape.read(self._at, PIECE)
            if piece is None:  # it came too late to be told: another session goes on behind the loss
                self._close_utterance()
                await socket.close()
                return
            if piece:
                await socket.send(piece)
                self._at += len(piece)
            elif self._finished_at is not None:
                await socket.send(json.dumps({"type": "finish"}))
                return
            elif not await _within(PING_S, self._woken):
                await socket.send(json.dumps({"type": "ping"}))

    def _hear(self, event: dict[str, Any]) -> None:
        """Take an event."""
        self._seq = event.get("seq", self._seq)
        if event["type"] != "error":
            self._pause_s = RETRY_S[0]
        if event["type"] == "caption":
            words = [tuple(map(_word, event[part])) for part in ("stable", "unstable")]
            caption = Caption(self._base + event["index"], words[0], words[1], event["final"], event["language"])
            heard = Heard(event["start"], event["end"], caption)
            self._open = None if caption.final else heard
            self._promises.said(caption, heard.start, heard.end)
            self._put(heard)
            if caption.final:
                self._settled, self._next = max(self._settled, heard.end), caption.index + 1
        elif event["type"] == "translation":
            words = [tuple(map(_word, event[part])) for part in ("stable", "unstable")]
            told = Translation(self._base + event["index"], words[0], words[1], event["final"], event["target"])
            self._put(Heard(event["start"], event["end"], told))
            self._promises.translated(told, event["start"], event["end"])
        elif event["type"] == "gap":
            self._put(Heard(event["start"], event["end"], Gap(event["medium"], event["reason"])))
        elif event["type"] == "statistics" and self._open is None:
            self._settled = max(self._settled, event["received_s"] - event["lag_ms"] / 1000 - UNSHOWN_S)
        elif event["type"] == "error":
            self._refusal = _printable(event["message"])

    def _put(self, heard: Heard) -> None:
        with self._changed:
            if self._heard and _is_renewed(self._heard[-1].data, heard.data):
                self._heard.pop()  # the newest of an utterance says all
            self._heard.append(heard)
            self._changed.notify_all()

    async def _room(self) -> None:
        """Wait until somebody takes what has come."""
        while len(self._heard) >= MOST_HEARD:
            self._woken.clear()
            await _within(PING_S, self._woken)

    def _judge(self, code: int) -> None:
        """What the end of a connection means: the session can be resumed, or starts anew.

        Raises:
            ServerError: it has not begun.
        """
        if self._state == "opening":
            raise ServerError(f"--server {self.address}: {self._refusal or f'closed the connection ({code})'}")
        if code not in RESUMABLE:
            self._close_utterance()

    def _say_gone(self) -> None:
        if self._gone is None or self._refusal not in ("", self._gone):
            self._gone = self._refusal
            log.warning("%s: trying again", self._refusal or "the server is gone")

    def _close_utterance(self) -> None:
        """The server's session is gone: what is certain of the utterance under way stays, the rest is heard again.

        Nobody goes on with translations that were under way: they end as they stand.
        """
        self._token = None
        if self._open is not None and isinstance(self._open.data, Caption) and self._open.data.stable:
            caption, end = self._open.data, self._open.data.stable[-1].end
            self._put(Heard(self._open.start, end, replace(caption, unstable=(), final=True)))
            self._settled, self._next = max(self._settled, end), caption.index + 1
        self._open = None
        for start, end, translation in self._promises.keep():
            self._put(Heard(start, end, translation))
        self._base = self._next

    def _place(self) -> None:
        """Where a new session begins: behind what is certain, as far back as the tape goes."""
        settled = 2 * round(self._settled * SAMPLE_RATE)
        self._origin = max(settled, self._tape.begin)
        self._lose(settled, self._origin)

    def _lose(self, begin: int, end: int) -> None:
        """What lies between the two positions will not be heard."""
        if end > begin:
            self._settled = end / BYTES_PER_S
            self._put(Heard(begin / BYTES_PER_S, self._settled, Gap("audio", LOST)))

    def _give_up(self) -> None:
        """The sound has ended, and the server does not come back."""
        log.warning("the server is gone: the last words are lost")
        self._close_utterance()
        self._lose(2 * round(self._settled * SAMPLE_RATE), self._tape.end)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether the event came in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _is_renewed(before: Any, after: Any) -> bool:
    """Whether ``after`` says all that ``before`` does."""
    if isinstance(before, Translation):
        return isinstance(after, Translation) and (before.language, before.index) == (after.language, after.index)
    return isinstance(before, Caption) and isinstance(after, Caption) and before.index == after.index


def _printable(text: str) -> str:
    """What a server says, without what could steer the terminal."""
    return "".join(character for character in text if character.isprintable())


def _word(told: dict[str, Any]) -> Word:
    return Word(told["word"], told["start"], told["end"], told["confidence"], told["video"])
