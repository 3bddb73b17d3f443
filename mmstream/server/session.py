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
from mmstream.server.lines import Intake, Media, intake
from mmstream.server.mailbox import Mailbox
from mmstream.server.models import Model
from mmstream.server.refusal import Refusal
from mmstream.server.stage import Stage
from mmstream.sessions import SessionRefused
from operators.sources.incoming import Arrivals

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


class Figures:
    """When the words of a session came out, and what was lost. One event loop."""

    def __init__(self, metrics: Metrics) -> None:
        """``metrics`` hear of it too."""
        self.reached = 0.0  # media second up to which something has come out
        self.dropped_s = 0.0
        self.emission_s: deque[float] = deque(maxlen=RECENT_WORDS)
        self.commit_s: deque[float] = deque(maxlen=RECENT_WORDS)
        self._metrics = metrics
        self._words = Words()

    def note(self, packet: Packet[Any], arrivals: Arrivals) -> None:
        """A packet is given out now."""
        if isinstance(packet.data, Gap):
            self.reached = max(self.reached, packet.end)
            if packet.data.medium == "audio":
                self.dropped_s += packet.end - packet.start
        elif isinstance(packet.data, Caption):
            self.reached = max(self.reached, packet.end)
            for word in self._words.take(packet, SYSTEM_CLOCK.now()):
                arrived = arrivals.at(word.word.end)
                if arrived is not None:
                    self.emission_s.append(word.emitted_at - arrived)
                    self.commit_s.append(word.committed_at - arrived)
                    self._metrics.emitted(word.emitted_at - arrived)
                    self._metrics.committed(word.committed_at - arrived)


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
        self.finished = False  # its media has ended
        self.over = False  # the executor has done with it
        self._media = media
        self._loop = asyncio.get_running_loop()
        self._stage, self._pool, self._metrics, self._on_end = stage, pool, metrics, on_end
        self._mailbox = Mailbox()
        self._intake: Intake | None = None  # None before the first media
        self._figures: Figures | None = None  # likewise
        self._opening: asyncio.Task[None] | None = None
        self._aborted = False

    async def feed(self, data: bytes) -> None:
        """Take media in, waiting for room. After the session's end it is thrown away: ``packets`` tells of the end."""
        if not self.over:
            await self._opened()
        if not self.over and self._intake is not None:
            await self._intake.feed(data)

    def cut(self) -> bool:
        """End the utterance that is open now; behind its last words comes a Gap of no length, reason ``lines.CUT``.

        False: there is none to end, since no media has come, or it has ended.
        """
        if self._intake is None or self.finished or self.over:
            return False
        self._intake.cut()
        return True

    async def finish(self) -> None:
        """The media has ended; the last words still come."""
        self.finished = True
        if self._opening is None:
            self._end(None)
            return
        await self._opened()
        if self._intake is not None:
            self._intake.end()

    def abort(self) -> None:
        """Give the session up: nothing more comes out."""
        self._aborted = True
        self._mailbox.end(MmstreamError(f"session {self.name!r} was aborted"))
        if self._intake is not None:
            self._intake.close()
        if self._opening is None:
            self._end(None)
        elif self._opening.done() and not self.over:
            self._pool.submit(self._stage.abort, self.name)

    async def packets(self) -> AsyncIterator[Packet[Any]]:
        """What comes out: Caption, Gap, Sight. Another reader goes on where one was cancelled.

        Raises:
            Refusal: the session has failed, for a reason that its client may know.
            MmstreamError: it has failed.
        """
        while (packet := await self._mailbox.get()) is not None:
            if self._figures is not None and self._intake is not None:
                self._figures.note(packet, self._intake.arrivals)
            yield packet

    @property
    def received_bytes(self) -> int:
        """Of media that was taken in: a client that comes back goes on behind them."""
        return self._intake.received_bytes if self._intake is not None else 0

    @property
    def has_begun(self) -> bool:
        """Whether media has come in."""
        return self._intake is not None

    def statistics(self) -> Statistics:
        figures = self._figures or Figures(self._metrics)
        row = None if self.over or self._intake is None else self._stage.row(self.name)
        return Statistics(
            self.received_bytes,
            self._intake.received_s if self._intake is not None else 0.0,
            figures.reached,
            max(0.0, 1000 * row.lag_s) if row is not None else 0.0,
            figures.dropped_s,
            Percentiles.of(figures.emission_s),
            Percentiles.of(figures.commit_s),
        )

    async def _opened(self) -> None:
        """Have the executor open it, once."""
        if self._opening is None:
            self._opening = self._loop.create_task(self._open())
        if not self._opening.done():
            await asyncio.shield(self._opening)  # whoever waits may be cancelled: another connection goes on

    async def _open(self) -> None:
        def waits() -> Intake:
            made = intake(self._media, self._stage.streams, self._loop)
            try:
                self._stage.open(self.name, made.line, self._mailbox, self._ended)
            except MmstreamError:
                made.close()
                raise
            return made

        self._figures = Figures(self._metrics)
        try:
            self._intake = await self._loop.run_in_executor(self._pool, waits)
        except (SessionRefused, DecoderUnavailable) as error:
            self._end(Full(str(error)))
        except Exception as error:  # noqa: BLE001 - it becomes the session's error
            self._end(error)
        else:
            if self._aborted:
                self._intake.close()
                self._pool.submit(self._stage.abort, self.name)

    def _ended(self, result: Result) -> None:
        """Called from the stage's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end, result.error)

    def _end(self, error: Exception | None) -> None:
        if self.over:
            return
        self.over = True
        fault = self._intake.fault if self._intake is not None else None
        self._mailbox.end(error if fault is None else BadMedia(fault))
        if self._intake is not None:
            self._intake.close()
        self._on_end(self)
