"""What a worker did with each packet, written as JSON lines: a file for each session and process in one folder.

Off unless a run was given a folder. A packet costs a few microseconds; the lines are written once a second, or when
many wait. Times are wall-clock seconds of ``mmstream.clock``, so over several machines they are as good as the
machines' clocks; where machines share no disk, bring their files together in one folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError, Packet
from mmstream.graph import Graph, WorkerSpec
from mmstream.media import Caption, Word

log = logging.getLogger(__name__)

SUFFIX = ".spans.jsonl"
MOST_WAITING = 4_000  # records that wait to be written
LONGEST_NAME = 120  # characters of a session in the name of a file

# Put together by hand: a JSON encoder takes twice as long.
_NUMBERS = (
    '%s, "start": %.6f, "end": %.6f, "captured_at": %.6f, "began": %.6f, "ended": %.6f, "waited_s": %.6f, "batch": %d, '
)
_LINE = _NUMBERS + '"gave": null}\n'
_GIVING_LINE = _NUMBERS + '"gave": [%.6f, %.6f]}\n'

Place = tuple[float, float]  # media seconds, start and end


class Span(NamedTuple):
    """One packet in one node. For a source: the packet that it gave, from taking it to having handed it on."""

    session: str
    node: str
    kind: str  # class of the payload
    start: float  # media seconds, of the packet
    end: float
    captured_at: float  # wall-clock seconds, as all below
    began: float
    ended: float  # with the nodes that this one called directly
    waited_s: float  # in the node's lane, before
    batch: int  # packets in the call
    gave: Place | None  # from the start of the first packet that came of it to the end of the last


class Shown(NamedTuple):
    """A caption that a sink took."""

    session: str
    node: str
    at: float  # wall-clock seconds
    start: float  # media seconds, of the packet
    end: float
    captured_at: float
    caption: Caption


@dataclass(frozen=True, slots=True)
class Tracing:
    """Where the spans of a run go. Picklable: every process of the run gets the same."""

    folder: Path
    run: float  # wall-clock second at which it began: a folder may hold several runs

    @classmethod
    def into(cls, folder: Path, clock: Clock = SYSTEM_CLOCK) -> Tracing:
        """Raises MmstreamError where the folder cannot be made or written to."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise MmstreamError(f"{folder}: cannot keep spans: {fault.strerror or fault}") from fault
        if not os.access(folder, os.W_OK | os.X_OK):
            raise MmstreamError(f"{folder}: cannot keep spans: Permission denied")
        return cls(folder.absolute(), clock.now())


class Exporter(Protocol):
    """Takes spans elsewhere too, such as to OpenTelemetry."""

    def export(self, spans: Sequence[Span]) -> None: ...


class Recorder:
    """Spans of one worker. ``worked`` and ``shown`` come from any thread and never wait for a disk for long.

    A disk that fails ends the recording, with one warning, and no session.
    """

    def __init__(
        self, tracing: Tracing, graph: Graph, spec: WorkerSpec, number: int, exporter: Exporter | None = None
    ) -> None:
        self._tracing = tracing
        self._name = f"{spec.name}-{number}"
        self._about = {
            "run": tracing.run,
            "worker": spec.name,
            "number": number,
            "inputs": {node: [edge.source for edge in graph.inputs(node)] for node in spec.nodes},
        }
        self._exporter = exporter
        self._records: deque[Span | Shown] = deque()
        self._flushing = threading.Lock()
        self._begun: set[str] = set()  # sessions whose file says what it is
        self._beginnings: dict[tuple[str, str], str] = {}  # (node, kind) -> how its lines begin
        self._broken = False

    def worked(
        self,
        session: str,
        node: str,
        packet: Packet[Any],
        began: float,
        ended: float,
        waited_s: float = 0.0,
        batch: int = 1,
        gave: Place | None = None,
    ) -> None:
        """``node`` has worked on ``packet``. Units as in ``Span``."""
        kind = type(packet.data).__name__
        place = (packet.start, packet.end, packet.captured_at)
        self._add(Span(session, node, kind, *place, began, ended, waited_s, batch, gave))

    def shown(self, session: str, node: str, packet: Packet[Caption], now: float) -> None:
        """The sink ``node`` takes a caption."""
        self._add(Shown(session, node, now, packet.start, packet.end, packet.captured_at, packet.data))

    def _add(self, record: Span | Shown) -> None:
        self._records.append(record)
        if len(self._records) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits, in whole lines."""
        with self._flushing:
            spans: list[Span] = []
            lines: dict[str, list[str]] = {}
            while self._records:
                record = self._records.popleft()
                lines.setdefault(record.session, []).append(self._line(record))
                if isinstance(record, Span):
                    spans.append(record)
            if self._exporter is not None:
                self._exporter.export(spans)
            for session, said in lines.items():
                self._write(session, said)

    def session_ended(self, session: str) -> None:
        """Write its last lines, and forget it."""
        self.flush()
        self._begun.discard(session)

    def _write(self, session: str, lines: list[str]) -> None:
        if self._broken:
            return
        path = self._tracing.folder / file_name(session, self._name)
        if session not in self._begun:  # the line before may have been cut short by a kill
            lines.insert(0, "\n" + json.dumps({**self._about, "session": session}) + "\n")
        try:
            with path.open("ab", buffering=0) as file:
                file.write("".join(lines).encode())
        except OSError as fault:
            self._broken = True
            log.warning("%s: %s: no more spans of worker %s", path, fault.strerror or fault, self._name)
        self._begun.add(session)

    def _line(self, record: Span | Shown) -> str:
        if isinstance(record, Shown):
            return _shown_line(record)
        _, node, kind, *times, waited_s, batch, gave = record
        beginning = self._beginnings.get((node, kind))
        if beginning is None:
            beginning = json.dumps({"node": node, "kind": kind})[:-1]
            self._beginnings[node, kind] = beginning
        if gave is None:
            return _LINE % (beginning, *times, waited_s, batch)
        return _GIVING_LINE % (beginning, *times, waited_s, batch, *gave)


def file_name(session: str, worker: str) -> str:
    """The file of a session's spans in one process; the name of a session may hold anything."""
    name = quote(session, safe=" ", errors="surrogatepass")
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}~{hashlib.sha256(session.encode(errors='surrogatepass')).hexdigest()[:8]}"
    return f"{name}.{worker}{SUFFIX}"


def _shown_line(shown: Shown) -> str:
    content = {
        "shown": shown.node,
        "at": shown.at,
        "start": shown.start,
        "end": shown.end,
        "captured_at": shown.captured_at,
        "index": shown.caption.index,
        "stable": [_plain(word) for word in shown.caption.stable],
        "unstable": [_plain(word) for word in shown.caption.unstable],
        "final": shown.caption.final,
    }
    return json.dumps(content) + "\n"


def _plain(word: Word) -> Mapping[str, Any]:
    return {"word": word.text, "start": word.start, "end": word.end}
