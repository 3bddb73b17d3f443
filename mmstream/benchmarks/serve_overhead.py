"""What the way through a server adds to the latency of live captions: one file, in this process and through it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from mmstream.benchmarks.serve_client import SAMPLE_RATE, Event, Pace, ServerProcess, connected, server, speak
from mmstream.benchmarks.speech import Recording, record
from mmstream.benchmarks.table import Figure, percentile
from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError, Packet, Sink
from mmstream.drive import run_to_end, running
from mmstream.executors import Executor
from mmstream.graph import Graph
from mmstream.media import Caption, Word
from mmstream.observe.words import Words
from mmstream.recipe import Recipe, SinkNode
from mmstream.registry import resolve

HERE = "mmstream.benchmarks.serve_overhead"
OVERHEAD_MS = 60.0  # of p50
WARM_S = 5.0  # media seconds of the sessions that come first, and do not count
LEAD_S = 0.2  # wall-clock seconds between the start of a session and its first packet

Say = Callable[[str], None]


@dataclass
class Shown:
    """When the captions of one session were shown, after the capture of their words. Wall-clock seconds."""

    commit_s: list[float] = field(default_factory=list)  # by word, from its end
    texts: list[str] = field(default_factory=list)  # of the committed words
    _first: dict[int, float] = field(default_factory=dict)  # utterance -> media time at which it was first shown
    _onset: dict[int, float] = field(default_factory=dict)  # utterance -> media second at which it begins
    _words: Words = field(default_factory=Words)

    def take(self, packet: Packet[Caption], now: float) -> None:
        caption = packet.data
        if caption.words:
            self._first.setdefault(caption.index, now - (packet.captured_at - packet.end))
            self._onset[caption.index] = caption.words[0].start
        for word in self._words.take(packet, now):
            self.commit_s.append(word.committed_at - word.captured_at)
            self.texts.append(word.word.text)

    @property
    def first_partial_s(self) -> list[float]:
        """By utterance, from its onset."""
        return [self._first[index] - onset for index, onset in self._onset.items()]

    def p50_ms(self) -> tuple[float, float]:
        """Of the first partial, and of the commits."""
        return 1000 * percentile(self.first_partial_s, 50), 1000 * percentile(self.commit_s, 50)


class Screen(Sink[Shown]):
    """Where the words of a session in this process are shown."""

    accepts: ClassVar[tuple[type, ...]] = (Caption,)

    def __init__(self, shown: Any = None) -> None:
        """``shown``: what is noted, by session."""
        self.shown: dict[str, Shown] = {} if shown is None else shown

    def open(self, session: str) -> Shown:
        return self.shown.setdefault(session, Shown())

    def process(self, packet: Packet[Caption], state: Shown) -> Iterable[Packet[Any]]:
        state.take(packet, self.clock.now())
        return ()


def compare(model: str, seconds: float, rounds: int, speech: Path | None, say: Say) -> list[Figure]:
    """The latencies of both ways, round by round, after a short session of each that does not count.

    Raises:
        MmstreamError: a session failed or showed nothing, or the speech or the model cannot be had.
    """
    recording = record(speech, seconds, SAMPLE_RATE)
    here: list[Shown] = []
    there: list[Shown] = []
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / "speech.flac"
        shown: dict[str, Shown] = {}
        executor = stack.enter_context(running("local", _live_graph(model, file, shown)))
        process = stack.enter_context(server(["serve", "--port", "0", "--model", model]))
        warm = record(speech, WARM_S, SAMPLE_RATE)
        warm.write_flac(file)
        _play_here(executor, "warm", shown)
        asyncio.run(_play_there(process, warm))
        recording.write_flac(file)
        for number in range(rounds):
            for way in ("here", "there") if number % 2 else ("there", "here"):
                if way == "here":
                    here.append(_checked(_play_here(executor, f"round-{number}", shown)))
                else:
                    there.append(_checked(asyncio.run(_play_there(process, recording))))
            say(f"overhead, round {number + 1} of {rounds}: {_told(here[-1], there[-1])}")
    return _figures(here, there)


def _live_graph(model: str, file: Path, shown: dict[str, Shown]) -> Graph:
    """What ``mmstream live FILE`` runs, with a screen of ours."""
    recipe = Recipe(allow=[HERE])
    chosen = resolve(model)
    recipe.recognise_with(chosen, watched=True)
    recipe.listen_to("operators.sources:MediaFile", {"path": str(file), "pace": "realtime"}, live=False)
    if "video" in chosen.media:
        recipe.look_at_source()
    recipe.write_to([SinkNode("screen", f"{HERE}:Screen", {})])
    graph = recipe.graph()
    screen = replace(graph.nodes["screen"], arguments={"shown": shown})
    return replace(graph, nodes={**graph.nodes, "screen": screen})


def _play_here(executor: Executor, session: str, shown: dict[str, Shown]) -> Shown:
    result = run_to_end(executor, session)
    if result.error is not None:
        raise result.error
    return shown[session]


async def _play_there(process: ServerProcess, recording: Recording) -> Shown:
    shown = Shown()
    async with connected(process.live) as socket:
        pace = Pace(b"".join(piece.tobytes() for piece in recording.pieces), SYSTEM_CLOCK.now() + LEAD_S)

        def hear(event: Event, now: float) -> None:
            if event["type"] == "caption":
                shown.take(_caption(event, pace.origin), now)

        await speak(socket, pace, hear)
    return shown


def _caption(event: Event, origin: float) -> Packet[Caption]:
    stable, unstable = (
        tuple(Word(one["word"], one["start"], one["end"], one["confidence"], one["video"]) for one in event[part])
        for part in ("stable", "unstable")
    )
    caption = Caption(event["index"], stable, unstable, event["final"], event["language"])
    return Packet("there", event["start"], event["end"], caption, origin + event["end"])


def _checked(shown: Shown) -> Shown:
    if not shown.commit_s:
        raise MmstreamError("the model heard no word in the speech: give it another with --speech")
    return shown


def _told(here: Shown, there: Shown) -> str:
    (first, commit), (first_there, commit_there) = here.p50_ms(), there.p50_ms()
    return f"first partial {first:.0f} and {first_there:.0f} ms, commit {commit:.0f} and {commit_there:.0f} ms"


def _figures(here: Sequence[Shown], there: Sequence[Shown]) -> list[Figure]:
    figures = []
    for place, name in enumerate(("first partial", "commit")):
        one, other = (tuple(shown.p50_ms()[place] for shown in way) for way in (here, there))
        added = tuple(b - a for a, b in zip(one, other, strict=True))
        figures += [
            Figure(f"{name} in this process: p50", "ms", one),
            Figure(f"{name} through the server: p50", "ms", other),
            Figure(f"{name}: what the server adds to p50", "ms", added, at_most=OVERHEAD_MS),
        ]
    differ = tuple(float(a.texts != b.texts) for a, b in zip(here, there, strict=True))
    figures.append(Figure("rounds in which the words differed", "", (sum(differ),), at_most=0.0))
    return figures
