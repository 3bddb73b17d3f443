"""One graph that the server runs: its executor, who listens to its sessions, and who hears of their end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mmstream.core import MmstreamError
from mmstream.executors import Executor, ExecutorName, make
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.observe.metrics import Metrics
from mmstream.server.lines import Wanted
from mmstream.sessions import SessionRow
from operators.sinks import Outgoing
from operators.sinks.outgoing import Outlet

log = logging.getLogger(__name__)

ROWS_S = 0.5  # for so long a look at the table of sessions serves everybody
JOIN_TIMEOUT_S = 5.0

Ended = Callable[[Result], None]


class Stage:
    """A started executor. Every method may wait for its locks, or on Ray for its actors: call them from threads."""

    def __init__(self, name: ExecutorName, graph: Graph, source: str, metrics: Metrics) -> None:
        """``source``: the node whose line comes with each session."""
        self.source = source
        self.streams: Wanted = "any" if graph.nodes[source].arguments.get("streams") == "any" else "audio"
        self._metrics = metrics
        self._outlets: dict[str, Outlet] = {}
        self._endings: dict[str, Ended] = {}
        self._graph = _wired(graph, source, self._outlets)
        self._executor: Executor = make(name, self._graph)
        self._opened = threading.Semaphore(0)  # sessions whose end has not been waited for yet
        self._closing = False
        self._waiter = threading.Thread(target=self._wait, name="mmstream-ends", daemon=True)
        self._rows: dict[str, SessionRow] = {}
        self._rows_at = float("-inf")  # monotonic seconds

    def start(self) -> None:
        """Load everything.

        Raises:
            MmstreamError: the first fault.
        """
        try:
            self._executor.start()
        except MmstreamError:
            self._executor.close()
            raise
        self._waiter.start()

    def open(self, session: str, line: Any, outlet: Outlet, ended: Ended) -> None:
        """Let a session flow from ``line`` to ``outlet``; ``ended`` hears of its end, once, in another thread.

        Raises:
            SessionRefused: there is no room for it.
            MmstreamError: it cannot be opened; ``ended`` hears nothing.
        """
        self._outlets[session], self._endings[session] = outlet, ended
        try:
            self._executor.open(session, {self.source: {"line": line}})
        except MmstreamError:
            self._forget(session)
            raise
        self._opened.release()

    def abort(self, session: str) -> None:
        self._executor.abort(session)

    def row(self, session: str) -> SessionRow | None:
        """What is known of an open session, half a second old at most."""
        now = time.monotonic()
        if now - self._rows_at > ROWS_S:
            self._rows_at = now
            self._rows = {row.session: row for row in self._executor.table()}
        return self._rows.get(session)

    def rows(self) -> tuple[SessionRow, ...]:
        return self._executor.table()

    def close(self) -> None:
        """Abort what is open and release everything."""
        self._closing = True
        self._executor.close()
        self._opened.release()
        if self._waiter.is_alive():
            self._waiter.join(JOIN_TIMEOUT_S)

    def _wait(self) -> None:
        """Tell each session of its end. One that was opened ends, so nobody waits for nothing here."""
        while True:
            self._opened.acquire()
            result = self._executor.wait()
            if result is None:
                if self._closing:
                    return
                continue
            for lane in result.lanes:
                for reason, count in lane.reasons.items():
                    self._metrics.dropped(lane.edge, reason, count)
            ended = self._forget(result.session)
            if ended is None:  # it failed while it was opened, which its client has been told
                self._opened.release()
            else:
                ended(result)

    def _forget(self, session: str) -> Ended | None:
        self._outlets.pop(session, None)
        return self._endings.pop(session, None)


def _wired(graph: Graph, source: str, outlets: dict[str, Outlet]) -> Graph:
    """The graph with its sinks told of the outlets. A client can wait, so nothing behind the source is dropped."""
    nodes = {
        name: replace(node, arguments={"outlets": outlets}) if issubclass(node.kind, Outgoing) else node
        for name, node in graph.nodes.items()
    }
    edges = tuple(replace(edge, overflow="block") if edge.source == source else edge for edge in graph.edges)
    return replace(graph, nodes=nodes, edges=edges)
