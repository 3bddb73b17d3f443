"""Where a long file can be cut: in pauses between utterances, so that its pieces are heard as the whole would be."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, Medium, Speech
from operators.audio import Resample, Vad
from operators.sources import MediaFile
from operators.sources.container import Streams, open_file
from operators.sources.errors import SourceError
from operators.sources.tracks import TOLERANCE_S

SAMPLE_RATE = 16_000  # Hz, of the voice activity model
SEARCH_SHARE = 0.15  # of a piece's length, before and after its intended end, in which a pause is looked for
LONG_PAUSE_S = 1.0  # a longer pause is no better
MARGIN_S = 1.0  # of a long pause that stay on either side of the cut
CHUNK_MS = 1000  # of sound that is judged at a time
LEVEL_S = 0.032  # the loudness of speech is taken over stretches of this length
LEVELS = 9  # that are averaged where there is no pause at all

Span = tuple[float, float]  # media seconds


@dataclass
class Sound:
    """What is heard around one intended cut."""

    heard: list[Span] = field(default_factory=list)  # without a break, in order
    speech: list[Span] = field(default_factory=list)  # of utterances with the silence that belongs to them, in order
    levels: list[tuple[float, float]] = field(default_factory=list)  # (media second, mean square)


def find_cuts(
    path: Path, duration_s: float, split_s: float, streams: Streams, vad: Vad, stopping: threading.Event
) -> list[float]:
    """The media seconds at which to cut a file into pieces of about equal length, at most ``split_s`` or little more.

    None where it is no longer than that, or where its parts cannot be read on their own: its timestamps jump back,
    or a piece would hold nothing of one of the ``streams`` that are read. Never inside lost media. Each cut is in the
    longest pause near the intended place; where nobody pauses, where it is quietest. May be called in several threads.

    Raises:
        SourceError: it is not media, or lacks a stream.
    """
    if duration_s <= split_s:
        return []
    seconds, end = _seconds_of(path, streams, stopping)
    if not seconds.get("audio"):
        return []
    count = math.ceil(end / split_s)
    cuts: list[float] = []
    for number in range(1, count):
        intended, half = number * end / count, SEARCH_SHARE * end / count
        cut = _best_cut(_listen(path, intended - half, intended + half, vad, stopping), intended)
        since = cuts[-1] if cuts else 0.0
        if cut is not None and _holds_all(seconds, since, cut) and _holds_all(seconds, cut, end):
            cuts.append(cut)
    return [] if stopping.is_set() else cuts


def _seconds_of(path: Path, streams: Streams, stopping: threading.Event) -> tuple[dict[Medium, set[int]], float]:
    """The seconds in which each medium that is read has data, and where the last sound begins, from timestamps alone.

    Nothing where they jump back.
    """
    with open_file(str(path)) as container:
        container.select(streams, threads=False)
        chosen = {medium: container.found[medium] for medium in container.selected}
        units = {medium: float(stream.time_base) for medium, stream in chosen.items()}
        latest = dict.fromkeys(chosen, -math.inf)
        seconds: dict[Medium, set[int]] = {medium: set() for medium in chosen}
        try:
            for packet in next(iter(chosen.values())).container.demux(tuple(chosen.values())):
                if not packet.size:
                    continue
                if packet.dts is None or stopping.is_set():
                    return {}, 0.0
                medium = packet.stream.type
                time = packet.dts * units[medium] - container.origin_s
                if time < latest[medium] - TOLERANCE_S:
                    return {}, 0.0
                latest[medium] = time
                seconds[medium].add(int(time))
        except container.fault:
            return {}, 0.0  # damaged: whoever reads it whole will say so
    return seconds, latest.get("audio", 0.0)


def _holds_all(seconds: dict[Medium, set[int]], start: float, end: float) -> bool:
    """Whether every medium has data well inside of ``start`` to ``end``."""
    inside = range(math.ceil(start), math.floor(end))
    return all(not seconds[medium].isdisjoint(inside) for medium in seconds)


def _listen(path: Path, start: float, end: float, vad: Vad, stopping: threading.Event) -> Sound:
    """What is heard from ``start`` to ``end``; nothing where that cannot be read."""
    sound = Sound()
    source = MediaFile(str(path), start_s=start, end_s=end, chunk_ms=CHUNK_MS)
    try:
        for stretch in _stretches(source, stopping):
            heard, state = None, vad.open("")
            for packet in stretch:
                heard = (heard[0] if heard else packet.start, packet.end)
                _note_levels(packet, sound)
                _note_speech(vad.process(packet, state), sound)
            _note_speech(vad.flush(state), sound)
            if heard:
                sound.heard.append(heard)
    except SourceError:
        return Sound()
    return sound


def _stretches(source: MediaFile, stopping: threading.Event) -> Iterator[Iterator[Packet[AudioChunk]]]:
    """The sound at ``SAMPLE_RATE``, one iterator for each stretch without lost media."""
    packets = source.packets("")
    resample = Resample(SAMPLE_RATE)
    more = True

    def stretch() -> Iterator[Packet[AudioChunk]]:
        nonlocal more
        state = resample.open("")
        for packet in packets:
            if stopping.is_set() or isinstance(packet.data, Gap):
                yield from resample.flush(state)
                return
            yield from resample.process(packet, state)
        more = False
        yield from resample.flush(state)

    while more and not stopping.is_set():
        yield stretch()


def _note_levels(packet: Packet[AudioChunk], sound: Sound) -> None:
    size = round(LEVEL_S * SAMPLE_RATE)
    samples = packet.data.samples[:, 0]
    windows = samples[: len(samples) // size * size].reshape(-1, size)  # (window, sample)
    for number, level in enumerate(np.mean(windows**2, axis=1).tolist()):
        sound.levels.append((packet.start + number * LEVEL_S, level))


def _note_speech(packets: Any, sound: Sound) -> None:
    """Enter ``Speech``; packets of one utterance follow one another."""
    packet: Packet[Speech]
    for packet in packets:
        if sound.speech and packet.start <= sound.speech[-1][1]:
            sound.speech[-1] = (sound.speech[-1][0], packet.end)
        else:
            sound.speech.append((packet.start, packet.end))


def _best_cut(sound: Sound, intended: float) -> float | None:
    """The middle of the longest pause, of several long ones that nearest to ``intended``; None without sound."""
    pauses = [pause for heard in sound.heard for pause in _pauses(heard, sound.speech)]
    places = [(_place(pause, intended), min(pause[1] - pause[0], LONG_PAUSE_S)) for pause in pauses]
    if places:
        return max(places, key=lambda place: (place[1], -abs(place[0] - intended)))[0]
    if len(sound.levels) < LEVELS:
        return None
    mean = np.convolve([level for _, level in sound.levels], np.ones(LEVELS), mode="valid")
    return sound.levels[int(np.argmin(mean)) + LEVELS // 2][0]


def _pauses(heard: Span, speech: list[Span]) -> Iterator[Span]:
    """What of ``heard`` is not ``speech``."""
    since, until = heard
    for start, end in speech:
        if since < start <= until:
            yield since, start
        if heard[0] <= start <= until:
            since = max(since, end)
    if since < until:
        yield since, until


def _place(pause: Span, intended: float) -> float:
    """Where to cut in a pause: near the intended place, away from its ends."""
    margin = min(MARGIN_S, (pause[1] - pause[0]) / 2)
    return min(max(intended, pause[0] + margin), pause[1] - margin)
