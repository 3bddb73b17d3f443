"""What was said and its translations, side by side: utterances as blocks, in the order in which they were said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation
from operators.sinks.utterances import Utterances


@dataclass(frozen=True, slots=True)
class Block:
    """An utterance as it stands."""

    said: Caption
    over: bool  # what was said will not change any more
    translations: tuple[Translation, ...]  # those that have come, in the order of the languages


@dataclass
class Blocks:
    """One session. A block is whole once what was said is over and so are its translations; then it comes out.

    Nothing overtakes: what was said later, or lost later, waits behind a block that is not whole. In each language
    translations come in the order of their utterances, so one that was skipped will not come.
    """

    languages: Sequence[str] = ()
    said: Utterances = field(default_factory=Utterances)
    _waiting: deque[Caption | Packet[Gap]] = field(default_factory=deque)  # utterances that are over, and what was lost
    _newest: dict[tuple[int, str], Translation] = field(default_factory=dict)  # of utterances that have not come out
    _reached: dict[str, int] = field(default_factory=dict)  # language -> index of the newest translation
    _out: int = -1  # index of the newest utterance that has come out

    def say(self, packet: Packet[Caption]) -> bool:
        """Take what was said; whether it is news."""
        if self.said.repeats(packet.data):
            return False
        if packet.data.index < self._out:  # numbering has begun again
            self._newest, self._reached, self._out = {}, {}, -1
        self._end(self.said.take(packet))
        return True

    def translate(self, translation: Translation) -> bool:
        """Take a translation; whether it is news."""
        if translation.language not in self.languages or translation.index <= self._out:
            return False
        self._newest[translation.index, translation.language] = translation
        self._reached[translation.language] = translation.index
        return True

    def lose(self, packet: Packet[Gap]) -> None:
        self._waiting.append(packet)

    def due(self) -> Iterator[Block | Packet[Gap]]:
        """What comes out now."""
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, Caption) and not all(self._is_over(first.index, one) for one in self.languages):
                return
            yield self._take_first()

    def rest(self) -> Iterator[Block | Packet[Gap]]:
        """All that is left at the end of the session, as it stands."""
        self._end(self.said.rest())
        while self._waiting:
            yield self._take_first()

    def standing(self) -> Iterator[Block | Packet[Gap]]:
        """What has not come out, with the utterance that is open."""
        for one in self._waiting:
            yield self._block(one, over=True) if isinstance(one, Caption) else one
        if self.said.open is not None and self.said.open.data.words:
            yield self._block(self.said.open.data, over=False)

    def _end(self, over: Iterator[Packet[Caption]]) -> None:
        """Utterances are over; one whose words were all withdrawn only vanishes."""
        self._waiting.extend(packet.data for packet in over if packet.data.words)

    def _is_over(self, index: int, language: str) -> bool:
        newest = self._newest.get((index, language))
        return (newest is not None and newest.final) or self._reached.get(language, -1) > index

    def _take_first(self) -> Block | Packet[Gap]:
        first = self._waiting.popleft()
        if not isinstance(first, Caption):
            return first
        block = self._block(first, over=True)
        self._out = first.index
        self._newest = {name: one for name, one in self._newest.items() if name[0] > self._out}
        return block

    def _block(self, said: Caption, *, over: bool) -> Block:
        found = (self._newest.get((said.index, language)) for language in self.languages)
        return Block(said, over, tuple(one for one in found if one is not None and one.words))
