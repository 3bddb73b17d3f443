"""A checked graph as text: nodes from top to bottom, edges with their payload types, workers.

● source    Microphone                              driver
│     AudioChunk                50 packets, drop_oldest
● resample  Resample(sample_rate=16000)             main
│     AudioChunk
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmstream.graph import Edge, Graph, Node, WorkerSpec
from mmstream.pipeline.problems import listed, shown
from mmstream.pipeline.workers import has_queue

_ASCII = str.maketrans("●│├─╮╯┴┬┼→", "*||-\\/+++>")


def draw(graph: Graph, *, plain: bool = False) -> str:
    """The graph as lines of text; ``plain`` keeps to ASCII."""
    rows = _Rows(graph).all()
    rails = max(len(row.rails) for row in rows)
    left = max(len(row.left) for row in rows)
    lines = [
        _counted(graph),
        "",
        *(f"{row.rails:<{rails}}  {row.left:<{left}}  {row.right}".rstrip() for row in rows),
        "",
        *_workers(graph),
    ]
    text = "\n".join(lines)
    return text.translate(_ASCII) if plain else text


def _counted(graph: Graph) -> str:
    counts = ((len(graph.nodes), "node"), (len(graph.edges), "edge"), (len(graph.workers), "worker"))
    words = [f"{count} {what}" if count == 1 else f"{count} {what}s" for count, what in counts]
    return f"{graph.path}: {', '.join(words)}"


@dataclass
class _Row:
    rails: str
    left: str
    right: str


@dataclass
class _Rows:
    """Lays the nodes out one below the other; every edge that is still open runs down in a column of its own."""

    graph: Graph
    columns: list[Edge | None] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)

    def all(self) -> list[_Row]:
        names = list(self.graph.nodes)
        width = max(len(name) for name in names)
        for name, following in zip(names, [*names[1:], None], strict=True):
            column = self._node(self.graph.nodes[name], width)
            outputs = sorted(self.graph.outputs(name), key=lambda edge: names.index(edge.target))
            for number, edge in enumerate(outputs):
                alone = len(outputs) == 1 and edge.target == following
                self._edge(edge, column, number, "" if alone else f" → {edge.target}")
        return self.rows

    def _node(self, node: Node, width: int) -> int:
        """Draw a node where its first edge arrives; the other edges into it bend to it. Gives its column."""
        arriving = [at for at, edge in enumerate(self.columns) if edge is not None and edge.target == node.name]
        at = arriving[0] if arriving else self._free()
        rails = self._rails()
        rails[2 * at] = "●"
        for other in arriving[1:]:
            _bend(rails, at, other, "╯")
            self.columns[other] = None
        self.columns[at] = None
        self._trim()
        arguments = ", ".join(f"{name}={shown(value)}" for name, value in node.arguments.items())
        what = f"{node.kind.__name__}({arguments})" if arguments else node.kind.__name__
        marks = [f"waits {node.max_skew_s * 1000:g} ms"] if node.max_skew_s is not None else []
        marks += ["optional"] if node.optional else []
        left = [f"{node.name:<{width}}", what, *([f"[{', '.join(marks)}]"] if marks else [])]
        self.rows.append(_Row("".join(rails).rstrip(), "  ".join(left), self.graph.worker_of(node.name).name))
        return at

    def _edge(self, edge: Edge, column: int, number: int, target: str) -> None:
        """Start an edge below its node, the first straight down, further ones in a free column to the right."""
        while len(self.columns) <= column:
            self.columns.append(None)
        at = column if number == 0 else self._free(column + 1)
        self.columns[at] = edge
        rails = self._rails()
        if number:
            rails[2 * column] = "├"
            _bend(rails, column, at, "╮")
        types = ", ".join(payload.__name__ for payload in edge.carries)
        self.rows.append(_Row("".join(rails).rstrip(), f"    {types}{target}", _queue(self.graph, edge)))

    def _free(self, least: int = 0) -> int:
        """The first column from ``least`` on without an edge."""
        for at in range(least, len(self.columns)):
            if self.columns[at] is None:
                return at
        self.columns.extend([None] * (max(least, len(self.columns)) + 1 - len(self.columns)))
        return len(self.columns) - 1

    def _trim(self) -> None:
        while self.columns and self.columns[-1] is None:
            self.columns.pop()

    def _rails(self) -> list[str]:
        """The columns as they run straight down, with a gap between each two."""
        rails: list[str] = []
        for edge in self.columns:
            rails += ["│" if edge is not None else " ", " "]
        return rails


def _bend(rails: list[str], start: int, end: int, corner: str) -> None:
    """Draw a line to the right, from beside column ``start`` to column ``end``, across what runs down between."""
    for position in range(2 * start + 1, 2 * end):
        rails[position] = {"│": "┼", "╯": "┴", "╮": "┬"}.get(rails[position], "─")
    rails[2 * end] = corner


def _queue(graph: Graph, edge: Edge) -> str:
    """The queue on an edge, where there is one."""
    home = graph.worker_of(edge.target)
    queued = has_queue(
        graph.nodes[edge.source].kind,
        graph.nodes[edge.target].kind,
        together=edge.source in home.nodes,
        inputs=len(graph.inputs(edge.target)),
        shared=home.batch is not None,
    )
    return f"{edge.capacity} packets, {edge.overflow}" if queued else ""


def _workers(graph: Graph) -> list[str]:
    width = max(len(name) for name in graph.workers)
    return [f"{name:<{width}}  {_described(worker)}" for name, worker in graph.workers.items()]


def _size(worker: WorkerSpec) -> list[str]:
    """How many replicas a worker has, where there is more to say than that it is one."""
    said = [f"{worker.replicas} replicas"] if worker.replicas > 1 else []
    if worker.scale is not None:
        calls = [f"{worker.scale.sessions} sessions each"] if worker.scale.sessions is not None else []
        calls += [f"{worker.scale.queue_s * 1000:g} ms of waiting"] if worker.scale.queue_s is not None else []
        said = [f"{worker.replicas} to {worker.scale.most} replicas, more above {listed(calls, 'or')}"]
    said += [f"{worker.standby} on standby"] if worker.standby else []
    said += [f"up to {worker.limit} sessions a replica"] if worker.limit is not None else []
    said += [f"near {worker.near}"] if worker.near is not None else []
    return said


def _described(worker: WorkerSpec) -> str:
    said = ["in your process"] if worker.place == "driver" else []
    said += _size(worker)
    said += [f"{name} {amount:g}" for name, amount in worker.resources.items()]
    if worker.batch is not None:
        said.append(f"batches of up to {worker.batch.max_size} within {worker.batch.max_wait_s * 1000:g} ms")
    return ", ".join(worker.nodes) + (f"  ({', '.join(said)})" if said else "")
