"""``mmstream bench batching``: the recogniser ``avsr`` over many sessions, in shared calls and one at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmstream.benchmarks.speech import record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import BatchOperator, Operator, Packet
from mmstream.media import AudioChunk, Hypothesis, Mouth, Word

SAMPLE_RATE = 16_000
TICK_S = 0.1  # media seconds that come of every session at a time
PICTURES_PER_S = 25
SESSIONS = (1, 4, 16, 32)
THREADS = (1, 2)
TARGET_SESSIONS, TARGET = 16, 2.0
Media = Literal["audio", "audio-visual"]

Packets = list[list[Packet[Any]]]  # by session


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    media: Media
    sessions: int
    threads: int  # of torch

    def __str__(self) -> str:
        return f"{self.media}, {_count(self.sessions, 'session')}, {_count(self.threads, 'thread')}"


CASES = (
    *(Case("audio", sessions, threads) for threads in THREADS for sessions in SESSIONS),
    Case("audio-visual", TARGET_SESSIONS, 1),
)


class Node:
    """One operator and the states of all sessions."""

    def __init__(self, operator: Operator[Any], sessions: int) -> None:
        self.operator = operator
        self.states = [operator.open(str(k)) for k in range(sessions)]

    def take(self, waiting: Packets, shared: bool) -> Packets:
        """What it gives for the packets of every session: one of each in a call, or one call for each packet."""
        given: Packets = [[] for _ in waiting]
        for place in range(max(map(len, waiting), default=0)):
            ready = [k for k, packets in enumerate(waiting) if place < len(packets)]
            packets, states = [waiting[k][place] for k in ready], [self.states[k] for k in ready]
            if shared and isinstance(self.operator, BatchOperator):
                results = self.operator.process_batch(packets, states)
            else:
                results = map(self.operator.process, packets, states)
            for k, result in zip(ready, results, strict=True):
                given[k] += result
        return given

    def end(self) -> Packets:
        return [list(self.operator.flush(state)) for state in self.states]


class Recogniser:
    """The nodes of ``avsr`` from sound and mouths to words, with states of their own."""

    def __init__(self, sessions: int) -> None:
        from operators.audio import LogMel
        from operators.decoders import Avsr
        from operators.encoders import AudioEncoder, VideoEncoder
        from operators.fusion import Fuse

        operators = (LogMel(), AudioEncoder(), VideoEncoder(), Fuse(), Avsr())
        self._nodes = [Node(operator, sessions) for operator in operators]

    def hear(self, ticks: Sequence[tuple[Packets, Packets]], shared: bool) -> list[list[Word]]:
        """The words of every session; a tick holds the sound and the mouths of every session."""
        mel, heard, seen, fuse, decode = self._nodes
        given: Packets = [[] for _ in mel.states]
        for sound, mouths in ticks:
            vectors = _merged(heard.take(mel.take(sound, shared), shared), seen.take(mouths, shared))
            _extend(given, decode.take(fuse.take(vectors, shared), shared))
        _extend(given, decode.take(fuse.take(_merged(heard.end(), seen.end()), shared), shared))
        _extend(given, decode.take(fuse.end(), shared))
        _extend(given, decode.end())
        finals = [[packet.data for packet in packets if isinstance(packet.data, Hypothesis)] for packets in given]
        return [[word for one in hypotheses if one.final for word in one.words] for hypotheses in finals]


def measure_batching(rounds: int, seconds: float, speech: Path | None, say: Callable[[str], None]) -> Report:
    """Media seconds per second, of sessions that each bring ``seconds`` of the speech, from places of their own.

    ``say`` is told what is under way.

    Raises:
        MmstreamError: the speech cannot be read, or the recogniser does not load.
    """
    import torch

    samples = np.concatenate(record(speech, seconds * 2, SAMPLE_RATE).pieces).astype(np.float32) / 32768
    before = torch.get_num_threads()
    rates: defaultdict[str, list[float]] = defaultdict(list)
    words = differ = 0
    try:
        for number in range(rounds + 1):  # the first warms up
            say(f"round {number} of {rounds}" if number else "warm-up")
            for case in CASES:
                alone, shared = _compared(case, samples, seconds, rates if number else defaultdict(list))
                words += sum(map(len, alone))
                differ += sum(one != other for one, other in zip(alone, shared, strict=True))
    finally:
        torch.set_num_threads(before)
    settings = {"rounds": rounds, "media of each session": f"{seconds:g} s", "tick": f"{1000 * TICK_S:.0f} ms"}
    figures = [*_figures(rates), Figure("sessions whose words or times differ", "", (float(differ),), at_most=0.0)]
    return Report("batching", "avsr: shared calls against one session at a time", settings, figures, _notes(words))


def _compared(
    case: Case, samples: Any, seconds: float, rates: defaultdict[str, list[float]]
) -> tuple[list[list[Word]], list[list[Word]]]:
    """The words of all sessions one at a time, and in shared calls; the rates are added."""
    import torch

    ticks = _ticks(case, samples, seconds)
    found = []
    for name, shared in (("alone", False), ("shared", True)):
        recogniser = Recogniser(case.sessions)
        torch.set_num_threads(case.threads)  # the recogniser has set its own
        began = time.perf_counter()
        found.append(recogniser.hear(ticks, shared))
        rates[f"{case}, {name}"].append(case.sessions * seconds / (time.perf_counter() - began))
    rates[f"{case}"].append(rates[f"{case}, shared"][-1] / rates[f"{case}, alone"][-1])
    return found[0], found[1]


def _ticks(case: Case, samples: Any, seconds: float) -> list[tuple[Packets, Packets]]:
    """What comes of every session, tick by tick."""
    random = np.random.default_rng(0)
    size = round(TICK_S * SAMPLE_RATE)
    ticks = []
    for tick in range(round(seconds / TICK_S)):
        sound: Packets = []
        mouths: Packets = []
        for k in range(case.sessions):
            first = tick * size + len(samples) * k // case.sessions
            chunk = samples.take(range(first, first + size), mode="wrap")[:, None]
            start, end = tick * TICK_S, (tick + 1) * TICK_S
            sound.append([Packet(str(k), start, end, AudioChunk(chunk, SAMPLE_RATE), end)])
            pictures = range(*(-(-round(time_s * 1000) * PICTURES_PER_S // 1000) for time_s in (start, end)))
            mouths.append([_mouth(str(k), one, random) for one in pictures] if case.media == "audio-visual" else [])
        ticks.append((sound, mouths))
    return ticks


def _mouth(session: str, number: int, random: np.random.Generator) -> Packet[Mouth]:
    from mmstream.nets.visual import CROP

    start, end = number / PICTURES_PER_S, (number + 1) / PICTURES_PER_S
    return Packet(session, start, end, Mouth(random.integers(0, 256, (CROP, CROP), np.uint8), 0.9, 1.0), end)


def _merged(one: Packets, other: Packets) -> Packets:
    """Both by session, in order of ``start``."""
    return [sorted([*a, *b], key=lambda packet: packet.start) for a, b in zip(one, other, strict=True)]


def _extend(given: Packets, more: Packets) -> None:
    for packets, added in zip(given, more, strict=True):
        packets += added


def _figures(rates: defaultdict[str, list[float]]) -> list[Figure]:
    figures = []
    for case in CASES:
        target = TARGET if case.sessions == TARGET_SESSIONS else None
        for name in ("alone", "shared"):
            figures.append(Figure(f"{case}: {name}", "media s/s", tuple(rates[f"{case}, {name}"])))
        figures.append(Figure(f"{case}: gain", "times", tuple(rates[f"{case}"]), at_least=target))
    return figures


def _notes(words: int) -> tuple[str, ...]:
    return (
        "Sessions are in step: each call holds a packet of every session. Reading the media does not count, the "
        "spectrogram does, and is not shared. Mouths are noise: what they show does not change what they cost.",
        f"{words:,} words were compared.",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
