"""However a signal is cut into chunks, the same words come out, at the same times."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmstream.core import Packet
from mmstream.media import AudioChunk, Caption, Word
from mmstream.testing import run_operator
from operators.audio import Resample, Vad
from operators.decoders import Sphinx
from operators.policies import Commit
from tests.command_line import WEATHER, say

RATE = 22_050  # Hz: not the recogniser's, and no whole multiple of it


@pytest.fixture(scope="module")
def signal(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    """A sentence, (time, 1)."""
    path = say(tmp_path_factory.mktemp("sound") / "weather.wav", WEATHER, options=("-ar", RATE))
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return (samples / np.float32(32768)).astype(np.float32)[:, None]


@pytest.fixture(scope="module")
def operators() -> list[Any]:
    return [Resample(sample_rate=16_000), Vad(), Sphinx(), Commit(**Sphinx.commit)]


def chunks(signal: NDArray[np.float32], sizes: list[int]) -> Iterator[Packet[AudioChunk]]:
    """The signal in chunks of these lengths (samples), the last one as long as it takes."""
    begin = 0
    while begin < len(signal):
        size = sizes.pop(0) if sizes else len(signal)
        samples = signal[begin : begin + size]
        begin, start = begin + len(samples), begin
        yield Packet("test", start / RATE, begin / RATE, AudioChunk(samples, RATE), captured_at=begin / RATE)


def words(operators: list[Any], packets: Iterator[Packet[Any]]) -> list[Word]:
    """The words of all final captions."""
    given: list[Packet[Any]] = list(packets)
    for operator in operators:
        given = run_operator(operator, given)
    captions = [packet.data for packet in given if isinstance(packet.data, Caption)]
    return [word for caption in captions if caption.final for word in caption.words]


@pytest.fixture(scope="module")
def whole(signal: NDArray[np.float32], operators: list[Any]) -> list[Word]:
    """The words of the signal in one chunk."""
    found = words(operators, chunks(signal, []))
    assert [word.text for word in found] == WEATHER.split()
    return found


@given(sizes=st.lists(st.integers(1, 30_000) | st.integers(1, 2_000), max_size=60))
@settings(max_examples=10, deadline=None)
def test_any_chunking_gives_the_same_words(
    signal: NDArray[np.float32], operators: list[Any], whole: list[Word], sizes: list[int]
) -> None:
    cut = words(operators, chunks(signal, sizes))
    assert [word.text for word in cut] == [word.text for word in whole]
    assert [word.start for word in cut] == pytest.approx([word.start for word in whole])
    assert [word.end for word in cut] == pytest.approx([word.end for word in whole])
