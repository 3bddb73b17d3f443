"""``mmstream bench soak --sessions``: hours of many sessions, to see whether anything grows with them."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mmstream.benchmarks.processes import PROC, Vitals, check_proc
from mmstream.benchmarks.speech import record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError, Packet, Sink, Source
from mmstream.drive import running
from mmstream.executors import Executor, ExecutorName
from mmstream.graph import Graph
from mmstream.media import AudioChunk, Caption
from mmstream.pipeline import check, read_text

Kind = Literal["cheap", "avsr"]

HERE = "mmstream.benchmarks.soak_sessions"
SAMPLE_RATE = 16_000  # Hz
CHUNK_S = 0.1  # media seconds of a packet
SPEECH_S = 600.0  # media seconds that are looped
SHIFT_S = 7.3  # by which each session begins later in them
LONGEST_S = 1800.0  # media seconds of one session; another one follows it
SESSIONS_EACH = 6  # that each place has at least, one after another
LOOKS = 120  # at the processes, in all
FEWEST_LOOKS = 9  # for a slope to mean anything
SETTLED = 1 / 3  # of the run, after which nothing may grow
STALLED_S = 120.0  # wall-clock seconds without a packet
RECOGNISERS: dict[Kind, tuple[str, str]] = {
    "cheap": (
        "front, words, commit",
        """
  front: {use: operators.audio:Vad, from: source}
  words: {use: mmstream.benchmarks.stages:Metronome, from: front}
  commit: {use: operators.policies:Commit, from: words}""",
    ),
    "avsr": (
        "mel, heard, fuse, words, commit",
        """
  mel: {use: operators.audio:LogMel, from: source}
  heard: {use: operators.encoders:AudioEncoder, from: mel}
  fuse: {use: operators.fusion:Fuse, from: heard}
  words: {use: operators.decoders:Avsr, from: fuse}
  commit: {use: operators.policies:Commit, with: {policy: hold_n, n: 0}, from: words}""",
    ),
}


class Meter:
    """What sources and sinks of all sessions count together. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_s = 0.0
        self._lags: list[float] = []

    def __reduce__(self) -> tuple[Any, ...]:
        """An actor, which gets the whole graph, uses none of it."""
        return Meter, ()

    def give(self, seconds: float) -> None:
        with self._lock:
            self._given_s += seconds

    def show(self, lag_s: float) -> None:
        with self._lock:
            self._lags.append(lag_s)

    @property
    def given_s(self) -> float:
        """Media seconds of all sessions so far."""
        return self._given_s

    def lag_s(self) -> float | None:
        """The median lag of the captions since the last call; None where there were none."""
        with self._lock:
            lags, self._lags = self._lags, []
        return median(lags) if lags else None


class Rushed(Source):
    """``samples`` (time,) from ``begin`` on, over and over, as fast as they are taken, for ``seconds``."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)
    runs_on = "driver"

    def __init__(self, samples: Any = (), begin: int = 0, seconds: float = 60.0, meter: Any = None) -> None:
        super().__init__()
        self.samples, self.begin, self.seconds, self.meter = samples, begin, seconds, meter

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        samples: NDArray[np.int16] = self.samples
        size = round(CHUNK_S * SAMPLE_RATE)
        for number in range(round(self.seconds / CHUNK_S)):
            if self.stopping.is_set():
                return
            first = self.begin + number * size
            chunk = samples.take(range(first, first + size), mode="wrap").astype(np.float32) / np.float32(32768)
            start, end = number * CHUNK_S, (number + 1) * CHUNK_S
            yield Packet(session, start, end, AudioChunk(chunk[:, None], SAMPLE_RATE), self.clock.now())
            self.meter.give(CHUNK_S)


class Lags(Sink[None]):
    """Tells ``meter`` how long ago the media of each caption was captured."""

    accepts: ClassVar[tuple[type, ...]] = (Caption,)

    def __init__(self, meter: Any = None) -> None:
        self.meter: Meter = Meter() if meter is None else meter

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Caption], state: None) -> Iterable[Packet[Any]]:
        self.meter.show(self.clock.now() - packet.captured_at)
        return ()


@dataclass(frozen=True, slots=True)
class Look:
    """This process and the actors at one moment."""

    media_s: float  # of each session, on average
    resident_mb: float  # this process
    actors_mb: float  # all actors together
    threads: int  # of all of them
    files: int
    actors: int  # processes of actors that exist, in use or not
    lag_s: float | None  # median of the captions since the look before


@dataclass
class Soak:
    """One run. ``hours`` of media for each of ``sessions`` places."""

    executor: Executor
    samples: NDArray[np.int16]
    meter: Meter
    sessions: int
    hours: float
    looks: list[Look] = field(default_factory=list)
    _given_s: dict[int, float] = field(default_factory=dict)  # media seconds that have been begun, by place
    _places: dict[str, int] = field(default_factory=dict)  # of the open sessions
    _count: int = 0

    def run(self, say: Callable[[str], None]) -> None:
        """Every session to its end.

        Raises:
            MmstreamError: a session failed, or nothing moves any more.
        """
        for place in range(self.sessions):
            self._begin(place)
        every_s = self.hours * 3600 / LOOKS
        moved, moved_at = 0.0, time.monotonic()
        while self._places:
            result = self.executor.wait(0.1)
            if result is not None:
                if result.error is not None:
                    raise result.error
                self._begin(self._places.pop(result.session))
            given_s = self.meter.given_s / self.sessions
            if given_s > moved:
                moved, moved_at = given_s, time.monotonic()
            elif time.monotonic() - moved_at > STALLED_S:
                raise MmstreamError(f"no session has moved for {STALLED_S:.0f} s")
            if not self.looks or given_s >= self.looks[-1].media_s + every_s:
                self.looks.append(look(self.executor, given_s, self.meter.lag_s()))
                say(", ".join(f"{name} {value}" for name, value in asdict(self.looks[-1]).items()))

    def _begin(self, place: int) -> None:
        """The next session of a place; the first ones differ in length, so that they do not all end together."""
        whole_s = self.hours * 3600
        begun_s = self._given_s.get(place, 0.0)
        seconds = min(LONGEST_S, whole_s / SESSIONS_EACH)
        if not begun_s:
            seconds *= (place + 1) / self.sessions
        seconds = min(seconds, whole_s - begun_s)
        if seconds < CHUNK_S:
            return
        session = f"soak-{self._count}"
        begin = round(self._count * SHIFT_S * SAMPLE_RATE)
        self._count += 1
        self._given_s[place] = begun_s + seconds
        self._places[session] = place
        source = {"samples": self.samples, "begin": begin, "seconds": seconds, "meter": self.meter}
        self.executor.open(session, {"source": source})


def look(executor: Executor, media_s: float, lag_s: float | None) -> Look:
    """How this process and the actors fare now."""
    members: dict[Any, Any] = getattr(executor, "members", dict)()
    here = Vitals.now()
    others = [found for member in members.values() if (found := vitals(member.pid)) is not None]
    return Look(
        round(media_s, 1),
        round(here.resident_mb, 2),
        round(sum(other.resident_mb for other in others), 2),
        here.threads + sum(other.threads for other in others),
        here.files + sum(other.files for other in others),
        actor_processes(),
        None if lag_s is None else round(lag_s, 4),
    )


def vitals(process: int) -> Vitals | None:
    """Another process, which may just have ended: then None."""
    folder = PROC / str(process)
    try:
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
        threads, files = (sum(1 for _ in (folder / name).iterdir()) for name in ("task", "fd"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Vitals(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threads, files)


def actor_processes() -> int:
    """How many processes of actors there are among those that this one has started, directly or not."""
    parents: dict[int, int] = {}
    actors = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_bytes().startswith(b"ray::Host"):
                actors.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return sum(os.getpid() in _ancestors(process, parents) for process in actors)


def _ancestors(process: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while (process := parents.get(process, 0)) and process not in found:
        found.add(process)
    return found


def measure_soak_sessions(
    kind: Kind, sessions: int, hours: float, executor: ExecutorName, speech: Path | None, say: Callable[[str], None]
) -> Report:
    """``hours`` of media for each of ``sessions`` places, a session after another in each, as fast as they go.

    Raises:
        MmstreamError: a session failed, it is too short to see anything, or the actors run in a cluster elsewhere.
    """
    check_proc()
    if executor == "ray" and "RAY_ADDRESS" in os.environ:
        raise MmstreamError("RAY_ADDRESS is set: this benchmark looks at the processes of a Ray of its own; unset it")
    os.environ.setdefault("RAY_worker_niceness", "0")
    recording = record(speech, min(SPEECH_S, hours * 3600), SAMPLE_RATE)
    samples: NDArray[np.int16] = np.concatenate(list(recording.pieces))
    meter = Meter()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder,
        running(executor, soak_graph(kind, Path(folder), meter)) as started,
    ):
        soak = Soak(started, samples, meter, sessions, hours)
        soak.run(say)
    wall_s = time.monotonic() - began
    settings = {
        "recogniser": kind,
        "sessions": sessions,
        "hours": hours,
        "executor": executor,
        "speech": recording.name,
    }
    return soak_report(settings, soak.looks, sessions * hours * 3600 / wall_s)


def soak_graph(kind: Kind, folder: Path, meter: Meter) -> Graph:
    """Source, recogniser and commit, a file sink and the sink that tells ``meter``; files go to ``folder``."""
    names, nodes = RECOGNISERS[kind]
    shared = ", batch: {max_size: 16, max_wait_ms: 0}" if kind == "avsr" else ""
    text = f"""
capacity: 64
nodes:
  source: {{use: {HERE}:Rushed}}
{nodes}
  jsonl: {{use: operators.sinks:JsonLines, with: {{path: "{folder}/{{session}}.jsonl"}}, from: commit}}
  lags: {{use: {HERE}:Lags, from: commit}}
workers:
  recognise: {{nodes: [{names}]{shared}}}
"""
    graph = check(read_text(text, "<bench soak>"), allow=["mmstream.benchmarks"])
    return replace(graph, nodes={**graph.nodes, "lags": replace(graph.nodes["lags"], arguments={"meter": meter})})


def soak_report(settings: dict[str, Any], looks: Sequence[Look], speed: float) -> Report:
    """What has grown between the first and the last third of the looks after everything has settled.

    Raises:
        MmstreamError: they are too few.
    """
    late = list(looks[round(len(looks) * SETTLED) :])
    if len(late) < FEWEST_LOOKS:
        raise MmstreamError(f"only {len(late)} looks after everything had settled: give it more --hours")
    third = len(late) // 3
    first, last = late[:third], late[-third:]
    hours = (median(one.media_s for one in last) - median(one.media_s for one in first)) / 3600

    def growth(name: str) -> float:
        before, after = (median(getattr(one, name) for one in part) for part in (first, last))
        return float(after - before)

    lags = [[one.lag_s for one in part if one.lag_s is not None] for part in (first, last)]
    figures = [
        Figure("media for each second", "s", (speed,)),
        Figure("resident memory of this process, settled", "MB", (late[0].resident_mb,)),
        Figure("its growth", "MB", (growth("resident_mb"),), at_most=20.0),
        Figure("its growth per hour of media", "MB/h", (growth("resident_mb") / hours,)),
        Figure("resident memory of the actors, settled", "MB", (late[0].actors_mb,)),
        Figure("their growth", "MB", (growth("actors_mb"),), at_most=20.0),
        Figure("their growth per hour of media", "MB/h", (growth("actors_mb") / hours,)),
        Figure("threads, settled", "", (float(late[0].threads),)),
        Figure("their growth", "", (growth("threads"),), at_most=2.0),
        Figure("open files, settled", "", (float(late[0].files),)),
        Figure("their growth", "", (growth("files"),), at_most=2.0),
        Figure("actors, settled", "", (float(late[0].actors),)),
        Figure("their growth", "", (growth("actors"),), at_most=0.0),
    ]
    if all(lags):
        before, after = map(median, lags)
        figures.append(Figure("lag of captions, first third", "ms", (1000 * before,)))
        figures.append(Figure("the same, last third over first", "times", (after / before,), at_most=1.25))
        figures.append(Figure("its slope", "ms/h", (1000 * (after - before) / hours,)))
    notes = (
        f"Growth: from the median of the first third to that of the last, of {len(late)} looks after the first third "
        f"of the run. Hours are media of each session: {hours:.3g} lie between those medians.",
        "Sources feed as fast as packets are taken: the lag is what queues hold. Threads and files are those of this "
        "process and the actors.",
    )
    course = [list(asdict(one).values()) for one in looks]
    details = {"course": course, "course_columns": list(asdict(looks[0]))}
    return Report("soak-sessions", "Hours of many sessions", settings, figures, notes, details)
