"""What stands for a translator where source and target are one language."""

from __future__ import annotations

from collections.abc import Sequence

from mmstream.translation.cutting import cleaned
from mmstream.translation.engine import Request, Translated


class Copying:
    """An engine that gives every text as it is."""

    def translate(self, requests: Sequence[Request], source: str) -> list[Translated]:
        """As an engine does."""
        return [_copied(request) for request in requests]


def _copied(request: Request) -> Translated:
    words = [(number, cleaned(word)) for number, word in enumerate(request.text.split())]
    kept = [(number, word) for number, word in words if word]
    given = len(request.prefix)
    numbers = [number for number, _ in kept]
    sources = [*numbers[:given], *[0] * (given - len(numbers)), *numbers[given:]]
    return Translated((*request.prefix, *(word for _, word in kept[given:])), 0.0, tuple(sources))
