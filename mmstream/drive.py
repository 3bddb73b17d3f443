"""Running sessions to their end from a command: Ctrl-C drains the first time and gives up the second."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError
from mmstream.executors import Executor, ExecutorName, make
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.worker import Arguments

log = logging.getLogger(__name__)


@contextlib.contextmanager
def running(name: ExecutorName, graph: Graph, clock: Clock = SYSTEM_CLOCK) -> Iterator[Executor]:
    """A started executor, closed at the end whatever happens."""
    executor = make(name, graph, clock)
    try:
        on_sigterm = signal.getsignal(signal.SIGTERM)
        executor.start()
        if signal.getsignal(signal.SIGTERM) is not on_sigterm:  # Ray's own kills its workers instead of draining
            signal.signal(signal.SIGTERM, on_sigterm)
        yield executor
    finally:
        executor.close()


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
        log.warning("finishing the last words; Ctrl-C again to give up")
        executor.stop(session)
        return _ended(executor, session)


def _ended(executor: Executor, session: str) -> Result:
    result = executor.wait()
    if result is None:
        raise MmstreamError(f"session {session!r} ended without a result")
    return result


def warn_of_losses(result: Result) -> None:
    """Say which queues lost packets: loss is never silent."""
    for lane in result.lanes:
        if lane.dropped:
            log.warning(
                "%s lost %d packets: its queue of %d was full (peak %d)",
                lane.edge,
                lane.dropped,
                lane.capacity,
                lane.peak,
            )
