"""Packets on their way from an executor's thread to a coroutine: bounded, and woken rather than polled."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from mmstream.core import Packet
from mmstream.media import Caption, Sight, Translation

CAPACITY = 64  # packets; beyond half of them, partial results give way to newer ones of their utterance


class Mailbox:
    """The outlet of one session. ``ready``, ``put`` and ``end`` are for any thread, ``get`` for one coroutine.

    Small while nothing is in it: most sessions of a server wait.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._loop = asyncio.get_running_loop()
        self._capacity = capacity
        self._lock = threading.Lock()
        self._packets: list[Packet[Any]] = []  # few enough to take from the front
        self._sight: Packet[Sight] | None = None  # the newest: nobody wants to see older ones
        self._told = False  # the loop has been told that there is something
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: Exception | None = None

    @property
    def ready(self) -> bool:
        """Whether there is room: nobody has read for a while where there is none."""
        return len(self._packets) < self._capacity

    def put(self, packet: Packet[Any]) -> None:
        """Take a packet, room or not: whoever puts asks ``ready`` first."""
        with self._lock:
            if isinstance(packet.data, Sight):
                self._sight = packet
            else:
                if 2 * len(self._packets) >= self._capacity:
                    self._make_room(packet.data)
                self._packets.append(packet)
            tell, self._told = not self._told, True
        if tell:
            self._tell()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes; ``get`` raises ``error`` after the last packet. The first end counts."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._error = True, error
            tell, self._told = not self._told, True
        if tell:
            self._tell()

    @property
    def ended(self) -> bool:
        return self._ended

    async def get(self) -> Packet[Any] | None:
        """The next packet, waiting for one; None after the last.

        Raises:
            Exception: the session's error.
        """
        while True:
            with self._lock:
                if self._packets:
                    return self._packets.pop(0)
                if self._sight is not None:
                    sight, self._sight = self._sight, None
                    return sight
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._told = False
            self._waiter = self._loop.create_future()
            await self._waiter

    def _make_room(self, newer: Any) -> None:
        """Leave out the partial result that ``newer`` says again: captions and translations come in turns."""
        name = _name(newer)
        for at in range(len(self._packets) - 1, -1, -1):
            data = self._packets[at].data
            if name is not None and _name(data) == name:
                if not data.final:
                    del self._packets[at]
                return

    def _tell(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _name(data: Any) -> tuple[int, str | None] | None:
    """What later results of the same utterance, in the same language, have in common; None: it is no result."""
    if isinstance(data, Translation):
        return data.index, data.language
    return (data.index, None) if isinstance(data, Caption) else None
