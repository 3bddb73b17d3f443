"""Operators one behind another, without a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmstream.chain import through
from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap
from tests.toys import Add, HoldBack, SpyOnGaps, Tone, numbers


def lost(start: float, end: float) -> Packet[Gap]:
    return Packet("a", start, end, Gap("audio", "lost"), 0.0)


def sound(number: int) -> Packet[AudioChunk]:
    return Packet("a", number / 10, (number + 1) / 10, AudioChunk(np.full((1, 1), number, np.float32), 16_000), 0.0)


def test_each_operator_works_on_what_the_one_before_it_gives_to_the_end() -> None:
    given = through([HoldBack(), Add()], Tone(count=3).packets("a"), "a")
    assert numbers(given) == [0, 1, 3, -1]
    assert [packet.start for packet in through([], iter([sound(1)]), "a")] == [0.1]


def test_a_gap_ends_what_an_operator_has_begun_unless_it_takes_gaps() -> None:
    packets = [sound(1), sound(2), lost(0.3, 0.4), sound(5)]
    assert numbers(through([Add()], packets, "a")) == [1, 3, -1, None, 5, -1]
    diary: list[tuple[str, str, float]] = []
    assert list(through([SpyOnGaps(diary)], packets, "a")) == packets
    assert [call for call, _, _ in diary] == ["constructor", "open", *["process"] * 4, "flush"]


def test_nothing_is_taken_before_somebody_asks() -> None:
    taken: list[float] = []

    def packets() -> Iterator[Packet[Any]]:
        for number in range(10):
            taken.append(number)
            yield sound(number)

    given = through([Add(), Add()], packets(), "a")
    assert taken == []
    next(given)
    assert taken == [0]
