"""One process's part of a sweep: a clip is decoded and its mouth found once, then heard in every condition."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmstream.chain import through
from mmstream.core import MmstreamError, Packet
from mmstream.evaluation.cells import simplest
from mmstream.evaluation.conditions import (
    LIVE_CHUNK_MS,
    SAMPLE_RATE,
    Clip,
    Condition,
    Disturbance,
    Modality,
    Setup,
    Take,
)
from mmstream.evaluation.splice import from_on, up_to
from mmstream.evaluation.trial import read_lines, text_of, video_shares
from mmstream.executors import Executor, make
from mmstream.graph import Graph
from mmstream.media import Mouth
from mmstream.record import Arguments
from operators.audio.resample import Resample
from operators.sources.replay import Record, ReplayAudio, ReplayMouths, ReplayVideo

Recording = Sequence[Packet[Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """What was recognised of a clip in one condition."""

    text: str
    video: tuple[float, ...]  # how far video contributed to each word, 0..1


@dataclass
class _Player:
    """A running graph, whose sources play from memory."""

    graph: Graph
    executor: Executor


@dataclass
class Stage:
    """Runs clips, one at a time. Use it in one thread, and ``close`` it."""

    setup: Setup
    disturbance: Disturbance
    stopping: Callable[[], bool] = lambda: False  # asked between conditions
    _kept: dict[str, list[Packet[Any]]] = field(default_factory=dict)
    _players: dict[str, _Player] = field(default_factory=dict)
    _count: int = 0  # of sessions

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mmstream-")

    def close(self) -> None:
        for player in self._players.values():
            player.executor.close()
        self._folder.cleanup()

    def hear(self, clip: Clip, conditions: Sequence[Condition]) -> dict[Condition, Found]:
        """The clip in every condition; those that are the same for it are run once.

        Raises:
            MmstreamError: it could not be recognised; the message names the file.
        """
        try:
            return self._hear(clip, conditions)
        except MmstreamError as error:
            plain = self.setup.plainly(error)
            raise MmstreamError(str(plain) if clip.media in str(plain) else f"{clip.media}: {plain}") from error

    def _hear(self, clip: Clip, conditions: Sequence[Condition]) -> dict[Condition, Found]:
        alike = {condition: simplest(condition, clip, self.disturbance) for condition in conditions}
        sound = list(Take(clip, "audio", [Resample(SAMPLE_RATE)], LIVE_CHUNK_MS))
        looks = any(condition.modality != "audio" for condition in conditions)
        mouths = self._mouths(clip, sound) if looks else []
        found: dict[Condition, Found] = {}
        for condition in dict.fromkeys(alike.values()):
            if self.stopping():
                raise MmstreamError("the sweep was stopped")
            found[condition] = self._run(clip, condition, sound, mouths)
        return {condition: found[same] for condition, same in alike.items()}

    def _run(self, clip: Clip, condition: Condition, sound: Recording, mouths: Recording) -> Found:
        player = self._player("audio" if condition.modality == "audio" else "av")
        heard: Recording = []
        if condition.modality != "video":
            heard = list(through(self.disturbance.on_sound(condition), sound, clip.name))
        seen = list(through(self.disturbance.on_video(condition, clip.seconds), mouths, clip.name))
        session = self._play(player, heard, seen)
        lines = read_lines(Path(self._folder.name), session)
        return Found(text_of(lines), tuple(video_shares(lines)))

    def _mouths(self, clip: Clip, sound: Recording) -> Recording:
        """The mouths of a clip, as the graph finds them in it as recorded."""
        return self._kept.pop(self._play(self._player("mouths"), sound, Take(clip, "video")))

    def _play(self, player: _Player, sound: Iterable[Packet[Any]], sight: Iterable[Packet[Any]]) -> str:
        """Run a session to its end and give its name. An interruption passes through: half a clip is no result."""
        self._count += 1
        session = str(self._count)
        player.executor.open(session, _played(player.graph, sound, sight))
        result = player.executor.wait()
        assert result is not None
        if result.error is not None:
            raise result.error
        return session

    def _player(self, part: str) -> _Player:
        """The part ``audio``, ``av`` or ``mouths`` of the pipeline, started when first asked for."""
        if part not in self._players:
            graph = self._graph(part)
            executor = make("local", graph)
            executor.start()
            self._players[part] = _Player(graph, executor)
        return self._players[part]

    def _graph(self, part: str) -> Graph:
        modality: Modality = "audio" if part == "audio" else "av"
        graph = self.setup.graph(modality, f"{self._folder.name}/{{session}}.jsonl")
        if part == "audio":
            return graph
        node = mouth_node(graph)
        if part == "mouths":
            return up_to(graph, node, Record, {"kept": self._kept})
        return from_on(graph, node, ReplayMouths)


def mouth_node(graph: Graph) -> str:
    """The node that gives mouths.

    Raises:
        MmstreamError: there is none.
    """
    found = [name for name, node in graph.nodes.items() if Mouth in node.kind.emits]
    if len(found) != 1:
        raise MmstreamError(f"{graph.path}: a sweep needs one node that gives mouths; there are {len(found)}")
    return found[0]


def _played(graph: Graph, sound: Iterable[Packet[Any]], sight: Iterable[Packet[Any]]) -> Arguments:
    """What the sources of a graph play."""
    given: dict[str, dict[str, Any]] = {}
    for name, node in graph.nodes.items():
        if issubclass(node.kind, ReplayAudio):
            given[name] = {"packets": sound}
        elif issubclass(node.kind, (ReplayVideo, ReplayMouths)):
            given[name] = {"packets": sight}
    return given
