"""Sphinx: words in time, from the session's sound alone, whatever else its decoders have heard."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import wave
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Packet
from mmstream.media import AudioChunk, Caption, Hypothesis, Speech, Word
from mmstream.testing import run_operator
from operators.audio import Resample, Vad
from operators.decoders import Sphinx
from operators.policies import Commit
from tests.media_samples import require_data, speak

Samples = NDArray[np.float32]
RATE = 16_000


def said(path: Path, text: str) -> Samples:
    """What flite makes of ``text``, (time,) at 16 kHz."""
    with wave.open(str(speak(path, text))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16) / np.float32(32768)
        chunk = Packet("test", 0.0, 1.0, AudioChunk(samples[:, None], file.getframerate()), 0.0)
    return np.concatenate([packet.data.samples[:, 0] for packet in run_operator(Resample(), [chunk])])


def utterance(
    samples: Samples, start: float = 0.0, sizes: Sequence[int] = (), size: int = 1600
) -> list[Packet[Speech]]:
    """``samples`` as speech in packets of these lengths, then of ``size``; captured at 100 + end."""
    begin, lengths, packets = 0, iter(sizes), []
    while not packets or begin < len(samples):
        end = min(len(samples), begin + next(lengths, size))
        times = (start + begin / RATE, start + end / RATE)
        speech = Speech(samples[begin:end], RATE, last=end == len(samples))
        packets.append(Packet("test", *times, speech, captured_at=100 + times[1]))
        begin = end
    return packets


def finals(given: Iterable[Packet[Hypothesis]]) -> list[tuple[Word, ...]]:
    return [packet.data.words for packet in given if packet.data.final]


def text(words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words)


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return said(tmp_path_factory.mktemp("speech") / "weather.wav", "the weather was good and they went for a walk")


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return said(tmp_path_factory.mktemp("speech") / "reading.wav", "he was reading a book about the sea")


@pytest.fixture(scope="module")
def sphinx() -> Sphinx:
    return Sphinx()


@pytest.fixture(scope="module")
def heard(sphinx: Sphinx, weather: Samples) -> list[Packet[Hypothesis]]:
    return run_operator(sphinx, utterance(weather, start=20.0))


def test_importing_the_package_is_cheap() -> None:
    heavy = "pocketsphinx", "faster_whisper", "ctranslate2", "torch"
    code = f"import sys, operators.decoders; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_words_come_out(heard: list[Packet[Hypothesis]]) -> None:
    (words,) = finals(heard)
    assert jiwer.wer("the weather was good and they went for a walk", text(words)) <= 0.3


def test_words_have_their_place_in_time(heard: list[Packet[Hypothesis]], weather: Samples) -> None:
    (words,) = finals(heard)
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 20.0 <= times[0] < 20.4
    assert 20.0 + len(weather) / RATE - 0.5 < times[-1] <= 20.0 + len(weather) / RATE
    assert all(0.0 <= (word.confidence or 0.0) <= 1.0 and word.confidence is not None for word in words)
    assert not re.search(r"[^a-z' .-]", text(words)), "no fillers, no numbers of pronunciations"


def test_a_hypothesis_comes_every_200_ms_and_says_how_far_it_heard(
    heard: list[Packet[Hypothesis]], weather: Samples
) -> None:
    assert {packet.start for packet in heard} == {20.0}
    ends = [round(packet.end - 20.0, 6) for packet in heard]
    assert ends[:-1] == [round(0.2 * k, 6) for k in range(1, len(heard))]
    assert ends[-1] == round(len(weather) / RATE, 6)
    assert all(packet.captured_at == pytest.approx(100 + packet.end) for packet in heard)
    assert all(word.end <= packet.end for packet in heard for word in packet.data.words)
    assert [packet.data.final for packet in heard] == [False] * (len(heard) - 1) + [True]


@given(sizes=st.lists(st.integers(0, 12_000), max_size=30))
@settings(deadline=None, max_examples=5)
def test_any_cut_of_an_utterance_gives_the_same_hypotheses(
    sphinx: Sphinx, heard: list[Packet[Hypothesis]], weather: Samples, sizes: list[int]
) -> None:
    cut = run_operator(sphinx, utterance(weather, start=20.0, sizes=sizes))
    assert [packet.data for packet in cut] == [packet.data for packet in heard]
    assert [packet.end for packet in cut] == [packet.end for packet in heard]


def test_a_session_does_not_hear_another(
    sphinx: Sphinx, heard: list[Packet[Hypothesis]], weather: Samples, reading: Samples
) -> None:
    one, other = sphinx.open("one"), sphinx.open("other")
    found: list[Packet[Hypothesis]] = []
    for mine, yours in zip(utterance(weather, start=20.0), [*utterance(reading), *[None] * 99], strict=False):
        found += sphinx.process(mine, one)
        if yours is not None:
            list(sphinx.process(yours, other))
    assert [packet.data for packet in found] == [packet.data for packet in heard]
    list(sphinx.flush(other))
    assert [packet.data for packet in run_operator(sphinx, utterance(weather, start=20.0))] == [
        packet.data for packet in heard
    ], "nor what its decoder heard before"


def test_the_second_utterance_depends_on_the_first_of_its_own_session_only(sphinx: Sphinx, weather: Samples) -> None:
    both = [*utterance(weather), *utterance(weather, start=60.0)]
    first = run_operator(sphinx, both)
    assert len(finals(first)) == 2
    run_operator(sphinx, utterance(weather[:16_000] * np.float32(0.1)))
    assert run_operator(sphinx, both) == first


def test_the_state_can_be_pickled_half_way(sphinx: Sphinx, heard: list[Packet[Hypothesis]], weather: Samples) -> None:
    state = sphinx.open("test")
    found: list[Packet[Hypothesis]] = []
    for k, packet in enumerate(utterance(weather, start=20.0)):
        found += sphinx.process(packet, state)
        if k in (2, 11):
            state = pickle.loads(pickle.dumps(state))
    assert [packet.data for packet in found] == [packet.data for packet in heard]


def test_the_end_of_the_stream_ends_the_utterance(sphinx: Sphinx, weather: Samples) -> None:
    out = run_operator(sphinx, utterance(weather)[:-1])
    assert len(finals(out)) == 1
    assert jiwer.wer("the weather was good and they went for a walk", text(finals(out)[0])) <= 0.4


@pytest.mark.parametrize("samples", [0, 1, 32_000])
def test_digital_silence_has_no_words(sphinx: Sphinx, samples: int, weather: Samples) -> None:
    given = [*utterance(np.zeros(samples, np.float32)), *utterance(weather, start=60.0)]
    silent, spoken = finals(run_operator(sphinx, given))
    assert silent == ()
    assert len(spoken) > 5, "and it does not spoil what follows"


def test_the_watermark_waits_for_the_utterance(sphinx: Sphinx, weather: Samples) -> None:
    state = sphinx.open("test")
    packets = utterance(weather[:8000], start=20.0)
    assert sphinx.watermark(state, 20.0) == 20.0
    list(sphinx.process(packets[0], state))
    assert sphinx.watermark(state, 20.1) == 20.0
    for packet in packets[1:]:
        list(sphinx.process(packet, state))
    assert sphinx.watermark(state, 20.5) == 20.5


def test_wrong_arguments_and_wrong_sound_are_refused(sphinx: Sphinx, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hypothesis_every_ms is 50 to 5000, not 0"):
        Sphinx(hypothesis_every_ms=0)
    with pytest.raises(MmstreamError, match="language_model: no such file or folder: nowhere"):
        Sphinx(language_model="nowhere.lm")
    with pytest.raises(MmstreamError, match=r"pocketsphinx cannot load .*hmm"):
        Sphinx(model=str(tmp_path))
    with pytest.raises(MmstreamError, match="at 16000 Hz, not 8000 Hz: put operators"):
        run_operator(sphinx, [Packet("test", 0.0, 0.1, Speech(np.zeros(800, np.float32), 8000, True), 0.0)])


def words_of(operators: Sequence[object], samples: Samples) -> str:
    """The words of all final captions that ``operators``, one after another, make of ``samples`` (time,)."""

    def chunks() -> Iterator[Packet[AudioChunk]]:
        for begin in range(0, len(samples), 1600):
            part = samples[begin : begin + 1600, None]
            yield Packet("test", begin / RATE, (begin + len(part)) / RATE, AudioChunk(part, RATE), 0.0)

    given: list[Packet] = list(chunks())
    for operator in operators:
        given = run_operator(operator, given)
    captions = [packet.data for packet in given if isinstance(packet.data, Caption)]
    return " ".join(caption.text for caption in captions if caption.final)


def test_silence_and_noise_have_no_words(sphinx: Sphinx) -> None:
    faint = (np.random.default_rng(0).standard_normal(60 * RATE) * 0.003).astype(np.float32)
    for sound in (np.zeros(120 * RATE, np.float32), faint):
        assert words_of([Vad(), sphinx, Commit(**Sphinx.commit)], sound) == ""


def test_the_pipeline_hears_as_well_as_the_recogniser_alone(sphinx: Sphinx) -> None:
    import av
    import pocketsphinx

    manifest = require_data("speech/en/dev.jsonl")
    items = [json.loads(line) for line in manifest.read_text().splitlines()][1:5]  # 14 s: far from the whole set
    direct, piped, references = [], [], []
    decoder = pocketsphinx.Decoder(loglevel="FATAL")
    operators = [Vad(), sphinx, Commit("final")]
    for item in items:
        with av.open(str(manifest.parent / item["media"])) as container:
            sound = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
        decoder.start_utt()
        decoder.process_raw(sound.astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        direct.append(re.sub(r"\(\d+\)", "", decoder.hyp().hypstr))
        piped.append(words_of(operators, (sound / np.float32(32768)).astype(np.float32)))
        references.append(item["text"].lower())
    assert jiwer.wer(references, piped) <= jiwer.wer(references, direct) + 0.05
