"""The conditions that a recogniser is measured in: which media it gets, and what was done to them.

A session's media come from memory (``operators.sources.replay``), made on the way by a chain of ordinary operators
over the file: the graph that is measured is the one that users run, from its sources on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mmstream.chain import through
from mmstream.core import MmstreamError, Operator, Packet
from mmstream.evaluation.manifest import Entry
from mmstream.graph import Graph
from mmstream.recipe import FILE_CHUNK_MS, Recipe, file_sink
from mmstream.record import Arguments
from mmstream.registry import Model
from operators.audio.noise import AddNoise, noise_files, read_noise
from operators.audio.resample import Resample
from operators.sources import MediaFile, probe
from operators.sources.container import Streams
from operators.sources.replay import ReplayAudio, ReplayVideo
from operators.video.loss import DropFrames, Kind, Shift

Modality = Literal["audio", "video", "av"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
SAMPLE_RATE = 16_000  # Hz, at which noise is mixed in
LIVE_CHUNK_MS = 100  # at 1.0x; and beside pictures, where the gaps of single lost ones let coarser sound go too early
OFFSET_MS = (-10_000.0, 10_000.0)  # of video, which anybody can mean


@dataclass(frozen=True, slots=True)
class Condition:
    """One cell of a sweep."""

    modality: Modality = "audio"
    snr_db: float | None = None  # None: as recorded
    drop_video: float = 0.0  # fraction of the pictures
    drop_kind: Kind = "random"
    av_offset_ms: float = 0.0  # by which video is late against the sound

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [self.modality, "as recorded" if self.snr_db is None else f"{self.snr_db:g} dB"]
        if self.drop_video:
            parts.append(f"{100 * self.drop_video:g}% of video lost ({self.drop_kind})")
        if self.av_offset_ms:
            parts.append(f"video {self.av_offset_ms:+g} ms")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Clip:
    """An entry of a manifest, with the name that its draws of noise and loss depend on."""

    name: str
    entry: Entry

    @property
    def media(self) -> str:
        return str(self.entry.media)

    @property
    def seconds(self) -> float:
        return self.entry.duration or probe(self.media).duration_s or 0.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What makes the conditions: recorded noise, and the seed of every draw."""

    noise: Path | None = None  # a recording, or a folder of them
    seed: int = 0

    def on_sound(self, condition: Condition) -> list[Operator[Any]]:
        """Operators that put the condition on the sound of a clip."""
        if condition.snr_db is None:
            return []
        if self.noise is None:
            raise ValueError("a condition with snr_db needs noise")
        return [Resample(SAMPLE_RATE), AddNoise(str(self.noise), condition.snr_db, self.seed)]

    def on_video(self, condition: Condition, length_s: float) -> list[Operator[Any]]:
        """Operators that put the condition on pictures, or mouths, of a clip of ``length_s`` seconds."""
        operators: list[Operator[Any]] = []
        if condition.drop_video:
            operators.append(DropFrames(condition.drop_video, condition.drop_kind, self.seed, length_s))
        if condition.av_offset_ms:
            operators.append(Shift(condition.av_offset_ms, until_s=length_s))
        return operators


@dataclass(frozen=True, slots=True)
class Take:
    """One medium of a clip, decoded when iterated and passed through ``operators``. Picklable."""

    clip: Clip
    streams: Streams
    operators: Sequence[Operator[Any]] = ()
    chunk_ms: int = FILE_CHUNK_MS

    def __iter__(self) -> Iterator[Packet[Any]]:
        source = MediaFile(self.clip.media, self.streams, chunk_ms=self.chunk_ms)
        return through(self.operators, source.packets(self.clip.name), self.clip.name)


@dataclass
class Setup:
    """A model in a pipeline, as far as commands have settled it, for one modality at a time."""

    model: Model
    pipeline: Path | None = None
    sets: Sequence[str] = ()
    allow: Sequence[str] = ()
    workers: int = 1
    recipes: list[Recipe] = field(default_factory=list)  # that graphs were made from, the last one last

    def graph(self, modality: Modality, output: str, *, realtime: bool = False) -> Graph:
        """The graph that users run on a file, with media from memory in and JSON lines out to the path ``output``.

        Its sources are ``ReplayAudio`` and, where the modality has video, ``ReplayVideo``; without sound, the former
        plays nothing.

        Raises:
            PipelineError: every problem of the file.
            MmstreamError: the model does not use that medium.
        """
        check_media(self.model, modality)
        recipe = Recipe(self.pipeline, sets=self.sets, allow=self.allow)
        pace = {"pace": "realtime" if realtime else "fast"}
        recipe.recognise_with(self.model, watched=realtime)
        recipe.listen_to("operators.sources.replay:ReplayAudio", pace, live=False)
        if modality != "audio":
            recipe.look_through("operators.sources.replay:ReplayVideo", pace)
        recipe.replicate(self.workers)
        recipe.write_to([file_sink(output)])
        self.recipes.append(recipe)
        return recipe.graph()

    def plainly(self, error: MmstreamError) -> MmstreamError:
        """``error`` for somebody who knows files, not nodes."""
        return self.recipes[-1].plainly(error) if self.recipes else error


def check_media(model: Model, modality: Modality) -> None:
    """Whether the model can be asked for that modality.

    Raises:
        MmstreamError: it cannot.
    """
    if modality != "audio" and "video" not in model.media:
        raise MmstreamError(f"--modality {modality}: model {model.name!r} uses sound only; say --modality audio")


def check_noise(path: Path) -> None:
    """Whether noise can be taken from ``path``: a recording, or a folder or pattern, of which the first is tried.

    Raises:
        MmstreamError: there is none, it cannot be read, or it is silent.
    """
    read_noise(noise_files(path)[0], SAMPLE_RATE)


def arguments(
    graph: Graph, clip: Clip, condition: Condition, disturbance: Disturbance, *, origin: float | None = None
) -> Arguments:
    """What the sources of ``graph`` play in a session: the clip under the condition.

    With an ``origin``, the wall time of media second 0, it is played at 1.0x, and else as fast as possible.
    """
    looks = any(issubclass(node.kind, ReplayVideo) for node in graph.nodes.values())
    chunk_ms = FILE_CHUNK_MS if origin is None and not looks else LIVE_CHUNK_MS
    given: dict[str, dict[str, Any]] = {}
    take: Take | tuple[()]
    for name, node in graph.nodes.items():
        if issubclass(node.kind, ReplayAudio):
            heard = condition.modality != "video"
            take = Take(clip, "audio", disturbance.on_sound(condition), chunk_ms) if heard else ()
        elif issubclass(node.kind, ReplayVideo):
            take = Take(clip, "video", disturbance.on_video(condition, clip.seconds))
        else:
            continue
        given[name] = {"packets": take, "pace": "fast" if origin is None else "realtime", "origin": origin}
    return given


def clips_of(entries: Sequence[Entry], manifest: Path) -> list[Clip]:
    """The entries under names of their own: the place of the media below the manifest, or its name alone."""
    counts: dict[str, int] = {}
    clips = []
    for entry in entries:
        below = entry.media.is_relative_to(manifest.parent) and ".." not in entry.media.parts
        name = str(entry.media.relative_to(manifest.parent)) if below else entry.media.name
        counts[name] = counts.get(name, 0) + 1
        clips.append(Clip(name if counts[name] == 1 else f"{name}#{counts[name]}", entry))
    return clips
