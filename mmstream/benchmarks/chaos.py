"""``mmstream bench chaos``: workers killed, frozen, and lost with their machine, while live sessions go on."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmstream.benchmarks.speech import Recording, record
from mmstream.benchmarks.table import Figure, Report, percentile
from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError, Packet, Sink, Source
from mmstream.executors import make
from mmstream.graph import Graph
from mmstream.media import AudioChunk, Caption
from mmstream.pipeline import check, read_text
from operators.sinks.json_lines import without_wall_clock

Way = Literal["kill", "freeze", "node"]
Recogniser = Literal["stub", "avsr"]

SAMPLE_RATE = 16_000  # Hz
CHUNK_S = 0.1
SHIFT_S = 7.3  # media seconds by which each session begins later in the recording
WINDOW_S = 30.0  # wall-clock seconds after a fault in which its effects are looked for
SETTLE_S = 5.0  # wall-clock seconds before the first fault and after the last
MACHINES = 2  # for workers, beside the one that this process is on, and one for each that is to be removed
PLACE = "machine"  # the resource that makes Ray put workers there
RECOGNISERS = {
    "stub": """
  front: {use: operators.audio:Vad, from: source}
  decode: {use: mmstream.benchmarks.stages:Metronome, from: front}
  commit: {use: operators.policies:Commit, with: {policy: hold_n, n: 1}, from: decode}
""",
    "avsr": """
  mel: {use: operators.audio:LogMel, from: source}
  front: {use: operators.encoders:AudioEncoder, from: mel}
  fuse: {use: operators.fusion:Fuse, from: front}
  decode: {use: operators.decoders:Avsr, from: fuse}
  commit: {use: operators.policies:Commit, with: {policy: hold_n, n: 0}, from: decode}
""",
}
WORKERS = {"stub": (["front"], ["decode", "commit"]), "avsr": (["mel", "front"], ["fuse", "decode", "commit"])}

TRANSLATED = """
  translate: {{use: operators.translation:Translate, with: {{targets: [{language}]}}, from: commit}}
  jsonl_translated:
    use: operators.sinks:JsonLines
    with: {{path: "{folder}/{{session}}.{language}.jsonl", language: {language}}}
    from: [commit, translate]
"""

log = logging.getLogger(__name__)


class Speaker(Source):
    """``samples`` (time,) from ``begin`` on, over and over for ``seconds``, at its own pace or as fast as it goes."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, samples: Any = (), begin: int = 0, seconds: float = 60.0, paced: bool = True) -> None:
        super().__init__()
        self.samples, self.begin, self.seconds, self.paced = samples, begin, seconds, paced

    def packets(self, session: str) -> Iterator[Packet[AudioChunk]]:
        step = round(CHUNK_S * SAMPLE_RATE)
        began = self.clock.now()
        for number in range(round(self.seconds / CHUNK_S)):
            first = self.begin + number * step
            chunk = np.take(self.samples, np.arange(first, first + step), mode="wrap") / 32768
            start, end = number * CHUNK_S, (number + 1) * CHUNK_S
            if self.paced and self.clock.wait(began + end - self.clock.now(), self.stopping):
                return
            captured_at = began + end if self.paced else self.clock.now()
            yield Packet(session, start, end, AudioChunk(chunk[:, None].astype(np.float32), SAMPLE_RATE), captured_at)


@dataclass(frozen=True, slots=True)
class Sight:
    """One word on the screen, and never changed from then on. Wall-clock seconds."""

    session: str
    shown: float
    captured: float  # the end of the word


@dataclass
class Seen:
    """One session."""

    name: str
    index: int = -1  # of the utterance under way
    words: int = 0  # of it that are stable


class Watch(Sink[Seen]):
    """Notes when each word came, and when its end was captured."""

    accepts: ClassVar[tuple[type, ...]] = (Caption,)

    def __init__(self, seen: Any = None) -> None:
        self.seen: list[Sight] = [] if seen is None else seen

    def open(self, session: str) -> Seen:
        return Seen(session)

    def process(self, packet: Packet[Caption], state: Seen) -> Sequence[Packet[Any]]:
        caption, now = packet.data, self.clock.now()
        if caption.index != state.index:
            state.index, state.words = caption.index, 0
        stable = caption.words if caption.final else caption.stable
        for word in stable[state.words :]:  # a final caption comes after the pause that ends it: it need bring no word
            self.seen.append(Sight(state.name, now, packet.captured_at - (packet.end - word.end)))
        state.words = max(state.words, len(stable))
        return ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One run under faults."""

    way: Way
    faults: int
    standby: int
    seconds: float

    @property
    def name(self) -> str:
        what = {"kill": "kill -9", "freeze": "SIGSTOP", "node": "machine removed"}[self.way]
        return f"{what}, {'a standby' if self.standby else 'no standby'}"


@dataclass
class Found:
    """What came of one trial."""

    words: int = 0  # of the undisturbed run
    lost: int = 0
    twice: int = 0
    unequal: int = 0  # sessions whose captions are not those of the undisturbed run, byte for byte
    recovery_s: list[float] = field(default_factory=list)  # by fault and session that lived there
    usual_s: list[float] = field(default_factory=list)  # the same before the first fault, by session
    faults: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Load:
    """What goes on while things fail."""

    sessions: int
    recogniser: Recogniser
    translate: str | None = None  # a language (BCP 47), by the translator that ships, in workers of its own


def measure_chaos(
    trials: Sequence[Trial], load: Load, speech: Path | None, seed: int, say: Callable[[str], None]
) -> Report:
    """Run every trial against a Ray of several machines on this one, and compare with an undisturbed run."""
    recording = record(speech, 60.0, SAMPLE_RATE)
    rng = random.Random(seed)
    found = []
    undisturbed: dict[float, dict[str, list[bytes]]] = {}
    with tempfile.TemporaryDirectory(prefix="mmstream-chaos-") as name:
        for number, trial in enumerate(trials):
            if trial.seconds not in undisturbed:
                say(f"{load.sessions} sessions of {trial.seconds:g} s, undisturbed")
                folder = Path(name) / f"undisturbed-{trial.seconds:g}"
                undisturbed[trial.seconds] = _run_plain(folder, load, recording, trial.seconds)
            say(f"{trial.faults} faults in {trial.seconds:g} s: {trial.name}")
            one = _run_trial(Path(name) / str(number), trial, load, recording, rng)
            _compare(one, undisturbed[trial.seconds], _read(Path(name) / str(number), load))
            found.append(one)
    settings = {**asdict(load), "speech": recording.name, "seed": seed}
    return _report(settings, trials, found)


def _graph(folder: Path, load: Load, seen: list[Sight], standby: int, spread: bool) -> Graph:
    first, second = WORKERS[load.recogniser]
    share = ", batch: {max_size: 16, max_wait_ms: 10}" if load.recogniser == "avsr" else ""
    translation = "" if load.translate is None else TRANSLATED.format(folder=folder, language=load.translate)
    place = f", resources: {{{PLACE}: 0.01}}" if spread else ""
    text = f"""
nodes:
  source: {{use: mmstream.benchmarks.chaos:Speaker}}
{RECOGNISERS[load.recogniser]}{translation}
  jsonl: {{use: operators.sinks:JsonLines, with: {{path: "{folder}/{{session}}.jsonl"}}, from: commit}}
  watch: {{use: mmstream.benchmarks.chaos:Watch, from: commit}}
workers:
  driver: {{nodes: [source, jsonl, watch{", jsonl_translated" if translation else ""}]}}
  sound: {{nodes: {json.dumps(first)}, replicas: 2, standby: {standby}{place}{share}}}
  words: {{nodes: {json.dumps(second)}, replicas: 2, standby: {standby}{place}{share}}}
{f"  others: {{nodes: [translate], replicas: 2, standby: {standby}{place}}}" if translation else ""}
capacity: 64
recovery: {{snapshot_s: 0.5, deadline_s: 5, replay_s: 300}}
"""
    graph = check(read_text(text, "chaos"), allow=["mmstream.benchmarks"])
    graph.nodes["watch"].arguments["seen"] = seen  # type: ignore[index]
    return graph


def _arguments(recording: Recording, number: int, seconds: float, *, paced: bool) -> dict[str, dict[str, Any]]:
    samples = np.concatenate(list(recording.pieces))
    begin = round(number * SHIFT_S * SAMPLE_RATE)
    return {"source": {"samples": samples, "begin": begin, "seconds": seconds, "paced": paced}}


def _run_plain(folder: Path, load: Load, recording: Recording, seconds: float) -> dict[str, list[bytes]]:
    """The captions of every session as they are when nothing goes wrong."""
    folder.mkdir()
    executor = make("local", _graph(folder, load, [], 0, spread=False))
    executor.start()
    try:
        for number in range(load.sessions):
            executor.open(f"s{number}", _arguments(recording, number, seconds, paced=False))
        for _ in range(load.sessions):
            result = executor.wait()
            if result is None or result.error is not None:
                raise MmstreamError(f"the undisturbed run failed: {result and result.error}")
    finally:
        executor.close()
    return _read(folder, load)


def _read(folder: Path, load: Load) -> dict[str, list[bytes]]:
    """Session, or session.language -> its lines, without the times of the wall clock."""
    found = {}
    kinds = ("", f".{load.translate}") if load.translate else ("",)
    for name in (f"s{number}{kind}" for number in range(load.sessions) for kind in kinds):
        path = folder / f"{name}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found[name] = [json.dumps(without_wall_clock(json.loads(line))).encode() for line in lines]
    return found


@contextmanager
def _machines(count: int) -> Iterator[Any]:
    """A Ray of several machines, all of them this one, ``count`` for workers; gives what can remove one."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    if ray.is_initialized():
        raise MmstreamError("chaos starts a Ray of its own, and there is one in this process")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, resources={PLACE: 1})
        ray.init(address=cluster.address, logging_level=logging.ERROR, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _run_trial(folder: Path, trial: Trial, load: Load, recording: Recording, rng: random.Random) -> Found:
    from mmstream.executors.ray import RayExecutor

    folder.mkdir()
    found = Found()
    seen: list[Sight] = []
    with _machines(MACHINES + trial.faults * (trial.way == "node")) as cluster:
        executor = RayExecutor(_graph(folder, load, seen, trial.standby, spread=True))
        executor.start()
        stop = threading.Event()
        faults: list[tuple[float, list[str]]] = []
        try:
            for number in range(load.sessions):
                executor.open(f"s{number}", _arguments(recording, number, trial.seconds, paced=True))
            havoc = threading.Thread(target=_wreak, args=(executor, cluster, trial, faults, rng, stop), daemon=True)
            havoc.start()
            for _ in range(load.sessions):
                result = executor.wait(trial.seconds + 120)
                if result is None or result.error is not None:
                    found.errors.append(str(result and result.error) if result else "a session did not end")
            stop.set()
            havoc.join()
        finally:
            executor.close()
    found.faults = len(faults)
    for at, names in faults:
        found.recovery_s += [_worst(seen, session, at, at + WINDOW_S) for session in names]
    began = min((one.shown for one in seen), default=0.0)
    first = faults[0][0] if faults else float("inf")
    found.usual_s = [_worst(seen, f"s{number}", began, first) for number in range(load.sessions)]
    return found


def _wreak(
    executor: Any,
    cluster: Any,
    trial: Trial,
    faults: list[tuple[float, list[str]]],
    rng: random.Random,
    stop: threading.Event,
) -> None:
    """Faults at random times, spread over the run: (when, the sessions that lived there)."""
    span = max(trial.seconds - 2 * SETTLE_S, 1.0)
    times = sorted(SETTLE_S + (number + rng.random() * 0.8) * span / trial.faults for number in range(trial.faults))
    began = time.monotonic()
    for at in times:
        if stop.wait(began + at - time.monotonic()):
            return
        victims = {replica: member for replica, member in executor.members().items() if executor.sessions_on(replica)}
        if not victims:
            continue
        replica = rng.choice(sorted(victims))
        nodes = [replica]
        if trial.way == "node":
            nodes = [other for other, member in victims.items() if member.node == victims[replica].node]
        names = sorted({name for other in nodes for name in executor.sessions_on(other)})
        faults.append((SYSTEM_CLOCK.now(), names))
        log.info("fault: %s %s, sessions %s", trial.name, replica, ", ".join(names))
        if trial.way == "node":
            doomed = next(node for node in cluster.worker_nodes if node.node_id == victims[replica].node)
            cluster.remove_node(doomed, allow_graceful=False)
        else:
            os.kill(victims[replica].pid, signal.SIGKILL if trial.way == "kill" else signal.SIGSTOP)


def _worst(seen: Sequence[Sight], session: str, since: float, until: float) -> float:
    """The longest that a session's words had to wait to be shown, of those shown in a stretch of time, seconds."""
    shown = [one for one in seen if one.session == session and since <= one.shown < until]
    return max((one.shown - one.captured for one in shown), default=until - since)


def _compare(found: Found, undisturbed: dict[str, list[bytes]], run: dict[str, list[bytes]]) -> None:
    """Count the words that a run has lost, and those that it has twice."""
    for session, lines in undisturbed.items():
        wanted, given = _words(lines), _words(run[session])
        found.words += wanted.total()
        found.lost += (wanted - given).total()
        found.twice += sum(max(0, number - wanted[word]) for word, number in given.items() if word in wanted)
        found.unequal += lines != run[session]


def _words(lines: Sequence[bytes]) -> Counter[tuple[str, float]]:
    return Counter(
        (word["word"], word["start"]) for line in map(json.loads, lines) if "words" in line for word in line["words"]
    )


def _report(settings: dict[str, Any], trials: Sequence[Trial], found: Sequence[Found]) -> Report:
    figures = []
    for trial, one in zip(trials, found, strict=True):
        limit = 30.0 if trial.way != "kill" else 1.0 if trial.standby else 5.0
        figures += [
            Figure(f"{trial.name}: words lost of {one.words}", "words", (float(one.lost),), at_most=0),
            Figure(f"{trial.name}: words twice", "words", (float(one.twice),), at_most=0),
            Figure(f"{trial.name}: sessions not byte-equal", "sessions", (float(one.unequal),), at_most=0),
            Figure(f"{trial.name}: errors", "sessions", (float(len(one.errors)),), at_most=0),
        ]
        if one.recovery_s:
            p50, p95 = (round(min(percentile(one.recovery_s, p), 1e6), 3) for p in (50, 95))
            figures += [
                Figure(f"{trial.name}: recovery p50 of {one.faults} faults", "s", (p50,)),
                Figure(f"{trial.name}: recovery p95", "s", (p95,), at_most=limit),
            ]
        if one.usual_s:
            usual = round(percentile(one.usual_s, 95), 3)
            figures.append(Figure(f"{trial.name}: the same without a fault, p95", "s", (usual,)))
    every = [seconds for one in found for seconds in one.recovery_s]
    details = {
        "words_lost": sum(one.lost for one in found),
        "words_twice": sum(one.twice for one in found),
        "recovery_s": {f"p{p}": round(min(percentile(every, p), 1e6), 3) for p in (50, 95)} if every else None,
        "kills": sum(one.faults for one in found),
        "errors": [error for one in found for error in one.errors],
    }
    notes = (
        "recovery: the longest that any word of a session that lived there waited, from its capture to the screen, "
        "after the fault; so it holds the recogniser's own latency, which is given for the time before the first fault",
        "undisturbed: the same graph in threads, as fast as it goes",
    )
    settings = {**settings, "seconds": [trial.seconds for trial in trials], "machines": MACHINES + 1}
    return Report("chaos", "Workers lost under live sessions", settings, figures, notes, details)
