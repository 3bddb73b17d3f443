"""What a sink has taken since the last snapshot, so that nothing is shown twice when a session plays it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmstream.core import Packet
from mmstream.media import Caption, Translation, Word


class Shown:
    """One sink and session. A replay repeats what was shown, packet for packet, and goes on from there.

    Where it does not, because a live camera was late, say, the promises still hold: an utterance that was final does
    not come again, stable words never change, and no gap is told twice. What was said and each translation are apart:
    how they fall in between each other may differ from one time to the next.
    """

    def __init__(self) -> None:
        self._strands: dict[str | None, _Strand] = {}  # by language of the translation; None: all else
        self._numbers: set[int] = set()  # snapshots whose barriers have come

    def is_new(self, packet: Packet[Any]) -> bool:
        """Whether the sink is to have ``packet``; if so it counts as shown from now on."""
        language = packet.data.language if isinstance(packet.data, Translation) else None
        strand = self._strands.get(language)
        if strand is None:
            strand = self._strands[language] = _Strand()
            for number in sorted(self._numbers):  # before all that it will show
                strand.mark(number)
        return strand.is_new(packet)

    def mark(self, number: int) -> None:
        """The barrier of snapshot ``number`` has come."""
        self._numbers.add(number)
        for strand in self._strands.values():
            strand.mark(number)

    def trim(self, number: int) -> None:
        """Snapshot ``number`` is whole: no replay starts before it."""
        if number not in self._numbers:
            return
        self._numbers = {other for other in self._numbers if other >= number}
        for strand in self._strands.values():
            strand.trim(number)

    def rewind(self, number: int | None) -> None:
        """A replay from snapshot ``number`` begins, or from the beginning of the session for None."""
        self._numbers = {other for other in self._numbers if number is not None and other <= number}
        for strand in self._strands.values():
            strand.rewind(number)


class _Strand:
    """What a sink has taken of one kind, in order."""

    def __init__(self) -> None:
        self._packets: list[Packet[Any]] = []  # since the snapshot that the session would be put back to
        self._marks: dict[int, int] = {}  # snapshot -> how many of ``_packets`` came before it
        self._next = 0  # of ``_packets`` that a replay is to repeat; their number where none is under way
        self._strayed = False  # the replay has left the way of the first run
        self._index = 0  # of the first utterance that is not final
        self._stable: tuple[Word, ...] = ()  # of that utterance
        self._told = float("-inf")  # end of what else was shown, media seconds

    def is_new(self, packet: Packet[Any]) -> bool:
        if self._next < len(self._packets):
            if not self._strayed and _same(self._packets[self._next], packet):
                self._next += 1
                return False
            self._strayed = True
        if self._strayed and not self._fits(packet):
            return False
        self._packets.append(packet)
        self._next = len(self._packets)
        self._remember(packet)
        return True

    def mark(self, number: int) -> None:
        self._marks[number] = self._next

    def trim(self, number: int) -> None:
        count = self._marks.get(number)
        if count is None:
            return
        del self._packets[:count]
        self._next -= count
        self._marks = {other: at - count for other, at in self._marks.items() if other >= number}

    def rewind(self, number: int | None) -> None:
        self._next = 0 if number is None else self._marks.get(number, 0)
        self._strayed = False
        self._marks = {other: at for other, at in self._marks.items() if number is not None and other <= number}

    def _fits(self, packet: Packet[Any]) -> bool:
        caption = packet.data
        if not isinstance(caption, (Caption, Translation)):
            return packet.start >= self._told
        if caption.index != self._index:
            return caption.index > self._index
        return _texts(caption.stable[: len(self._stable)]) == _texts(self._stable)

    def _remember(self, packet: Packet[Any]) -> None:
        caption = packet.data
        if not isinstance(caption, (Caption, Translation)):
            self._told = max(self._told, packet.end)
        elif caption.final:
            self._index, self._stable = caption.index + 1, ()
        else:
            self._index, self._stable = caption.index, caption.stable


def _same(shown: Packet[Any], packet: Packet[Any]) -> bool:
    """Whether two packets say the same; confidences may differ in the last bits from machine to machine."""
    one, other = shown.data, packet.data
    if isinstance(one, (Caption, Translation)) and isinstance(other, type(one)):
        return (one.index, one.final, _texts(one.stable), _texts(one.unstable)) == (
            other.index,
            other.final,
            _texts(other.stable),
            _texts(other.unstable),
        )
    return type(one) is type(other) and (shown.start, shown.end) == (packet.start, packet.end)


def _texts(words: Sequence[Word]) -> tuple[str, ...]:
    return tuple(word.text for word in words)
