"""Whisper over a model that the test builds: the streaming around it, and what it says when something is wrong."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Hypothesis, Speech, Word
from mmstream.testing import ManualClock, run_operator
from operators.decoders import Whisper
from operators.decoders.whisper import HARD_LIMIT_S
from operators.decoders.whisper_model import Heard, Listen
from operators.policies import Commit
from tests.tiny_whisper import CHANGES, STORY, build_tiny_whisper

Samples = NDArray[np.float32]
RATE = 16_000
SENTENCE = len(STORY)


def sound(seconds: float, seed: int = 0) -> Samples:
    """Noise that comes and goes like syllables; the tiny model says its sentence to anything."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    return (noise * 0.1 * np.abs(np.sin(2 * np.pi * 1.7 * time_s) * np.sin(time_s))).astype(np.float32)


def utterance(
    samples: Samples, start: float = 0.0, sizes: Sequence[int] = (), size: int = 8000, last: bool = True
) -> list[Packet[Speech]]:
    """``samples`` as speech in packets of these lengths, then of ``size``; captured at 1000 + end."""
    begin, lengths, packets = 0, iter(sizes), []
    while not packets or begin < len(samples):
        end = min(len(samples), begin + next(lengths, size))
        times = (start + begin / RATE, start + end / RATE)
        speech = Speech(samples[begin:end], RATE, last=last and end == len(samples))
        packets.append(Packet("test", *times, speech, captured_at=1000 + times[1]))
        begin = end
    return packets


def finals(given: Iterable[Packet[Hypothesis]]) -> list[tuple[Word, ...]]:
    return [packet.data.words for packet in given if packet.data.final]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def whisper(folder: Path) -> Whisper:
    return Whisper(model=str(folder), language="en", beam_size=1, threads=1)


@pytest.fixture(scope="module")
def heard(whisper: Whisper) -> list[Packet[Hypothesis]]:
    return run_operator(whisper, utterance(sound(4.5), start=20.0))


def test_words_come_with_time_confidence_and_language(heard: list[Packet[Hypothesis]]) -> None:
    (words,) = finals(heard)
    assert len(words) == SENTENCE
    assert {word.text for word in words} <= {*STORY, *CHANGES}
    times = [seconds for word in words for seconds in (word.start, word.end)]
    assert times == sorted(times)
    assert 20.0 <= times[0] < times[-1] <= 24.5
    assert all(word.confidence is not None and 0.0 < word.confidence <= 1.0 for word in words)
    assert {packet.data.language for packet in heard} == {"en"}


def test_a_hypothesis_comes_every_step_and_says_how_far_it_heard(heard: list[Packet[Hypothesis]]) -> None:
    assert [(packet.start, packet.end, packet.data.final) for packet in heard] == [
        (20.0, 21.0, False),
        (20.0, 22.0, False),
        (20.0, 23.0, False),
        (20.0, 24.0, False),
        (20.0, 24.5, True),
    ]
    assert all(packet.captured_at == pytest.approx(1000 + packet.end) for packet in heard)


def test_the_hypotheses_do_change(heard: list[Packet[Hypothesis]]) -> None:
    texts = {" ".join(word.text for word in packet.data.words) for packet in heard}
    assert len(texts) > 1, "or the tests of what never changes would test nothing"


@given(sizes=st.lists(st.integers(0, 30_000), max_size=20))
@settings(deadline=None, max_examples=5)
def test_any_cut_of_an_utterance_gives_the_same_hypotheses(
    whisper: Whisper, heard: list[Packet[Hypothesis]], sizes: list[int]
) -> None:
    cut = run_operator(whisper, utterance(sound(4.5), start=20.0, sizes=sizes))
    assert [(packet.end, packet.data) for packet in cut] == [(packet.end, packet.data) for packet in heard]


def test_the_state_can_be_pickled_half_way(whisper: Whisper, heard: list[Packet[Hypothesis]]) -> None:
    state = whisper.open("test")
    found: list[Packet[Hypothesis]] = []
    for packet in utterance(sound(4.5), start=20.0):
        found += whisper.process(packet, state)
        state = pickle.loads(pickle.dumps(state))
    assert found == heard


def test_an_utterance_of_any_length_costs_the_same_and_loses_no_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1, step_ms=2000, max_buffer_s=10.0)
    lengths, costs = [], []
    hear = whisper._model.hear

    def measured(asked: Sequence[Listen]) -> list[Heard]:
        begin = time.process_time()
        result = hear(asked)
        costs.append(time.process_time() - begin)
        (one,) = asked
        lengths.append(len(one.sound) / RATE)
        assert len(one.context.split()) <= 40
        return result

    monkeypatch.setattr(whisper._model, "hear", measured)
    out = run_operator(whisper, utterance(sound(80.0)))
    assert len(lengths) == 40
    assert max(lengths) <= 10.0 + 2 * 2.0
    third = len(costs) // 3
    assert np.median(costs[-third:]) < 2.5 * np.median(costs[:third])
    (words,) = finals(out)
    assert len(words) >= 5 * SENTENCE, "each time sound is dropped, the tiny model says its sentence to what is left"
    starts = [word.start for word in words]
    assert starts == sorted(starts)
    assert starts[-1] > 70.0


def test_stable_words_never_change(folder: Path) -> None:
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1, step_ms=1000, max_buffer_s=5.0)
    given = [*utterance(sound(20.0)), *utterance(sound(3.0, seed=1), start=30.0)]
    shown: dict[int, tuple[Word, ...]] = {}
    for packet in run_operator(Commit(**Whisper.commit), run_operator(whisper, given)):
        caption: Caption = packet.data
        before = shown.get(caption.index, ())
        assert caption.stable[: len(before)] == before
        shown[caption.index] = caption.stable
    assert len(shown) == 2
    assert len(shown[0]) > SENTENCE


def test_where_nothing_is_agreed_on_the_sound_is_bounded_all_the_same(folder: Path) -> None:
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1, step_ms=60_000)
    state = whisper.open("test")
    found: list[Packet[Hypothesis]] = []
    for packet in utterance(sound(60.0), last=False):
        found += whisper.process(packet, state)
        assert state.utterance is not None
        assert len(state.utterance.sound) <= HARD_LIMIT_S * RATE
    assert [round(packet.end) for packet in found] == [28, 51]
    found += whisper.flush(state)
    assert found[-1].data.final
    settled = [word for word in found[0].data.words if word.end <= 23.0]
    assert len(settled) > 5
    assert list(found[-1].data.words[: len(settled)]) == settled


def test_a_final_hypothesis_without_new_sound_costs_nothing(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    hear = whisper._model.hear
    monkeypatch.setattr(whisper._model, "hear", lambda *arguments: (calls.append(1), hear(*arguments))[1])
    ended = Packet("test", 2.0, 2.0, Speech(np.zeros(0, np.float32), RATE, True), 1002.0)
    out = run_operator(whisper, [*utterance(sound(2.0), last=False), ended])
    assert [packet.data.final for packet in out] == [False, False, True]
    assert out[-1].data.words == out[-2].data.words
    assert len(calls) == 2


def test_a_session_that_is_late_gives_up_partial_hypotheses(folder: Path) -> None:
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1, shed_lag_s=2.0)
    whisper.clock = ManualClock(1000.0)
    packets = utterance(sound(4.5))
    in_time = run_operator(whisper, packets)
    whisper.clock.advance(20.0)
    late = run_operator(whisper, packets)
    assert [packet.data.final for packet in in_time] == [False] * 4 + [True]
    assert [packet.data.final for packet in late] == [True]


def test_less_sound_than_a_word_needs_has_no_words(whisper: Whisper) -> None:
    out = run_operator(whisper, [*utterance(sound(0.09)), *utterance(np.zeros(0, np.float32), start=5.0)])
    assert finals(out) == [(), ()]


def test_a_model_that_repeats_itself_is_not_believed(tmp_path: Path) -> None:
    folder = build_tiny_whisper(tmp_path / "parrot", repeats=True)
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1)
    assert finals(run_operator(whisper, utterance(sound(5.0)))) == [()]


def test_a_model_that_doubts_that_anybody_speaks_gives_no_words(tmp_path: Path) -> None:
    folder = build_tiny_whisper(tmp_path / "doubter", doubts=True)
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1)
    assert finals(run_operator(whisper, utterance(sound(2.0)))) == [()]


def test_prompt_and_hotwords_are_taken(folder: Path, heard: list[Packet[Hypothesis]]) -> None:
    whisper = Whisper(
        model=str(folder), language="en", prompt="A dinner.", hotwords="mutton", beam_size=2, threads=1, step_ms=5000
    )
    (words,) = finals(run_operator(whisper, utterance(sound(4.5))))
    assert len(words) == SENTENCE
    assert words != finals(heard)[0], "the model has seen them"


def test_the_language_is_found_where_none_is_given(folder: Path) -> None:
    whisper = Whisper(model=str(folder), beam_size=1, threads=1, step_ms=2000)
    languages = {packet.data.language for packet in run_operator(whisper, utterance(sound(3.0)))}
    assert None not in languages
    assert all(language.isalpha() for language in languages)


def test_a_translation_is_english(folder: Path) -> None:
    whisper = Whisper(model=str(folder), language="de", task="translate", beam_size=1, threads=1)
    (final,) = [packet.data for packet in run_operator(whisper, utterance(sound(1.0))) if packet.data.final]
    assert final.language == "en"
    assert final.words


def test_an_english_model_is_not_asked_for_other_languages(tmp_path: Path) -> None:
    folder = str(build_tiny_whisper(tmp_path / "tiny.en", multilingual=False))
    out = run_operator(Whisper(model=folder, beam_size=1, threads=1), utterance(sound(1.0)))
    assert {packet.data.language for packet in out} == {"en"}
    assert finals(out) != [()]
    with pytest.raises(ValueError, match=r"language 'de' is none of those of .*: en"):
        Whisper(model=folder, language="de")
    with pytest.raises(ValueError, match="'translate' needs a multilingual model"):
        Whisper(model=folder, task="translate")


def test_the_watermark_waits_for_the_utterance(whisper: Whisper) -> None:
    state = whisper.open("test")
    first, second = utterance(sound(1.0), start=20.0)
    assert whisper.watermark(state, 20.0) == 20.0
    list(whisper.process(first, state))
    assert whisper.watermark(state, 20.5) == 20.0
    list(whisper.process(second, state))
    assert whisper.watermark(state, 21.0) == 21.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"language": "elvish"}, "language 'elvish' is none of those of .*: af, am, .* zh, yue"),
        ({"task": "summarise"}, "task is 'transcribe' or 'translate'"),
        ({"device": "abacus"}, "device is 'auto', 'cpu' or 'cuda'"),
        ({"compute_type": "int3"}, "compute_type is one of .*int8"),
        ({"beam_size": 0}, "beam_size is 1 to 20"),
        ({"threads": -1}, "threads is 0"),
        ({"step_ms": 10}, "step_ms is 200 to 60000"),
        ({"max_buffer_s": 60}, "max_buffer_s is 5.0 to 25.0"),
        ({"shed_lag_s": 0}, "shed_lag_s is above 0"),
        ({"hotwords": "mutton " * 50}, "hotwords has .* tokens; at most 60"),
        ({"prompt": "mutton " * 50}, "prompt has .* tokens; at most 60"),
    ],
)
def test_wrong_arguments_name_the_legal_ones(folder: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Whisper(model=str(folder), **arguments)


def test_a_folder_that_is_no_model_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MmstreamError, match=r"model\.bin") as fault:
        Whisper(model=str(tmp_path))
    assert "\n" not in str(fault.value)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1000])
    with pytest.raises(MmstreamError, match="does not load") as fault:
        Whisper(model=str(tmp_path), device="cpu")
    assert "\n" not in str(fault.value)


def test_a_model_of_other_features_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "preprocessor_config.json").write_text('{"feature_size": 128}')
    with pytest.raises(MmstreamError, match=r"takes 80 mel bands, .* says 128"):
        Whisper(model=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("whisper-base.en", "mmstream models pull whisper-base.en"),
        ("whisper-bas.en", "whisper-base.en"),
        ("sphinx", "not a Whisper model"),
    ],
)
def test_a_model_that_is_not_here_is_named_with_what_to_do(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("MMSTREAM_HOME", str(tmp_path))
    with pytest.raises(MmstreamError, match=said):
        Whisper(model=name)


def test_speech_at_another_rate_is_refused_with_advice(whisper: Whisper) -> None:
    packet = Packet("test", 0.0, 0.1, Speech(np.zeros(800, np.float32), 8000, True), 0.0)
    with pytest.raises(MmstreamError, match=r"not 8000 Hz: put operators.audio:Resample before"):
        run_operator(whisper, [packet])
