"""How far a translation is behind what is said, and how often what was shown of it is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mmstream.media import Word


@dataclass(frozen=True, slots=True)
class Told:
    """A word of a translation that has become stable."""

    text: str
    read_s: float  # media seconds that had been heard by then
    at_s: float  # wall-clock seconds since media second 0
    behind_s: float | None  # since the last source word that it and those before it need was stable; None: not known


@dataclass(slots=True)
class Talk:
    """All that was shown of one clip's translation."""

    seconds: float  # media, of the clip
    reference: str
    words: list[Told] = field(default_factory=list)
    revised: int = 0  # words that were shown and that others, or nothing, replaced
    broken: int = 0  # stable words that were changed: there must be none

    @property
    def text(self) -> str:
        return " ".join(one.text for one in self.words)


@dataclass(frozen=True, slots=True)
class Lag:
    """Over all clips. Seconds; None where there is nothing to measure.

    ``laal_s``: length-adaptive average lagging, by the media that had been read when a word became stable, as if
    computing took no time; ``laal_ca_s``: by the wall clock. ``behind_s``: from the moment from which the transcript
    held all that a word needs, to the one from which the word held. Revision rate: words that were shown and later
    changed, divided by final words.
    """

    laal_s: float | None
    laal_ca_s: float | None
    behind_s: Mapping[str, float] | None  # p50, p90
    revision_rate: float | None
    changed_stable_words: int
    words: int
    clips_without_words: int

    def to_json(self) -> dict[str, Any]:
        def rounded(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {name: rounded(one) for name, one in value.items()}
            return round(value, 3) if isinstance(value, float) else value

        return {name: rounded(value) for name, value in asdict(self).items()}


def laal(delays: Sequence[float], source: float, reference: int) -> float | None:
    """Length-adaptive average lagging of one sentence (Papi et al., AutoSimTrans 2022), in the unit of ``delays``.

    ``delays``: how much of the source, which is ``source`` long, had been read at each word; ``reference``: words of
    the reference. Words are counted up to the first that came when all of the source had been read, as in SimulEval:
    behind it nobody waits for the speaker any more. None without words.
    """
    if not delays or source <= 0:
        return None
    pace = source / max(len(delays), reference)
    last = next((at for at, delay in enumerate(delays) if delay >= source), len(delays) - 1)
    return sum(delay - at * pace for at, delay in enumerate(delays[: last + 1])) / (last + 1)


def lag(talks: Sequence[Talk]) -> Lag:
    """Means over clips, percentiles over words."""
    by_media = [_of(talk, [word.read_s for word in talk.words]) for talk in talks]
    by_clock = [_of(talk, [word.at_s for word in talk.words]) for talk in talks]
    behind = [word.behind_s for talk in talks for word in talk.words if word.behind_s is not None]
    words = sum(len(talk.words) for talk in talks)
    return Lag(
        laal_s=_mean(by_media),
        laal_ca_s=_mean(by_clock),
        behind_s={f"p{at}": float(np.percentile(behind, at)) for at in (50, 90)} if behind else None,
        revision_rate=sum(talk.revised for talk in talks) / words if words else None,
        changed_stable_words=sum(talk.broken for talk in talks),
        words=words,
        clips_without_words=sum(not talk.words for talk in talks),
    )


class Follower:
    """Follows the captions and the translation of one clip as they are shown."""

    def __init__(self, talk: Talk, origin: float) -> None:
        """``origin``: wall-clock second of media second 0."""
        self._talk, self._origin = talk, origin
        self._texts: dict[int, tuple[str, ...]] = {}  # of each utterance's translation, as shown last
        self._stable: dict[int, int] = {}  # how many of these are stable
        self._heard: list[tuple[float, float]] = []  # end of a stable source word, media; when it became so, wall clock
        self._counted: dict[int, int] = {}  # stable source words of each utterance

    def heard(self, index: int, stable: Sequence[Word], now: float) -> None:
        """A caption is shown at the wall-clock second ``now``."""
        for word in stable[self._counted.get(index, 0) :]:
            self._heard.append((word.end, now))
        self._counted[index] = max(self._counted.get(index, 0), len(stable))

    def translated(
        self, index: int, stable: Sequence[Word], unstable: Sequence[Word], read_s: float, now: float
    ) -> None:
        """A translation is shown at ``now``, when ``read_s`` media seconds had been heard."""
        texts = tuple(word.text for word in (*stable, *unstable))
        before, count = self._texts.get(index, ()), self._stable.get(index, 0)
        changed = [at for at, text in enumerate(before) if at >= len(texts) or texts[at] != text]
        self._talk.revised += len(changed)
        self._talk.broken += sum(at < count for at in changed) + (len(stable) < count)
        for word in stable[count:]:
            self._talk.words.append(Told(word.text, read_s, now - self._origin, self._behind(word, now)))
        self._texts[index], self._stable[index] = texts, max(count, len(stable))

    def _behind(self, word: Word, now: float) -> float | None:
        """A word's end is that of the last source word that it and those before it need."""
        needed = [at for end, at in self._heard if end <= word.end + 0.001]
        return now - needed[-1] if needed else None


def _of(talk: Talk, delays: Sequence[float]) -> float | None:
    return laal(delays, talk.seconds, len(talk.reference.split()))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
