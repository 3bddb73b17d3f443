"""Speech played at 1.0x through the pipeline that users run, and when each word of its translation came."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmstream.batch import Batch, Job, named
from mmstream.core import MmstreamError, Packet, Sink
from mmstream.drive import running
from mmstream.evaluation.manifest import Entry
from mmstream.evaluation.simultaneous import Follower, Talk
from mmstream.evaluation.wer import ErrorRates, error_rates
from mmstream.media import Caption, Translation
from mmstream.recipe import Recipe, SinkNode
from mmstream.registry import Model
from operators.sources import probe

WARM_UP = "warm-up"


@dataclass
class Noted:
    """What came of one clip."""

    talk: Talk
    said: dict[int, str] = field(default_factory=dict)  # what was recognised, by utterance
    follower: Follower | None = None  # from the first packet on


class Notes(Sink[Noted]):
    """Follows captions and translations as they come. ``kept``: a ``Noted`` for each session, there before it opens."""

    accepts: ClassVar[tuple[type, ...]] = (Caption, Translation)
    any_order: ClassVar[bool] = True

    def __init__(self, kept: Any) -> None:
        self.kept: Mapping[str, Noted] = kept

    def open(self, session: str) -> Noted:
        return self.kept[session]

    def process(self, packet: Packet[Any], state: Noted) -> Iterable[Packet[Any]]:
        now = self.clock.now()
        if state.follower is None:
            state.follower = Follower(state.talk, packet.captured_at - packet.end)
        data = packet.data
        if isinstance(data, Caption):
            state.follower.heard(data.index, data.words if data.final else data.stable, now)
            state.said[data.index] = data.text
        else:
            state.follower.translated(data.index, data.stable, data.unstable, packet.end, now)
        return ()


@dataclass(frozen=True)
class Playing:
    """How clips are heard and translated."""

    recogniser: Model
    translator: str
    source: str  # BCP 47
    target: str
    policy: Mapping[str, Any]  # arguments of operators.translation:Translate
    pipeline: Path | None = None
    sets: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


def played(
    clips: Sequence[Entry], playing: Playing, told: Callable[[], None] = lambda: None
) -> tuple[list[Talk], ErrorRates]:
    """Every clip, one after another, in the order given; and how well it was recognised. ``told`` of each.

    Raises:
        MmstreamError: one of them has no translation into the target, cannot be read, or failed.
    """
    kept = {str(number): Noted(_talk(clip, playing.target)) for number, clip in enumerate(clips)}
    kept[WARM_UP] = Noted(_talk(clips[0], playing.target))
    recipe = Recipe(playing.pipeline, sets=playing.sets, allow=(*playing.allow, "mmstream.evaluation"))
    recipe.recognise_with(playing.recogniser, watched=True)
    recipe.read_file(watched=True)
    if "video" in playing.recogniser.media:
        recipe.look_at_source()
    arguments = {**playing.policy, "model": playing.translator, "source": playing.source}
    recipe.translate_into([playing.target], arguments, watched=True)
    recipe.write_to([SinkNode("notes", f"{Notes.__module__}:{Notes.__name__}", {"kept": kept})])
    graph = recipe.graph()
    jobs = [Job(clips[0].media, WARM_UP), *(Job(clip.media, str(number)) for number, clip in enumerate(clips))]
    with running("local", graph) as executor, closing(Batch(executor, recipe.source, 1).results(jobs)) as results:
        for done in results:
            if done is None:
                continue
            if done.error is not None:
                raise MmstreamError(named(done.job, recipe.plainly(done.error))) from done.error
            if done.job.name != WARM_UP:
                told()
    heard = [kept[str(number)] for number in range(len(clips))]
    said = [" ".join(text for _, text in sorted(one.said.items())) for one in heard]
    return [one.talk for one in heard], error_rates([clip.text for clip in clips], said)


def _talk(clip: Entry, target: str) -> Talk:
    reference = (clip.translations or {}).get(target)
    if reference is None:
        raise MmstreamError(f'{clip.media}: the manifest has no "translations" into {target} of it')
    return Talk(clip.duration or probe(str(clip.media)).duration_s or 0.0, reference)
