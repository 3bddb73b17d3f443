"""Translations that a recogniser makes of the sound itself, beside what it writes in the language spoken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mmstream.core import Operator, Packet
from mmstream.media import Caption, Gap, Hypothesis, Translation
from operators.policies import Commit, CommitState, PolicyName

KEPT = 8  # utterances that one of the two recognitions may be ahead of the other


@dataclass
class Utterance:
    """One utterance, by both recognitions."""

    index: int | None = None  # of its caption; None: there is none yet
    latest: Packet[Caption] | None = None  # its translation as it is by now
    over: bool = False  # its translation changes no more
    told: bool = False  # and that has been said


@dataclass
class SpokenState:
    """One session."""

    commit: CommitState
    utterances: dict[float, Utterance] = field(default_factory=dict)  # by its begin, media seconds; the newest last


class Spoken(Operator[SpokenState]):
    """Hypotheses in English of speech in another language, and its captions -> translations, numbered as the captions.

    The hypotheses are those of Whisper's task ``translate`` (Radford et al., ICML 2023) over the same utterances as the
    captions: what begins at the same second is the same utterance. ``policy`` and ``n`` as of
    ``operators.policies:Commit``. An utterance of which only one of the two made words has no translation, or an
    empty one.

    Errors: ValueError for an unknown policy or a number out of range.
    """

    accepts: ClassVar[tuple[type, ...]] = (Hypothesis, Caption, Gap)
    emits: ClassVar[tuple[type, ...]] = (Translation,)
    any_order: ClassVar[bool] = True  # of two recognitions neither waits for the other
    hears: ClassVar[str] = "en"  # the language of its translations
    watched: ClassVar[dict[str, object]] = {"policy": "local_agreement", "n": 2}
    unwatched: ClassVar[dict[str, object]] = {"policy": "final"}

    def __init__(self, policy: PolicyName = "local_agreement", n: int = 2) -> None:
        self._commit = Commit(policy, n)

    def open(self, session: str) -> SpokenState:
        return SpokenState(self._commit.open(session))

    def process(self, packet: Packet[Any], state: SpokenState) -> Iterator[Packet[Translation]]:
        if isinstance(packet.data, Gap):
            return
        utterance = self._utterance(packet.start, state)
        if isinstance(packet.data, Caption):
            new = utterance.index is None
            utterance.index = packet.data.index
            if new and utterance.latest is not None:
                yield _translation(utterance.latest, utterance)
            yield from _ended(packet, utterance)
            return
        for committed in self._commit.process(packet, state.commit):
            utterance.latest = committed
            if utterance.index is not None:
                yield _translation(committed, utterance)
        utterance.over = utterance.over or packet.data.final
        yield from _ended(packet, utterance)

    def flush(self, state: SpokenState) -> Iterator[Packet[Translation]]:
        """What has a caption has a final translation in the end, whatever became of the other recognition."""
        for utterance in state.utterances.values():
            if utterance.index is not None and not utterance.told and utterance.latest is not None:
                caption = utterance.latest.data
                yield utterance.latest.derive(
                    Translation(utterance.index, caption.words, (), True, self.hears)
                )  # fmt: skip

    def _utterance(self, start: float, state: SpokenState) -> Utterance:
        found = state.utterances.get(start)
        if found is None:
            found = state.utterances[start] = Utterance()
            for old in list(state.utterances)[:-KEPT]:
                del state.utterances[old]
        return found


def _translation(packet: Packet[Caption], utterance: Utterance) -> Packet[Translation]:
    caption = packet.data
    assert utterance.index is not None
    utterance.told = caption.final
    return packet.derive(
        Translation(utterance.index, caption.stable, caption.unstable, caption.final, Spoken.hears)
    )  # fmt: skip


def _ended(packet: Packet[Any], utterance: Utterance) -> Iterator[Packet[Translation]]:
    """An utterance that was translated into nothing ends all the same."""
    if utterance.over and utterance.index is not None and not utterance.told:
        utterance.told = True
        yield packet.derive(Translation(utterance.index, (), (), True, Spoken.hears))
