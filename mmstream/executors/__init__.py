"""Executors run a checked graph: ``local`` in threads, ``ray`` in actors. Same graph, same worker code, same output."""

from __future__ import annotations

from typing import Literal, Protocol

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.observe.spans import Tracing
from mmstream.record import Arguments
from mmstream.sessions import SessionRow

ExecutorName = Literal["local", "ray"]


class Executor(Protocol):
    """What every command asks of an executor. Thread-safe."""

    def start(self) -> None:
        """Build every worker, models included. Raises the first fault."""

    def open(self, session: str, arguments: Arguments | None = None) -> None:
        """Pin a session to one replica of each worker and start its sources, with their ``arguments``."""

    def wait(self, timeout_s: float | None = None) -> Result | None:
        """The next session that has ended, or None after ``timeout_s``."""

    def stop(self, session: str) -> None:
        """End the session's sources; its last words still come out, and ``wait`` tells when they have."""

    def abort(self, session: str) -> None:
        """Give the session up: nothing more comes out, nothing half-written stays."""

    def reached(self, session: str) -> float:
        """How far a session has come, media seconds, as far as this process knows; 0 when it is not open."""

    def table(self) -> tuple[SessionRow, ...]:
        """The open sessions, for people."""

    def close(self) -> None:
        """Stop every worker and release what they hold. Sessions still open are aborted."""


def make(name: ExecutorName, graph: Graph, clock: Clock = SYSTEM_CLOCK, tracing: Tracing | None = None) -> Executor:
    """The executor of that name; Ray is imported only where it is asked for. ``tracing``: where spans are written."""
    if name == "local":
        from mmstream.executors.local import LocalExecutor

        return LocalExecutor(graph, clock, tracing)
    from mmstream.executors.ray import RayExecutor

    return RayExecutor(graph, clock, tracing)
