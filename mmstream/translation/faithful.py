"""What a translator may not do: lose a number, a name or an address, say nothing, say the same again and again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mmstream.translation.checks import is_sound, lost
from mmstream.translation.ctranslate import LONGEST, CTranslate, Decoding
from mmstream.translation.cutting import cleaned, cuts, shares
from mmstream.translation.drafts import Draft, Task
from mmstream.translation.engine import Request, Translated
from mmstream.translation.grafting import grafted
from mmstream.translation.literals import literals_in, replaced
from mmstream.translation.ordinals import with_ordinals
from mmstream.translation.variants import core

MANY_WORDS = 8  # from which on it is worth asking what language a sentence is in
CAREFUL = Decoding(beam=4, no_repeat=3, penalty=1.2)  # for what went wrong

log = logging.getLogger(__name__)

Try = tuple[Draft, Mapping[int, str]]  # with these literals as place-holders


class Faithful:
    """An engine around a model. Whatever that gives, every literal of a source stands in its translation, as often.

    A text with words has a translation with words; none runs in circles where its source does not. Sentences that are
    too long are cut, at clauses where there are some. Control characters are left out.
    """

    def __init__(self, model: CTranslate) -> None:
        self.model = model
        self._told = False  # that a text is in another language than declared

    def translate(self, requests: Sequence[Request], source: str) -> list[Translated]:
        """As an engine does."""
        tasks = [self._task(request) for request in requests]
        self._share_out([task for task in tasks if task.request.prefix and len(task.parts) > 1], source)
        done = iter(self._translated([part for task in tasks for part in task.parts], source))
        return [task.joined([next(done) for _ in task.parts]) for task in tasks]

    def _task(self, request: Request) -> Task:
        """A request, cleaned and cut into parts that the model can take."""
        words = [(number, cleaned(word)) for number, word in enumerate(request.text.split())]
        kept = [(number, word) for number, word in words if word]
        self._ask_language([word for _, word in kept])
        spans = cuts([word for _, word in kept], self._is_too_long)
        texts = [" ".join(word for _, word in kept[begin:end]) for begin, end in spans]
        parts = [
            replace(request, text=text, prefix=() if number else request.prefix) for number, text in enumerate(texts)
        ]
        return Task(request, parts, [[number for number, _ in kept[begin:end]] for begin, end in spans])

    def _share_out(self, tasks: Sequence[Task], source: str) -> None:
        """Give each part of a text its share of what was promised."""
        free = [replace(part, prefix=()) for task in tasks for part in task.parts]
        lengths = iter([len(one.words) for one in self._translated(free, source)] if free else ())
        for task in tasks:
            given = shares(task.request.prefix, [next(lengths) for _ in task.parts])
            task.parts[:] = [replace(part, prefix=prefix) for part, prefix in zip(task.parts, given, strict=True)]

    def _is_too_long(self, words: Sequence[str]) -> bool:
        """Whether a stretch is more than the model takes. A token is a character at least."""
        return sum(map(len, words)) > LONGEST and self.model.family.count(words) > LONGEST

    def _translated(self, parts: Sequence[Request], source: str) -> list[Translated]:
        """Translations that have been checked, and mended where they had to be."""
        drafts = [Draft(part, literals_in(part.text.split(), self.model.family)) for part in parts]
        asked = [draft for draft in drafts if draft.says_more]
        made = self.model.translate([draft.part for draft in asked], source) if asked else []
        for draft, one in zip(asked, made, strict=True):
            draft.found = one
        for mend in (_spell, self._protect, self._carefully, self._graft, self._in_stretches):
            wrong = [draft for draft in asked if not self._is_good(draft)]
            if not wrong:
                break
            mend(wrong, source)
        return [_finished(draft) for draft in drafts]

    def _is_good(self, draft: Draft) -> bool:
        return not draft.lost and self._is_sound(draft.part, draft.found)

    def _is_sound(self, part: Request, found: Translated) -> bool:
        return is_sound(part, found, self.model.family.placeholders)

    def _protect(self, drafts: Sequence[Draft], source: str) -> None:
        """Literals that went missing go in as place-holders."""
        self._again([(draft, draft.lost) for draft in drafts if draft.lost], source, None)

    def _carefully(self, drafts: Sequence[Draft], source: str) -> None:
        """The model looks further, and repeats nothing, for what says nothing or runs in circles."""
        unsound = [draft for draft in drafts if not self._is_sound(draft.part, draft.found)]
        self._again([(draft, {}) for draft in unsound], source, CAREFUL)

    def _again(self, tries: Sequence[Try], source: str, decoding: Decoding | None) -> None:
        """Translate with some literals as place-holders; what is no better than before is forgotten."""
        tokens = self.model.family.placeholders
        fitting = [(draft, list(literals.items())) for draft, literals in tries if len(literals) <= len(tokens)]
        requests = []
        for draft, literals in fitting:
            words = draft.part.text.split()
            for (number, literal), token in zip(literals, tokens, strict=False):
                words[number] = words[number].replace(literal, token, 1)
            swaps = [(literal, token) for (_, literal), token in zip(literals, tokens, strict=False)]
            requests.append(replace(draft.part, text=" ".join(words), prefix=tuple(replaced(draft.part.prefix, swaps))))
        made = self.model.translate(requests, source, decoding) if requests else []
        for (draft, literals), one in zip(fitting, made, strict=True):
            words = list(one.words)
            for (_, literal), token in zip(literals, tokens, strict=False):
                words = [word.replace(token, literal) for word in words]
            kept = draft.part.prefix
            better = replace(one, words=(*kept, *words[len(kept) :]))
            if self._rank(draft, better) > self._rank(draft, draft.found):
                draft.found = better

    def _rank(self, draft: Draft, found: Translated) -> tuple[bool, int]:
        return self._is_sound(draft.part, found), -len(lost(draft.literals, found.words))

    def _graft(self, drafts: Sequence[Draft], _: str) -> None:
        """Literals that are still missing go where they would stand; a translation that says nothing needs more."""
        for draft in drafts:
            if self._is_sound(draft.part, draft.found):
                draft.found = grafted(draft.found, draft.literals, len(draft.part.prefix))

    def _in_stretches(self, drafts: Sequence[Draft], source: str) -> None:
        """What stands between literals by itself, with these put back; a stretch that goes wrong again as it is."""
        stretches = [(draft, stretch) for draft in drafts for stretch in draft.cut()]
        requests = [Request(" ".join(stretch.words), draft.part.target) for draft, stretch in stretches]
        made = self.model.translate(requests, source, CAREFUL) if requests else []
        for (_, stretch), request, one in zip(stretches, requests, made, strict=True):
            if one.words and self._is_sound(request, one):
                stretch.become(one)
        for draft in drafts:
            draft.assemble()

    def _ask_language(self, words: Sequence[str]) -> None:
        """Warn, once, of a text whose words the model has never seen. Names are no sign of that."""
        if self._told or len(words) < MANY_WORDS:
            return
        plain = [one for one in map(core, words) if one and not one[0].isupper()]
        seen = [self.model.family.seen(word) for word in plain]
        if len(seen) >= MANY_WORDS - 2 and sum(one is False for one in seen) > len(seen) * 2 / 3:
            self._told = True
            log.warning("%r is hardly in the language that %s translates from", " ".join(words)[:60], self.model.name)


def _spell(drafts: Sequence[Draft], _: str) -> None:
    """Literals that the translation spells otherwise take their own spelling."""
    for draft in drafts:
        draft.found = grafted(draft.found, draft.literals, len(draft.part.prefix), alike=True)


def _finished(draft: Draft) -> Translated:
    part = draft.part
    return with_ordinals(draft.found, part.text.split(), part.target, len(part.prefix))
