"""How far the translation of an utterance into one language has come, and what is shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmstream.media import Translation, Word
from mmstream.translation.engine import Translated
from mmstream.translation.punctuation import SENTENCE_ENDS, ends_sentence
from operators.policies import common_prefix
from operators.translation.policies import Draft, Policy


@dataclass(frozen=True, slots=True)
class Placed:
    """A word of a translation, and the word of the utterance that it comes from."""

    word: Word
    source: int  # its number in the utterance


@dataclass(frozen=True, slots=True)
class Progress:
    """One utterance and language. Every change gives a new one."""

    stable: tuple[Placed, ...] = ()
    promised: int = 0  # the last so many of ``stable`` belong to the sentence that is not over
    unstable: tuple[Placed, ...] = ()
    drafts: tuple[Draft, ...] = ()  # of the sentence that is not over, the newest last

    @property
    def prefix(self) -> tuple[str, ...]:
        """What the next draft begins with."""
        return tuple(one.word.text for one in self.stable[len(self.stable) - self.promised :])

    def ended(self, translated: Translated, heard: Sequence[Word], begin: int, end: int) -> Progress:
        """A sentence, ``heard[begin:end]``, is over: all of its translation is stable."""
        added = self._new(translated, heard, begin, end)
        return Progress(self.stable + added)

    def drafted(self, translated: Translated, heard: Sequence[Word], begin: int, sure: int, policy: Policy) -> Progress:
        """``heard[begin:]`` is as much of a sentence as is known, ``sure`` of its words for certain."""
        if heard and not ends_sentence(heard[-1].text):
            translated = replace(translated, words=_unended(translated.words, self.promised))
        draft = Draft(translated.words, translated.sources, len(heard) - begin, sure)
        drafts = (*self.drafts, draft)[-policy.drafts :]
        added = self._new(translated, heard, begin, len(heard))
        newly = max(0, policy.stable_count(drafts) - self.promised)
        return Progress(self.stable + added[:newly], self.promised + newly, added[newly:], drafts)

    def rated(self, heard: Sequence[Word]) -> Progress:
        """With the confidence and the share of video that the final caption gives the words it comes from."""
        stable = []
        for one in self.stable:
            source = heard[one.source] if one.source < len(heard) else one.word
            stable.append(replace(one, word=replace(one.word, confidence=source.confidence, video=source.video)))
        return replace(self, stable=tuple(stable))

    def shown(self, index: int, final: bool, language: str, hidden: int = 0) -> Translation:
        """As it is shown, without the last ``hidden`` words of a draft."""
        kept = self.unstable[: max(0, len(self.unstable) - hidden)]
        stable, unstable = (tuple(one.word for one in words) for words in (self.stable, kept))
        return Translation(index, stable, unstable, final, language)

    def _new(self, translated: Translated, heard: Sequence[Word], begin: int, end: int) -> tuple[Placed, ...]:
        """What ``translated`` has behind the promised words, in its place in the utterance."""
        words, count = translated.words, end - begin
        kept = common_prefix(words, self.prefix)
        placed: list[Placed] = []
        last = self.stable[-1].word if self.stable else None
        for at in range(kept, len(words)):
            inside = translated.sources[at] if translated.sources is not None else at * count // len(words)
            source = begin + min(max(inside, 0), count - 1)
            last = _timed(words[at], heard[source], last)
            placed.append(Placed(last, source))
        return tuple(placed)


def _timed(text: str, source: Word, before: Word | None) -> Word:
    """A translation's word with what is known of its source; times never go back."""
    start = source.start if before is None else max(source.start, before.start)
    end = source.end if before is None else max(source.end, before.end)
    return replace(source, text=text, start=start, end=end)


def _unended(words: tuple[str, ...], promised: int) -> tuple[str, ...]:
    """A translator ends every sentence; one that is still being spoken has no end yet."""
    if len(words) <= promised or not ends_sentence(words[-1]):
        return words
    last = words[-1].rstrip("".join(SENTENCE_ENDS))
    return (*words[:-1], last) if last else words
