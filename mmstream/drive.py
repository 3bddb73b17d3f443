"""Running sessions to their end from a command: Ctrl-C or SIGTERM drains the first time, and gives up the second."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from types import FrameType

from mmstream.board import Board, Folder, Shelf, cluster_is_named
from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError
from mmstream.executors import Executor, ExecutorName, make
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.observe.spans import Tracing
from mmstream.outcome import OperatorError
from mmstream.recipe import Recipe
from mmstream.record import Arguments

log = logging.getLogger(__name__)

POLL_S = 0.25
DRAINING = "finishing the last words; Ctrl-C again to give up"


@contextlib.contextmanager
def running(
    name: ExecutorName, graph: Graph, clock: Clock = SYSTEM_CLOCK, trace: Path | None = None
) -> Iterator[Executor]:
    """A started executor, closed at the end whatever happens. ``trace``: a folder for spans."""
    executor = make(name, graph, clock, Tracing.into(trace, clock) if trace is not None else None)
    try:
        on_sigterm = signal.getsignal(signal.SIGTERM)
        executor.start()
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:  # Ray's own kills its workers instead of draining
            signal.signal(signal.SIGTERM, on_sigterm)
        with _published(name, executor):
            yield executor
    finally:
        executor.close()


@contextlib.contextmanager
def _published(name: ExecutorName, executor: Executor) -> Iterator[None]:
    """Lets `mmstream sessions` see the sessions of the executor."""
    shelves: list[Shelf] = [Folder()]
    if name == "ray" and cluster_is_named():
        from mmstream.executors.ray_board import Cluster

        shelves.append(Cluster())
    with Board(executor.table, shelves):
        yield


def run_recipe(recipe: Recipe, executor: ExecutorName, session: str, trace: Path | None = None) -> None:
    """One session of the recipe's graph from start to end.

    Raises:
        MmstreamError: the session failed.
    """
    try:
        with running(executor, recipe.graph(), trace=trace) as started:
            result = run_to_end(started, session)
        if result.error is not None:
            raise result.error
    except OperatorError as error:
        raise recipe.plainly(error) from error
    warn_of_losses(result)


def run_to_end(executor: Executor, session: str, arguments: Arguments | None = None) -> Result:
    """One session from start to end.

    The first Ctrl-C ends the sources, so that the last words still come out; the second abandons the session.

    Raises:
        KeyboardInterrupt: abandoned.
    """
    executor.open(session, arguments)
    try:
        return _ended(executor, session)
    except KeyboardInterrupt:
        log.warning(DRAINING)
        executor.stop(session)
        return _ended(executor, session)


def _ended(executor: Executor, session: str) -> Result:
    result = executor.wait()
    if result is None:
        raise MmstreamError(f"session {session!r} ended without a result")
    return result


def run_all(
    executor: Executor, sessions: Sequence[tuple[str, Arguments]], at_once: int, poll_s: float = POLL_S
) -> Generator[Result | None, None, None]:
    """Sessions, at most ``at_once`` at a time: each one's end, in the order in which they end; None every ``poll_s``.

    The first Ctrl-C or SIGTERM ends the sources of all that run, so that their last words still come out, and begins
    no other; the second raises KeyboardInterrupt. One that is not let in has ended with the reason.
    """
    waiting, open_now, draining = deque(sessions), set[str](), False
    with _drain_asked() as asked:
        while waiting or open_now:
            while waiting and len(open_now) < at_once and not asked.is_set():
                session, arguments = waiting.popleft()
                try:
                    executor.open(session, arguments)
                except MmstreamError as error:
                    yield Result(session, error, ())
                else:
                    open_now.add(session)
            result = executor.wait(poll_s) if open_now else None
            if result is not None:
                open_now.discard(result.session)
            yield result
            if asked.is_set() and not draining:
                draining = True
                log.warning(DRAINING)
                waiting.clear()
                for session in open_now:
                    executor.stop(session)


@contextlib.contextmanager
def _drain_asked() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, which then interrupts nothing: no session is left half open."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    handled = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) is signal.default_int_handler]
    for one in handled:
        signal.signal(one, ask)
    try:
        yield asked
    finally:
        for one in handled:
            signal.signal(one, signal.default_int_handler)


def warn_of_losses(result: Result) -> None:
    """Say which queues lost packets: loss is never silent."""
    for lane in result.lanes:
        if lane.dropped:
            why = ", ".join(f"{reason} {count}" for reason, count in lane.reasons.items())
            log.warning("%s lost %d packets (%s); it holds %d", lane.edge, lane.dropped, why, lane.capacity)
