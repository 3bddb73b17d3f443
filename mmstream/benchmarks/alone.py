"""One process for each live session, as servers have it that share no recogniser: the baseline of ``sessions``."""

from __future__ import annotations

import contextlib
import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np

from mmstream.benchmarks.crowd import DRAIN_S, LEAD_S, Course, Kind, Outing, Seen, cores_used, crowd_graph
from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError
from mmstream.drive import run_to_end
from mmstream.executors import make

START_TIMEOUT_S = 300.0  # for all of them to load the recogniser
PRELOADED = ["mmstream.benchmarks.alone", "operators.audio", "operators.decoders", "operators.policies", "torch"]


@dataclass(frozen=True)
class Order:
    """One outing of one process."""

    session: str
    number: int
    of: int
    origin: float  # wall-clock second
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What came of it."""

    seen: Seen
    sent: int
    dropped: int
    error: str | None


def serve(orders: Connection, kind: Kind, samples: Path) -> None:
    """The life of one process: it loads the recogniser, says so, and runs one session after another."""
    told: dict[str, Seen] = {}
    executor = make("local", crowd_graph(kind, told, batch=None))
    executor.start()
    try:
        sound = np.load(samples)
        orders.send(None)
        while (order := orders.recv()) is not None:
            course = Course(sound, order.seconds)
            course.begin(order.origin)
            given = {"source": {"course": course, "number": order.number, "of": order.of}}
            result = run_to_end(executor, order.session, given)
            error = None if result.error is None else str(result.error)
            sent = course.sent.get(order.session, 0)
            orders.send(Answer(told.pop(order.session), sent, result.dropped, error))
    finally:
        executor.close()


class Processes:
    """Processes with a recogniser each. Libraries are loaded once and shared by all, which flatters this way."""

    def __init__(self, kind: Kind, samples: Path) -> None:
        """``samples``: a NumPy file of (time,) samples, float32."""
        self._kind: Kind = kind
        self._samples = samples
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._running: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, orders in self._running:
            with contextlib.suppress(OSError):  # it has died
                orders.send(None)
            orders.close()
        for process, _ in self._running:
            process.join(1.0)
            process.kill()
            process.join()

    def go_out(self, name: str, sessions: int, seconds: float) -> Outing:
        """As ``crowd.go_out``, with each session in a process of its own.

        Raises:
            MmstreamError: one of them failed.
        """
        self._grow(sessions)
        course = Course(np.load(self._samples), seconds)
        course.begin(SYSTEM_CLOCK.now() + LEAD_S)
        for number, (_, orders) in enumerate(self._running[:sessions]):
            orders.send(Order(f"{name}-{number}", number, sessions, course.origin, seconds))
        cores = cores_used(LEAD_S + seconds)
        seen, dropped = [], 0
        for number, (_, orders) in enumerate(self._running[:sessions]):
            answer = _heard(orders, DRAIN_S)
            assert isinstance(answer, Answer)
            if answer.error is not None:
                raise MmstreamError(answer.error)
            course.sent[answer.seen.session] = answer.sent
            seen.append((number, answer.seen))
            dropped += answer.dropped
        return Outing.of(course, seen, dropped, sessions, cores)

    def _grow(self, wanted: int) -> None:
        before = len(self._running)
        for _ in range(before, wanted):
            here, there = self._context.Pipe()
            process = self._context.Process(target=serve, args=(there, self._kind, self._samples), daemon=True)
            process.start()
            there.close()
            self._running.append((process, here))
        for _, orders in self._running[before:]:
            _heard(orders, START_TIMEOUT_S)


def _heard(orders: Connection, timeout_s: float) -> object:
    if not orders.poll(timeout_s):
        raise MmstreamError(f"the process of a session did not answer within {timeout_s:.0f} s")
    try:
        return orders.recv()
    except EOFError:
        raise MmstreamError("the process of a session died; see what it wrote above") from None
