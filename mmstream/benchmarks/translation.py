"""``mmstream bench translate``: what a sentence takes on one core, alone and in company, and what a start takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np

from mmstream.benchmarks.table import Figure, Report, percentile
from mmstream.core import MmstreamError
from mmstream.translation.engine import Engine, Request
from mmstream.translation.models import load

SENTENCES = (  # of twelve words each
    "I have never been to Paris but my brother goes there often.",
    "She told me that she would come back later in the evening.",
    "If it rains tomorrow we will stay at home and play cards.",
    "The book that you gave me last week was really very interesting.",
    "Can you tell me where the nearest station is from here please?",
    "We need three more chairs because some guests will arrive after lunch.",
    "My parents used to live in a small house near the sea.",
    "He lost his keys on the way to work again this morning.",
    "Nobody knows what will happen when the old bridge is finally closed.",
    "I would like a glass of water and some bread with cheese.",
    "They are going to build a new school next to our street.",
    "You should ask your teacher if you do not understand the question.",
)
PROMISED = 3  # words that a draft begins with
BATCH = 32
SORTED = 100_000  # numbers whose sorting a sentence is compared with
ALONE_MS, START_S = 60.0, 1.0  # the targets
FRESH = """
from mmstream.translation.engine import Request
from mmstream.translation.models import load
load({model!r}, "en", [{target!r}])[{target!r}].translate([Request("Good morning.", {target!r})], "en")
"""


def measure_translation(rounds: int, model: str, targets: Sequence[str], say: Callable[[str], None]) -> Report:
    """Twelve sentences of twelve words, ``rounds`` times, by one core.

    Raises:
        MmstreamError: there is no such translator.
    """
    engines = load(model, "en", targets)
    engine, target = engines[targets[0]], targets[0]
    alone: list[float] = []
    slowest: list[float] = []
    drafts: list[float] = []
    together: list[float] = []
    rate: list[float] = []
    ratio: list[float] = []
    with _one_core():
        _each(engine, target)  # the first calls are slower
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            unit_s = _sort_s()
            times = _each(engine, target)
            alone.append(1000 * median(times))
            slowest.append(1000 * percentile(times, 95))
            ratio.append(median(times) / unit_s)
            drafts.append(1000 * median(_each(engine, target, promised=PROMISED)))
            together.append(1000 * median(_all_targets(engines)))
            rate.append(_sentences_per_second(engine, target))
    say("new processes")
    starts = tuple(_start_s(model, target) for _ in range(rounds))
    figures = [
        Figure("a sentence of 12 words alone, p50", "ms", tuple(alone), at_most=ALONE_MS),
        Figure("the same, p95", "ms", tuple(slowest)),
        Figure(f"the same in sorts of {SORTED:,} numbers", "sorts", tuple(ratio)),
        Figure(f"a draft behind {PROMISED} promised words, p50", "ms", tuple(drafts)),
        Figure(f"a sentence into {', '.join(targets)} in one call, p50", "ms", tuple(together)),
        Figure(f"sentences in batches of {BATCH}", "per s", tuple(rate)),
        Figure("a new process to its first translation", "s", starts, at_most=START_S),
    ]
    settings = {"rounds": rounds, "model": model, "targets": ", ".join(targets), "cores": 1}
    notes = ["The start is that of the interpreter, with all imports and the model; it may use every core."]
    return Report("translate", "Translation", settings, figures, notes)


def _each(engine: Engine, target: str, promised: int = 0) -> list[float]:
    """Seconds that each sentence takes; ``promised``: behind so many words of its own translation."""
    times = []
    for sentence in SENTENCES:
        request = Request(sentence, target)
        if promised:
            request = Request(sentence, target, engine.translate([request], "en")[0].words[:promised])
        began = time.perf_counter()
        engine.translate([request], "en")
        times.append(time.perf_counter() - began)
    return times


def _all_targets(engines: Mapping[str, Engine]) -> list[float]:
    """Seconds that each sentence takes into every language; one call for those that share a model."""
    times = []
    for sentence in SENTENCES:
        began = time.perf_counter()
        for engine in {id(one): one for one in engines.values()}.values():
            into = [target for target, one in engines.items() if one is engine]
            engine.translate([Request(sentence, target) for target in into], "en")
        times.append(time.perf_counter() - began)
    return times


def _sentences_per_second(engine: Engine, target: str) -> float:
    requests = [Request(SENTENCES[number % len(SENTENCES)], target) for number in range(2 * BATCH)]
    began = time.perf_counter()
    for at in range(0, len(requests), BATCH):
        engine.translate(requests[at : at + BATCH], "en")
    return len(requests) / (time.perf_counter() - began)


def _sort_s() -> float:
    """Seconds that sorting SORTED numbers takes, the median of some."""
    numbers = np.random.default_rng(0).standard_normal(SORTED)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        np.sort(numbers)
        times.append(time.perf_counter() - began)
    return median(times)


def _start_s(model: str, target: str) -> float:
    """Seconds from the start of an interpreter to its first translation.

    Raises:
        MmstreamError: it failed.
    """
    began = time.perf_counter()
    command = [sys.executable, "-c", FRESH.format(model=model, target=target)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise MmstreamError(f"a new process did not translate: {ended.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - began


@contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread, and threads that it starts, on one core where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
