"""Resample and Vad: exact times, any chunking, no drift, and nothing but speech."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import wave
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import MmstreamError, Packet
from mmstream.media import AudioChunk, Gap, Speech
from mmstream.testing import run_operator
from operators.audio import LogMel, Resample, Vad
from operators.audio.resample import mix_down
from tests.media_samples import require_data, speak
from tests.sounds import RATE, Samples, hiss, joined, packets, sine, through_pickle


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """One sentence, from its first sound to its last."""
    path = speak(tmp_path_factory.mktemp("speech") / "said.wav", "the weather was good and they went for a walk")
    with wave.open(str(path)) as file:
        said = np.frombuffer(file.readframes(file.getnframes()), np.int16) / np.float32(32768)
        samples = joined(run_operator(Resample(), packets(said, file.getframerate())))
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1]]


@pytest.fixture(scope="module")
def vad() -> Vad:
    return Vad()


def test_importing_the_package_is_cheap() -> None:
    heavy = "torch", "torchaudio", "onnxruntime", "av", "silero_vad"
    code = f"import sys, operators.audio; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_voice_activity_needs_no_torch() -> None:
    code = "import sys; from operators.audio import Resample, Vad; Resample(); Vad(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# Resample


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampled_sound_is_in_its_place(rate: int) -> None:
    out = run_operator(Resample(), packets(sine(2.0, rate), rate, start=5.0))
    samples = joined(out)
    assert len(samples) == 32_000
    assert np.abs(samples - sine(2.0, RATE))[200:-200].max() < 1e-3, "no delay, not even of a fraction of a sample"
    assert out[0].start == 5.0
    for before, after in itertools.pairwise(out):
        assert before.end == after.start
    for packet in out:
        assert packet.data.samples.shape == (round((packet.end - packet.start) * RATE), 1)
        assert packet.captured_at == pytest.approx(100 + packet.end)


@given(sizes=st.lists(st.integers(1, 3000), max_size=40), rate=st.sampled_from([8_000, 44_100, 48_000]))
@settings(deadline=None, max_examples=30)
def test_any_chunking_resamples_to_the_same_samples(sizes: list[int], rate: int) -> None:
    sound = hiss(1.0, 0.1)[:, None] * np.float32([1.0, 0.5])
    whole = joined(run_operator(Resample(), packets(sound, rate, size=10**6)))
    assert np.array_equal(joined(run_operator(Resample(), packets(sound, rate, sizes))), whole)


def test_times_do_not_drift() -> None:
    resample = Resample()
    state = resample.open("test")
    silence = np.zeros((44_100, 1), np.float32)
    for second in range(3600):
        packet = Packet("test", float(second), second + 1.0, AudioChunk(silence, 44_100), 0.0)
        for out in resample.process(packet, state):
            assert abs(out.end - packet.end) < 0.003
            samples = len(out.data.samples)
            assert samples == round((out.end - out.start) * RATE)


def test_what_needs_no_change_passes_untouched() -> None:
    given = list(packets(hiss(0.5, 0.1)))
    assert all(one is other for one, other in zip(run_operator(Resample(), given), given, strict=True))


def test_channels_are_mixed_to_one() -> None:
    sound = hiss(0.1, 0.1)
    assert np.allclose(mix_down(np.stack([sound, -sound], axis=1)), 0)
    assert np.allclose(mix_down(np.stack([sound] * 3, axis=1)), sound, atol=1e-6)
    surround = np.zeros((len(sound), 6), np.float32)
    surround[:, 2] = sound
    surround[:, 3] = 1.0  # rumble
    centre = mix_down(surround)
    assert np.allclose(centre, sound / (1 + 2 * 0.707 + 2 * 0.5), atol=1e-6)
    (out,) = run_operator(Resample(), packets(np.stack([sound, sound], axis=1)))
    assert out.data.samples.shape == (1600, 1)
    assert np.allclose(out.data.samples[:, 0], sound)


def test_a_change_of_rate_is_followed() -> None:
    given = [*packets(sine(1.0, 44_100), 44_100), *packets(sine(1.0, 8_000), 8_000, start=1.0)]
    given += packets(sine(1.0, RATE), RATE, start=2.0)
    out = run_operator(Resample(), given)
    assert len(joined(out)) == 48_000
    for before, after in itertools.pairwise(out):
        assert after.start == pytest.approx(before.end, abs=1e-9)
    assert np.abs(joined(out) - np.tile(sine(1.0, RATE), 3))[100:15_900].max() < 1e-3


def test_a_hole_in_the_media_stays_a_hole() -> None:
    given = [*packets(sine(0.5, 48_000), 48_000), *packets(sine(0.5, 48_000), 48_000, start=7.0)]
    out = run_operator(Resample(), given)
    first = [packet for packet in out if packet.start < 1]
    assert len(joined(first)) == len(joined(out)) - len(joined(first)) == 8000
    assert out[len(first)].start == 7.0


def test_the_resampler_goes_on_after_pickling() -> None:
    given = list(packets(hiss(0.5, 0.1), 44_100, size=701))
    assert np.array_equal(joined(through_pickle(Resample(), given)), joined(run_operator(Resample(), given)))


def test_nothing_earlier_than_the_watermark_comes() -> None:
    resample = Resample()
    state = resample.open("test")
    assert resample.watermark(state, 3.0) == 3.0
    for packet in packets(hiss(1.0, 0.1), 44_100, size=1000):
        promised = resample.watermark(state, packet.start)
        for out in resample.process(packet, state):
            assert out.start >= promised
            assert promised > packet.start - 0.01


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="1000 to 384000"):
        Resample(sample_rate=0)


# Vad


def utterances(given: Iterable[Packet[Speech]]) -> list[tuple[float, float]]:
    """Start and end of each utterance; its packets must follow one another."""
    found: list[tuple[float, float]] = []
    last = True
    for packet in given:
        assert len(packet.data.samples) == round((packet.end - packet.start) * RATE)
        assert packet.captured_at == pytest.approx(100 + packet.end)
        if last:
            found.append((packet.start, packet.end))
        else:
            assert packet.start == pytest.approx(found[-1][1], abs=1e-9)
            found[-1] = (found[-1][0], packet.end)
        last = packet.data.last
    assert last, "every utterance is ended"
    return found


def in_silence(spoken: Samples, before: float = 2.0, after: float = 2.0) -> Samples:
    quiet = hiss(before + after, 1e-4)
    return np.concatenate([quiet[: round(before * RATE)], spoken, quiet[round(before * RATE) :]])


def test_an_utterance_has_its_first_and_its_last_word(vad: Vad, spoken: Samples) -> None:
    sound = in_silence(spoken)
    out = run_operator(vad, packets(sound, start=10.0))
    ((start, end),) = utterances(out)
    assert 11.4 < start < 11.95, "begins before the first sound"
    assert 12 + len(spoken) / RATE < end < 12.7 + len(spoken) / RATE, "ends after the last one"
    begin = round((start - 10) * RATE)
    assert np.array_equal(joined(out), sound[begin : begin + len(joined(out))])


def test_speech_comes_as_it_is_spoken(vad: Vad, spoken: Samples) -> None:
    state = vad.open("test")
    lags = []
    for packet in packets(in_silence(spoken), size=512):
        for out in vad.process(packet, state):
            assert out.end == packet.end
            lags.append(out.end - out.start)
    assert len(lags) > 50
    assert max(lags[1:]) <= 0.033


@given(sizes=st.lists(st.integers(1, 8000), max_size=40))
@settings(deadline=None, max_examples=10)
def test_any_chunking_finds_the_same_speech(vad: Vad, spoken: Samples, sizes: list[int]) -> None:
    sound = in_silence(spoken, 1.0, 1.0)
    whole, cut = (run_operator(vad, packets(sound, sizes=how, size=10**6)) for how in ((), sizes))
    assert utterances(cut) == utterances(whole)
    assert np.array_equal(joined(cut), joined(whole))


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(np.zeros(120 * RATE, np.float32), id="silence"),
        pytest.param(hiss(60, 1e-3), id="faint noise"),
        pytest.param(hiss(60, 0.1), id="loud noise"),
        pytest.param(sine(30, RATE, 50.0) * np.float32(0.1), id="hum"),
        pytest.param(np.where(np.arange(60 * RATE) % (2 * RATE) < 30, 0.9, 0.0).astype(np.float32), id="clicks"),
    ],
)
def test_what_is_not_speech_does_not_come_out(vad: Vad, sound: Samples) -> None:
    assert run_operator(vad, packets(sound)) == []


def test_music_is_not_speech(vad: Vad) -> None:
    import av

    with av.open(str(require_data("noise/musan_music-fma-wa-0000.flac"))) as container:
        music = [frame.to_ndarray().reshape(-1, 1) / np.float32(32768) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    heard = run_operator(Resample(), packets(np.concatenate(music).astype(np.float32), rate))
    assert run_operator(vad, heard) == []


def test_pauses_split_utterances(vad: Vad, spoken: Samples) -> None:
    pause = hiss(1.5, 1e-4)
    found = utterances(run_operator(vad, packets(np.concatenate([pause, spoken, pause, spoken, pause]))))
    assert len(found) == 2
    assert found[0][1] <= found[1][0]
    assert found[1][0] - found[0][0] == pytest.approx(1.5 + len(spoken) / RATE, abs=0.1)


def test_no_sample_is_lost_where_a_long_utterance_is_cut(spoken: Samples) -> None:
    vad = Vad(max_segment_s=4.0)
    sound = np.concatenate([hiss(0.5, 1e-4), *[spoken] * 8, hiss(1.5, 1e-4)])
    out = run_operator(vad, packets(sound))
    found = utterances(out)
    assert len(found) >= 5
    assert max(end - start for start, end in found) <= 4.04
    assert min(end - start for start, end in found[:-1]) >= 2.9, "a cut is looked for in the last quarter only"
    assert all(after[0] - before[1] < 0.3 for before, after in itertools.pairwise(found))
    loudness = [np.abs(sound[round(end * RATE) - 512 : round(end * RATE)]).mean() for _, end in found[:-1]]
    assert np.mean(loudness) < np.abs(spoken).mean() / 2, "cut where it is quiet"


def test_minutes_of_silence_change_nothing(vad: Vad, spoken: Samples) -> None:
    sound = in_silence(spoken, 1.0, 1.0)
    alone = utterances(run_operator(vad, packets(sound)))
    state = vad.open("test")
    for packet in packets(hiss(300, 1e-3), size=32_000):
        assert list(vad.process(packet, state)) == []
    assert len(pickle.dumps(state)) < 60_000
    later = [out for packet in packets(sound, start=300.0) for out in vad.process(packet, state)]
    found = utterances([*later, *vad.flush(state)])
    assert found == [pytest.approx((start + 300, end + 300), abs=0.07) for start, end in alone]


def test_the_state_can_be_pickled_half_way(vad: Vad, spoken: Samples) -> None:
    given = list(packets(in_silence(spoken, 0.7, 0.9), size=900))
    one, other = through_pickle(vad, given), run_operator(vad, given)
    assert utterances(one) == utterances(other)
    assert np.array_equal(joined(one), joined(other))


def test_a_gap_ends_the_utterance(vad: Vad, spoken: Samples) -> None:
    half = len(spoken) // 2
    gap = Packet("test", half / RATE, 5.0, Gap("audio", "unplugged"), 0.0)
    given = [*packets(spoken[:half]), gap, *packets(in_silence(spoken[half:], 1, 1), start=5.0)]
    out = run_operator(vad, given)
    place = next(k for k, packet in enumerate(out) if isinstance(packet.data, Gap))
    assert utterances(out[:place])[-1][1] <= half / RATE
    assert utterances(out[place + 1 :])[0][0] >= 5.0


def test_a_hole_without_a_gap_ends_the_utterance_too(vad: Vad, spoken: Samples) -> None:
    half = len(spoken) // 2
    found = utterances(run_operator(vad, [*packets(spoken[:half]), *packets(spoken[half:], start=9.0)]))
    assert found[0][1] <= half / RATE + 1e-9
    assert found[-1][0] >= 9.0


def test_nothing_earlier_than_the_vads_watermark_comes(vad: Vad, spoken: Samples) -> None:
    state = vad.open("test")
    for packet in packets(in_silence(spoken), size=640):
        promised = vad.watermark(state, packet.start)
        assert promised >= packet.start - 0.6
        for out in vad.process(packet, state):
            assert out.start >= promised


@pytest.mark.parametrize(
    ("samples", "rate", "said"), [((160, 1), 44_100, "1 channel.* at 44100 Hz"), ((160, 2), RATE, "2 channel")]
)
def test_other_sound_is_refused_with_advice(vad: Vad, samples: tuple[int, int], rate: int, said: str) -> None:
    packet = Packet("test", 0.0, 0.01, AudioChunk(np.zeros(samples, np.float32), rate), 0.0)
    for operator in (vad, LogMel()):
        with pytest.raises(MmstreamError, match=f"{said}.*put operators.audio:Resample before it"):
            run_operator(operator, [packet])


@pytest.mark.parametrize(
    ("argument", "value"),
    [("threshold", 1.5), ("pre_roll_ms", -1), ("hangover_ms", 0), ("min_speech_ms", 2000), ("max_segment_s", 0.1)],
)
def test_arguments_out_of_range_are_refused(argument: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{argument} is .* to|{argument} is a probability"):
        Vad(**{argument: value})
