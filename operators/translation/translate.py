"""Translations of captions while they are spoken, into several languages at once, append-only."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mmstream.core import MmstreamError, Packet
from mmstream.lockstep import Lockstep, Work
from mmstream.media import Caption, Gap, Translation, Word, join_words
from mmstream.translation.engine import Engine, Request, Translated
from mmstream.translation.languages import checked
from mmstream.translation.models import load
from mmstream.translation.wishes import wished
from operators.translation.policies import PolicyName, policy_named
from operators.translation.progress import Progress
from operators.translation.sentences import Limits, closed

ENGLISH = "en"
CONTEXT = 3  # sentences before the one that is translated

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What one session asks at a time."""

    source: str  # the language of the texts
    requests: tuple[Request, ...]


@dataclass
class TranslateState:
    """One session."""

    targets: tuple[str, ...]
    latest: Packet[Caption] | None = None  # the newest caption of the utterance under way
    done: int = 0  # its words whose sentences are over
    progress: dict[str, Progress] = field(default_factory=dict)  # by language
    shown: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)  # stable count, texts
    looked_at: float = float("-inf")  # media second up to which partial captions were translated
    context: tuple[str, ...] = ()  # the last sentences


Given = Work[Question, list[Translated], list[Packet[Any]]]
Asking = Generator[Question, list[Translated], None]


class Translate(Lockstep[TranslateState, Question, list[Translated]]):
    """Captions -> translations into all ``targets``, with the same ``index``. Stable words never change.

    ``targets``: BCP 47, such as de or pt-BR. ``model``: auto (the one that ships where it knows the pair), a name such
    as mt-en-de or nllb-200-distilled-600m, or a folder with a CTranslate2 model. ``source``: the language of captions
    that name none; None: English. A caption in the target language is taken as it is; one in a language that the model
    does not know gets an empty translation, and a warning.

    A sentence ends at its punctuation, at ``pause_s`` of silence, or after ``longest`` words; once its words are
    stable, all of its translation is. Before that ``policy`` decides: nothing (``sentence``; ``clause`` ends sentences
    at commas too), k words behind (``wait_k``), what n drafts in a row agree on (``local_agreement``), or what does not
    attend to the last k words heard (``alignatt``); ``k`` is that number. Source words of less than
    ``min_confidence``, and all behind them, let nothing be promised before their utterance is over. With ``drafts``
    the sentence under way is translated every ``step_s`` of media and shown as unstable words, but for the last
    ``hide`` of them, which change most (mask-k: Arivazhagan et al., ICASSP 2020).

    ``per_session``: a session gets those of the targets that its name says: see ``mmstream.translation.wishes``.

    A word carries the times, the confidence and the share of video of the source word that it attends to.

    Errors: ValueError for an unknown policy or a number out of range; TranslationError or ModelError for a language or
    a model that there is not.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Gap)
    emits: ClassVar[tuple[type, ...]] = (Translation,)
    watched: ClassVar[dict[str, object]] = {"policy": "alignatt"}  # arguments for people who watch
    unwatched: ClassVar[dict[str, object]] = {"policy": "sentence", "drafts": False}  # and for files at full speed

    def __init__(
        self,
        targets: list[str],
        model: str = "auto",
        source: str | None = None,
        policy: PolicyName = "alignatt",
        k: int | None = None,
        drafts: bool = True,
        hide: int = 2,
        step_s: float = 0.3,
        min_confidence: float = 0.5,
        pause_s: float = 0.8,
        longest: int = 40,
        per_session: bool = False,
    ) -> None:
        if not targets:
            raise ValueError("targets names no language; write for example [de, fr]")
        if hide < 0:
            raise ValueError(f"hide is 0 or more words, not {hide}")
        if step_s < 0:
            raise ValueError(f"step_s is 0 or more, not {step_s:g}")
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is 0 to 1, not {min_confidence:g}")
        self.policy = policy_named(policy, k)
        self.limits = Limits(pause_s, longest, clauses=policy == "clause")
        self.targets = tuple(dict.fromkeys(checked(one) for one in targets))
        self.model, self.source = model, ENGLISH if source is None else checked(source)
        self.drafts, self.hide, self.step_s, self.min_confidence = drafts, hide, step_s, min_confidence
        self.per_session = per_session
        self._engines: dict[str, Mapping[str, Engine]] = {}  # by language of the source, then by target
        self._engines[self.source] = self._load(self.source)

    def open(self, session: str) -> TranslateState:
        return TranslateState(tuple(wished(session, self.targets)) if self.per_session else self.targets)

    def work(self, packet: Packet[Any], state: TranslateState) -> Given:
        given: list[Packet[Any]] = []
        if isinstance(packet.data, Gap):
            if packet.data.medium == "audio":
                given += yield from self.rest(state)
            return given
        if state.latest is not None and state.latest.data.index != packet.data.index:
            given += yield from self.rest(state)
        if self._is_worth_it(packet, state):
            yield from self._translate(packet.data, state)
            state.looked_at = packet.end
            given += self._shown(packet, state)
        _follow(state, packet)
        return given

    def rest(self, state: TranslateState) -> Given:
        """End the utterance that no final caption ended."""
        packet = state.latest
        if packet is None:
            return []
        caption = packet.data
        over = packet.derive(Caption(caption.index, caption.words, (), True, caption.language))
        yield from self._translate(over.data, state)
        given: list[Packet[Any]] = list(self._shown(over, state))
        _follow(state, over)
        return given

    def answer(self, asked: Sequence[Question]) -> list[list[Translated]]:
        """One call of an engine for all that is asked of it, whichever session and language it is for."""
        waiting: dict[tuple[int, str], tuple[Engine, list[tuple[int, int]], list[Request]]] = {}
        answers: list[list[Translated | None]] = [[None] * len(one.requests) for one in asked]
        for row, question in enumerate(asked):
            engines = self._engines[question.source]
            for column, request in enumerate(question.requests):
                engine = engines[request.target]
                _, places, requests = waiting.setdefault((id(engine), question.source), (engine, [], []))
                places.append((row, column))
                requests.append(request)
        for (_, source), (engine, places, requests) in waiting.items():
            for (row, column), one in zip(places, engine.translate(requests, source), strict=True):
                answers[row][column] = one
        return [[one for one in row if one is not None] for row in answers]

    def _is_worth_it(self, packet: Packet[Caption], state: TranslateState) -> bool:
        """Whether a caption says enough that is new."""
        caption = packet.data
        if caption.final or self._ends(caption, state.done):
            return True
        return self.drafts and packet.end - state.looked_at >= self.step_s

    def _ends(self, caption: Caption, begin: int) -> list[int]:
        """The sentences from word ``begin`` on that are over, and that the recogniser is sure of, or will say no more
        about."""
        ends = closed(caption.words, len(caption.stable), begin, self.limits, final=caption.final)
        return ends if caption.final else [end for end in ends if end <= self._sure(caption)]

    def _sure(self, caption: Caption) -> int:
        """The leading words that are stable and that the recogniser does not doubt."""
        for at, word in enumerate(caption.stable):
            if word.confidence is not None and word.confidence < self.min_confidence:
                return at
        return len(caption.stable)

    def _translate(self, caption: Caption, state: TranslateState) -> Asking:
        """Bring the progress of every language up to ``caption``."""
        source = self._source_of(caption)
        words, begin = caption.words, state.done
        ends = self._ends(caption, begin)
        spans = list(zip([begin, *ends], ends, strict=False))
        under_way = ends[-1] if ends else begin
        draft = self.drafts and under_way < len(words)
        if draft:
            spans.append((under_way, len(words)))
        texts = [join_words(words[start:end], caption.language) for start, end in spans]
        asked = [
            Request(text, target, self._progress(state, target).prefix if at == 0 else (), state.context)
            for target in state.targets
            if target in self._asked(source)
            for at, text in enumerate(texts)
        ]
        answers = iter((yield Question(source, tuple(asked))) if asked else ())
        for target in state.targets:
            progress = self._progress(state, target)
            for at, (start, end) in enumerate(spans):
                one = self._answer_for(target, source, words[start:end], answers)
                if draft and at == len(spans) - 1:
                    sure = max(0, self._sure(caption) - start)
                    progress = progress.drafted(one, words, start, sure, self.policy)
                else:
                    progress = progress.ended(one, words, start, end)
            state.progress[target] = progress.rated(words) if caption.final else progress
        state.done = under_way
        state.context = (*state.context, *texts[: len(ends)])[-CONTEXT:]

    def _answer_for(self, target: str, source: str, heard: Sequence[Word], answers: Iterator[Translated]) -> Translated:
        if target in self._asked(source):
            return next(answers)
        same = tuple(word.text for word in heard) if _primary(target) == _primary(source) else ()
        return Translated(same, 0.0, tuple(range(len(same))))

    def _asked(self, source: str) -> Mapping[str, Engine]:
        return self._engines.get(source, {})

    def _source_of(self, caption: Caption) -> str:
        """The language of a caption, whose engines are loaded by then, where there are any."""
        source = caption.language or self.source
        if source not in self._engines:
            try:
                self._engines[source] = self._load(source)
            except MmstreamError as error:
                log.warning("captions in %s are not translated: %s", source, error)
                self._engines[source] = {}
        return source

    def _load(self, source: str) -> Mapping[str, Engine]:
        targets = [one for one in self.targets if _primary(one) != _primary(source)]
        return load(self.model, source, targets) if targets else {}

    def _progress(self, state: TranslateState, target: str) -> Progress:
        return state.progress.get(target, Progress())

    def _shown(self, packet: Packet[Caption], state: TranslateState) -> Iterator[Packet[Translation]]:
        """A translation for every language in which something has changed."""
        caption = packet.data
        for target in state.targets:
            data = self._progress(state, target).shown(caption.index, caption.final, target, self.hide)
            shown = (len(data.stable), tuple(word.text for word in data.words))
            if caption.final or shown != state.shown.get(target, (0, ())):
                yield packet.derive(data)
            state.shown[target] = shown


def _follow(state: TranslateState, packet: Packet[Caption]) -> None:
    """What is remembered of a caption; after a final one nothing is, but for the context."""
    if packet.data.final:
        state.latest, state.done = None, 0
        state.progress, state.shown = {}, {}
        state.looked_at = float("-inf")
    else:
        state.latest = packet


def _primary(language: str) -> str:
    return language.lower().partition("-")[0]
