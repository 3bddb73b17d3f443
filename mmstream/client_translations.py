"""The translations under way of a client's session, and what of them stays where the server is gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmstream.media import Caption, Translation


@dataclass
class _Promise:
    """A translation that is not final yet."""

    start: float  # media seconds, of what is translated
    end: float
    said: bool = False  # its caption is final
    newest: Translation | None = None


class Promises:
    """What was said and is still to be translated. For one thread; another may ask for ``earliest``."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.earliest = math.inf  # media second at which the first of them starts
        self._targets = tuple(targets)
        self._open: dict[tuple[int, str], _Promise] = {}  # by utterance and language
        self._done: dict[str, int] = {}  # the last utterance whose translation is final

    def said(self, caption: Caption, start: float, end: float) -> None:
        """What was said is going to be translated."""
        for target in self._targets:
            if caption.words and caption.index > self._done.get(target, -1):
                promise = self._open.setdefault((caption.index, target), _Promise(start, end))
                promise.start, promise.end, promise.said = start, end, caption.final
        self._look()

    def translated(self, translation: Translation, start: float, end: float) -> None:
        """It was, as far as that goes. Translations into one language come in the order of what was said."""
        target = translation.language
        if translation.final:
            self._done[target] = translation.index
            for name in [name for name in self._open if name[1] == target and name[0] <= translation.index]:
                del self._open[name]
        else:
            self._open.setdefault((translation.index, target), _Promise(start, end)).newest = translation
        self._look()

    def keep(self) -> Iterator[tuple[float, float, Translation]]:
        """Nobody goes on with them: those that say something, as their last ones, with start and end.

        Of what was said to its end, all that was shown stays; the rest is said, and translated, again.
        """
        for (_, target), promise in sorted(self._open.items()):
            newest = promise.newest
            words = () if newest is None else newest.words if promise.said else newest.stable
            if newest is not None and words:
                self._done[target] = newest.index
                yield promise.start, promise.end, replace(newest, stable=words, unstable=(), final=True)
        self._open.clear()
        self._look()

    def _look(self) -> None:
        self.earliest = min((promise.start for promise in self._open.values()), default=math.inf)
