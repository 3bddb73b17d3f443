"""``mmstream bench pipeline``: the CPU time that the pipeline adds to a recogniser called directly."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmstream.benchmarks.processes import check_proc, tree_cpu_s
from mmstream.benchmarks.speech import Recording, record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError
from mmstream.drive import run_to_end, running
from mmstream.executors import Executor, ExecutorName
from mmstream.graph import Graph
from mmstream.pipeline import check, read_text
from mmstream.recipe import FILE_CHUNK_MS
from mmstream.record import Arguments
from operators.decoders import Sphinx

STAGES = "mmstream.benchmarks.metered"
SAMPLE_RATE = 16_000  # Hz
CHUNK = SAMPLE_RATE // 10  # samples that the recogniser gets at a time when it is called directly
PIPELINE = f"""
capacity: 64
nodes:
  media: {{use: operators.sources:MediaFile, with: {{chunk_ms: {FILE_CHUNK_MS}}}}}
  resample: {{use: operators.audio:Resample, from: media}}
  vad: {{use: operators.audio:Vad, from: resample}}
  decode: {{use: {STAGES}:MeteredSphinx, from: vad}}
  commit: {{use: operators.policies:Commit, with: {{policy: local_agreement, n: 5, hold_words: 3}}, from: decode}}
  jsonl: {{use: operators.sinks:JsonLines, from: commit}}
"""
WARM_UP_S = 2.0  # of media
QUIET_S = 1.0  # a started cluster is quiet once it uses less than QUIET_CPU_S in this time
QUIET_CPU_S = 0.15
QUIET_LIMIT_S = 30.0


@dataclass(frozen=True)
class Cost:
    """What one session used."""

    cpu_s: float  # all of it
    decoder_cpu_s: float  # inside the decoder's node
    decoded_s: float  # media seconds that reached the decoder

    def rest_s(self) -> float:
        return self.cpu_s - self.decoder_cpu_s


def measure_pipeline(rounds: int, minutes: float, speech: Path | None, say: Callable[[str], None]) -> Report:
    """pocketsphinx alone, in the pipeline on threads and in the pipeline on Ray, over the same speech, in turn."""
    check_proc()
    if "RAY_ADDRESS" in os.environ:
        raise MmstreamError("RAY_ADDRESS is set: this benchmark counts what a Ray of its own uses; unset it")
    recording = record(speech, 60 * minutes, SAMPLE_RATE)
    values: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as name:
        folder = Path(name)
        recording.write_flac(folder / "speech.flac")
        for number in range(rounds):
            where = f"round {number + 1} of {rounds}"
            say(f"recogniser called directly, {where}")
            direct_s = call_directly(recording)
            values["direct"].append(direct_s)
            executors: tuple[ExecutorName, ...] = ("local", "ray")
            for executor in executors:
                say(f"pipeline, {executor}, {where}")
                _add(values, executor, direct_s, run_pipeline(executor, folder), recording.seconds)
    settings = {"rounds": rounds, "minutes": minutes, "speech": recording.name, "chunk of the direct calls": "100 ms"}
    return Report("pipeline", "CPU time around the recogniser", settings, _figures(values), _notes())


def call_directly(recording: Recording) -> float:
    """CPU seconds of pocketsphinx with the settings of ``Sphinx``: one utterance for each piece, one result each."""
    import pocketsphinx

    decoder = pocketsphinx.Decoder(loglevel="FATAL")
    began = time.process_time()
    for piece in recording.pieces:
        decoder.start_utt()
        for first in range(0, len(piece), CHUNK):
            decoder.process_raw(piece[first : first + CHUNK].tobytes())
        decoder.end_utt()
        decoder.hyp()
    return time.process_time() - began


def run_pipeline(executor: ExecutorName, folder: Path) -> Cost:
    """One session over ``folder``/speech.flac; starting the executor, models and a first short session do not count.

    Raises:
        MmstreamError: the session failed.
    """
    with running(executor, _graph(folder)) as started:
        _run(started, "warm-up", {"media": {"end_s": WARM_UP_S}})
        before = _metered(folder)
        if executor == "ray":
            _wait_until_quiet()
        began = _cpu_s(executor)
        _run(started, "bench", {})
        used = _cpu_s(executor) - began
    after = _metered(folder)
    return Cost(used, after["cpu_s"] - before["cpu_s"], after["decoded_s"] - before["decoded_s"])


def _run(executor: Executor, session: str, arguments: Arguments) -> None:
    result = run_to_end(executor, session, arguments)
    if result.error is not None:
        raise result.error


def _metered(folder: Path) -> dict[str, float]:
    """What ``MeteredSphinx`` has said last."""
    found: dict[str, float] = json.loads((folder / "decoder.json").read_text(encoding="utf-8"))
    return found


def _cpu_s(executor: ExecutorName) -> float:
    """CPU time of this process, on Ray with everything it has started."""
    return tree_cpu_s() if executor == "ray" else time.process_time()


def _wait_until_quiet() -> None:
    """Let Ray finish starting: it starts spare workers long after it says that it is ready."""
    for _ in range(round(QUIET_LIMIT_S / QUIET_S)):
        before = tree_cpu_s()
        time.sleep(QUIET_S)
        if tree_cpu_s() - before < QUIET_CPU_S:
            return
    raise MmstreamError(f"Ray did not come to rest within {QUIET_LIMIT_S:.0f} s of its start; close other programs")


def _graph(folder: Path) -> Graph:
    document = read_text(PIPELINE, "<bench pipeline>")
    document.set_arguments("media", {"path": str(folder / "speech.flac")})
    document.set_arguments("decode", {"report": str(folder / "decoder.json")})
    document.set_arguments("commit", Sphinx.commit)  # as in a live session: words are shown while they are spoken
    document.set_arguments("jsonl", {"path": str(folder / "{session}.jsonl")})
    return check(document, allow=[STAGES])


def _add(values: defaultdict[str, list[float]], name: str, direct_s: float, cost: Cost, seconds: float) -> None:
    whole_s = cost.rest_s() + cost.decoder_cpu_s * seconds / cost.decoded_s
    values[f"{name} total"].append(cost.cpu_s)
    values[f"{name} added"].append(100 * (cost.cpu_s / direct_s - 1))
    values[f"{name} decoder"].append(cost.decoder_cpu_s)
    values[f"{name} rest"].append(100 * cost.rest_s() / direct_s)
    values[f"{name} whole"].append(100 * (whole_s / direct_s - 1))
    values[f"{name} left out"].append(100 * (1 - cost.decoded_s / seconds))


def _figures(values: defaultdict[str, list[float]]) -> list[Figure]:
    figures = [Figure("recogniser called directly", "CPU s", tuple(values["direct"]))]
    for executor, limit in (("local", 5.0), ("ray", 15.0)):
        title = "on Ray" if executor == "ray" else executor
        figures += [
            Figure(f"pipeline, {title}", "CPU s", tuple(values[f"{executor} total"])),
            Figure(f"added to the recogniser, {title}", "%", tuple(values[f"{executor} added"]), at_most=limit),
            Figure(f"inside the decoder's node, {title}", "CPU s", tuple(values[f"{executor} decoder"])),
            Figure(f"outside it, of the recogniser, {title}", "%", tuple(values[f"{executor} rest"])),
            Figure(f"added, had all sound been decoded, {title}", "%", tuple(values[f"{executor} whole"])),
        ]
    return [*figures, Figure("sound that Vad kept from the recogniser", "%", tuple(values["local left out"]))]


def _notes() -> tuple[str, ...]:
    return (
        "The direct call decodes every sample and gives one result for each file; the pipeline reads the file, finds "
        "speech, decodes only that, shows partial words five times a second and writes JSON lines.",
        "Starting and loading models does not count. On Ray all its processes count.",
    )
