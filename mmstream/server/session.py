"""One live session: media in, packets out. It outlives the connection of its client."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError, Packet
from mmstream.executors.ledger import Result
from mmstream.media import Caption, Gap
from mmstream.observe.metrics import Metrics
from mmstream.observe.words import Words
from mmstream.server.decoding import DecoderUnavailable
from mmstream.server.lines import ContainerIntake, Intake, Media, Pcm, PcmIntake
from mmstream.server.mailbox import Mailbox
from mmstream.server.models import Model
from mmstream.server.refusal import Refusal
from mmstream.server.stage import Stage
from mmstream.sessions import SessionRefused

RECENT_WORDS = 200  # that the latency figures are made of


class BadMedia(Refusal):
    """What the client sent is no media, or none that can be used."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_media", message, 415, 4415)


class Full(Refusal):
    """There is no room for one more session."""

    def __init__(self, message: str) -> None:
        super().__init__("full", message, 503, 4429, retry_after_s=5)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None where nothing has been measured."""

    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, seconds: deque[float]) -> Percentiles:
        if not seconds:
            return cls(None, None)
        p50, p95 = np.percentile(np.fromiter(seconds, float), [50, 95])
        return cls(round(1000 * float(p50), 1), round(1000 * float(p95), 1))


@dataclass(frozen=True, slots=True)
class Statistics:
    """How a session is doing."""

    received_bytes: int  # of media
    received_s: float  # media seconds
    reached_s: float  # media second up to which something has come out
    lag_ms: float  # how far what comes out is behind what came in
    dropped_s: float  # media seconds that were lost or given up
    emission_ms: Percentiles  # from the arrival of a word's end to the moment it was first given out
    commit_ms: Percentiles  # to the moment from which it never changes


class Session:
    """A live session. For coroutines of one event loop; one of them may read ``packets`` and one may ``feed``.

    The executor hears of it with the first media: one that only waits costs next to nothing.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        media: Media,
        stage: Stage,
        pool: Executor,
        metrics: Metrics,
        on_end: Callable[[Session], None],
    ) -> None:
        """``pool`` runs what may wait; ``on_end`` is told when the executor has done with the session."""
        self.name = name
        self.model = model
        self.token = secrets.token_urlsafe(24)  # lets its client come back
        self._loop = asyncio.get_running_loop()
        self._stage, self._pool, self._metrics, self._on_end = stage, pool, metrics, on_end
        self._mailbox = Mailbox()
        self._intake: Intake = PcmIntake(media) if isinstance(media, Pcm) else ContainerIntake(stage.streams)
        self._opening: asyncio.Future[None] | None = None
        self.finished = False  # its media has ended
        self._over = False  # the executor has done with it
        self._aborted = False
        self._words = Words()
        self._emission_s: deque[float] = deque(maxlen=RECENT_WORDS)
        self._commit_s: deque[float] = deque(maxlen=RECENT_WORDS)
        self._reached = 0.0
        self._dropped_s = 0.0

    async def feed(self, data: bytes) -> None:
        """Take media in, waiting for room. After the session's end it is thrown away: ``packets`` tells of the end."""
        if not self._over:
            await self._opened()
        if not self._over:
            await self._intake.feed(data)

    async def finish(self) -> None:
        """The media has ended; the last words still come."""
        self.finished = True
        if self._opening is None:
            self._end(None)
        else:
            await self._opened()
            self._intake.end()

    def abort(self) -> None:
        """Give the session up: nothing more comes out."""
        self._aborted = True
        self._intake.close()
        self._mailbox.end(MmstreamError(f"session {self.name!r} was aborted"))
        if self._opening is None:
            self._end(None)
        elif self._opening.done() and not self._over:
            self._pool.submit(self._stage.abort, self.name)

    async def packets(self) -> AsyncIterator[Packet[Any]]:
        """What comes out: Caption, Gap, Sight. Another reader goes on where one was cancelled.

        Raises:
            Refusal: the session has failed, for a reason that its client may know.
            MmstreamError: it has failed.
        """
        while (packet := await self._mailbox.get()) is not None:
            self._note(packet)
            yield packet

    @property
    def over(self) -> bool:
        """Whether all of it has come out, or nothing more will."""
        return self._over

    @property
    def received_bytes(self) -> int:
        """Of media that was taken in: a client that comes back goes on behind them."""
        return self._intake.received_bytes

    @property
    def has_begun(self) -> bool:
        """Whether media has come in."""
        return self.received_bytes > 0

    def statistics(self) -> Statistics:
        row = None if self._over or self._opening is None else self._stage.row(self.name)
        return Statistics(
            self.received_bytes,
            self._intake.received_s,
            self._reached,
            max(0.0, 1000 * row.lag_s) if row is not None else 0.0,
            self._dropped_s,
            Percentiles.of(self._emission_s),
            Percentiles.of(self._commit_s),
        )

    async def _opened(self) -> None:
        """Have the executor open it, once."""
        if self._opening is None:
            self._opening = self._loop.create_task(self._open())
        if not self._opening.done():
            await asyncio.shield(self._opening)  # whoever waits may be cancelled: another connection goes on

    async def _open(self) -> None:
        def waits() -> None:
            self._intake.prepare()
            self._stage.open(self.name, self._intake.line, self._mailbox, self._ended)

        try:
            await self._loop.run_in_executor(self._pool, waits)
        except (SessionRefused, DecoderUnavailable) as error:
            self._end(Full(str(error)))
        except Exception as error:  # noqa: BLE001 - it becomes the session's error
            self._end(error)
        else:
            if self._aborted:
                self._pool.submit(self._stage.abort, self.name)

    def _ended(self, result: Result) -> None:
        """Called from the stage's thread."""
        fault = self._intake.fault
        error = result.error if fault is None else BadMedia(fault)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, error)

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._mailbox.end(error)
        self._intake.close()
        self._on_end(self)

    def _note(self, packet: Packet[Any]) -> None:
        """Count what is given out."""
        if isinstance(packet.data, Gap):
            self._reached = max(self._reached, packet.end)
            if packet.data.medium == "audio":
                self._dropped_s += packet.end - packet.start
        elif isinstance(packet.data, Caption):
            self._reached = max(self._reached, packet.end)
            for word in self._words.take(packet, SYSTEM_CLOCK.now()):
                arrived = self._intake.arrivals.at(word.word.end)
                if arrived is not None:
                    self._emission_s.append(word.emitted_at - arrived)
                    self._commit_s.append(word.committed_at - arrived)
                    self._metrics.emitted(word.emitted_at - arrived)
                    self._metrics.committed(word.committed_at - arrived)
