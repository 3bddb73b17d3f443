"""A trace in the Trace Event Format, which Perfetto and Chrome's own viewer open.

One process for the words of the session, with a track for each; one for each process of the run, with a track for each
of its nodes. Tracks have numbers of their own over all processes, as viewers want it; times are whole microseconds
since the first event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmstream.observe.reading import Trace
from mmstream.observe.spans import Span
from mmstream.observe.waterfall import Waterfall

Event = dict[str, Any]

WORDS = 1  # process of the words


def trace_events(trace: Trace, falls: Sequence[Waterfall]) -> dict[str, Any]:
    """The whole file as plain data; ``otherData`` says at which wall-clock second time 0 is."""
    spans = [span for found in trace.spans.values() for span in found]
    moments = [span.began for span in spans] + [stage.began for fall in falls for stage in fall.stages]
    origin = min(moments, default=trace.run)
    tracks = iter(range(1, 2 + len(falls) + len(spans)))
    events = list(_words(trace.session, falls, origin, tracks))
    for process, (name, found) in enumerate(sorted(trace.spans.items()), start=WORDS + 1):
        events += _process(process, name, found, origin, tracks)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"session": trace.session, "time_0": origin, "run": trace.run},
    }


def _words(session: str, falls: Sequence[Waterfall], origin: float, tracks: Iterator[int]) -> Iterator[Event]:
    yield _name("process", WORDS, 0, f"words of {session}")
    yield _order("process", WORDS, 0, 0)
    for fall in falls:
        track, word = next(tracks), fall.word.word
        yield _name("thread", WORDS, track, f"{word.end:.2f} s {word.text}")
        yield _order("thread", WORDS, track, track)
        for stage in fall.stages:
            if stage.ended > stage.began:
                yield _complete(WORDS, track, stage.name, "word", (stage.began, stage.ended), origin, {})
        for name, at in (("shown", fall.word.emitted_at), ("committed", fall.word.committed_at)):
            yield {**_event("i", WORDS, track, name, "word"), "ts": _micro(at, origin), "s": "t"}


def _process(process: int, name: str, spans: Sequence[Span], origin: float, tracks: Iterator[int]) -> Iterator[Event]:
    yield _name("process", process, 0, name)
    yield _order("process", process, 0, process)
    by_node: dict[str, int] = {}
    for span in spans:
        if span.node not in by_node:
            track = by_node[span.node] = next(tracks)
            yield _name("thread", process, track, span.node)
            yield _order("thread", process, track, track)
        told = {
            "media_start_s": span.start,
            "media_end_s": span.end,
            "waited_ms": round(1000 * span.waited_s, 3),
            "batch": span.batch,
        }
        if span.gave is not None:
            told |= {"gave_start_s": span.gave[0], "gave_end_s": span.gave[1]}
        yield _complete(process, by_node[span.node], span.kind, "node", (span.began, span.ended), origin, told)


def _complete(
    process: int, track: int, name: str, category: str, times: tuple[float, float], origin: float, told: Event
) -> Event:
    """An event with a duration. Both ends are rounded, so what adjoins in the run adjoins in the trace."""
    began, ended = (_micro(time, origin) for time in times)
    return {**_event("X", process, track, name, category), "ts": began, "dur": max(0, ended - began), "args": told}


def _event(phase: str, process: int, track: int, name: str, category: str) -> Event:
    return {"ph": phase, "pid": process, "tid": track, "name": name, "cat": category}


def _name(what: str, process: int, track: int, name: str) -> Event:
    return {**_event("M", process, track, f"{what}_name", "__metadata"), "args": {"name": name}}


def _order(what: str, process: int, track: int, place: int) -> Event:
    return {**_event("M", process, track, f"{what}_sort_index", "__metadata"), "args": {"sort_index": place}}


def _micro(seconds: float, origin: float) -> int:
    return round(1e6 * (seconds - origin))
