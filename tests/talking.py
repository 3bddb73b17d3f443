"""A client of the live protocol for tests, in the words of docs/protocol.md: nothing of it is mmstream's own client."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

SUBPROTOCOL = "mmstream.v1"
PCM = {"kind": "pcm", "sample_rate": 16_000, "channels": 1}
CONTAINER = {"kind": "container"}
Event = dict[str, Any]


class Talk:
    """One connection. ``events``: all that has come, greeting and statistics too."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def start(self, media: Event = PCM, **more: Any) -> Event:
        await self.say(type="start", protocol=1, media=media, **more)
        return await self.next("started")

    async def resume(self, token: str, after: int) -> Event:
        await self.say(type="resume", protocol=1, token=token, after=after)
        return await self.next("resumed")

    async def send(self, media: bytes, piece: int = 3200) -> None:
        for begin in range(0, len(media), piece):
            await self.socket.send(media[begin : begin + piece])

    async def finish(self) -> None:
        await self.say(type="finish")

    async def next(self, kind: str | None = None) -> Event:
        """The next event, or the next one of a kind."""
        while True:
            event = json.loads(await self.socket.recv())
            self.events.append(event)
            if kind is None or event["type"] == kind:
                return event

    async def rest(self) -> int:
        """Read until the server closes: the close code."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.next()
        assert self.socket.close_code is not None
        return self.socket.close_code

    def abort(self) -> None:
        """Vanish, without a word."""
        self.socket.transport.abort()

    @property
    def seq(self) -> int:
        """Of the last numbered event."""
        return max((event["seq"] for event in self.events if "seq" in event), default=0)


@contextlib.asynccontextmanager
async def talking(address: str, **options: Any) -> AsyncIterator[Talk]:
    """A connection to the server."""
    async with connect(address, subprotocols=[SUBPROTOCOL], compression=None, **options) as socket:
        yield Talk(socket)


async def heard(address: str, media: bytes, kind: Event = PCM, piece: int = 3200, **more: Any) -> list[Event]:
    """Every event of a whole session."""
    async with talking(address) as talk:
        await talk.start(kind, **more)
        await talk.send(media, piece)
        await talk.finish()
        assert await talk.rest() == 1000, talk.events[-1:]
        return talk.events


def captions(events: Iterable[Event]) -> list[Event]:
    """The final ones."""
    return [event for event in events if event["type"] == "caption" and event["final"]]


def words(events: Iterable[Event]) -> list[str]:
    """Of the final captions."""
    return [word["word"] for caption in captions(events) for word in caption["stable"]]


def numbered(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if "seq" in event]
