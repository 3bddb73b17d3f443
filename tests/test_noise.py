"""Noise at a known ratio: what ``mix`` promises by hand, and ``AddNoise`` with lists at both ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmstream.core import MmstreamError, Packet
from mmstream.media import AudioChunk, Gap
from mmstream.testing import run_operator
from operators.audio.noise import AddNoise, mix, noise_files
from tests.media_samples import noise, tone, write_wav

RATE = 16_000


def ratio_db(clean: np.ndarray, noisy: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(clean)) / np.mean(np.square(noisy - clean)))


def voice(seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    """A tone that is silent in its second half: its power over the whole is not that of its loud part."""
    sound = np.repeat(tone(seconds) / np.float32(32768), channels, axis=1).astype(np.float32)
    sound[len(sound) // 2 :] = 0
    return sound


def hiss(seconds: float = 3.0) -> np.ndarray:
    return (noise(seconds)[:, 0] / 32768).astype(np.float32)


def packets(sound: np.ndarray, size: int = 1600, start: float = 0.0, session: str = "s") -> list[Packet[AudioChunk]]:
    made = []
    for at in range(0, len(sound), size):
        part = sound[at : at + size]
        begin = start + at / RATE
        end = begin + len(part) / RATE
        made.append(Packet(session, begin, end, AudioChunk(part, RATE), 50 + end))
    return made


def joined(given: list[Packet[AudioChunk]]) -> np.ndarray:
    return np.concatenate([packet.data.samples for packet in given])


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two recordings of noise, of different kinds, and a file that is none."""
    folder = tmp_path / "noise"
    folder.mkdir()
    write_wav(folder / "babble_1.wav", noise(2.0, seed=1))
    write_wav(folder / "music.wav", tone(2.0, hz=1234.5))
    (folder / "README.md").write_text("licences\n")
    return folder


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_powers_over_the_whole_clip_are_so_far_apart(snr_db: float, channels: int) -> None:
    clean = voice(channels=channels)
    noisy = mix(clean, hiss(), snr_db, seed=3)
    assert noisy.dtype == np.float32
    assert noisy.shape == clean.shape
    assert ratio_db(clean, noisy) == pytest.approx(snr_db, abs=0.01)


def test_a_clip_gets_the_same_noise_at_every_ratio_and_another_by_another_seed() -> None:
    clean = voice()
    loud, quiet, other = (mix(clean, hiss(), *how) - clean for how in ((0.0, [3, 7]), (20.0, [3, 7]), (0.0, [4, 7])))
    assert np.allclose(loud, 10 * quiet, atol=1e-4)
    assert abs(np.corrcoef(loud[:, 0], other[:, 0])[0, 1]) < 0.1


def test_noise_that_is_shorter_goes_round() -> None:
    clean = voice(1.0)
    added = (mix(clean, hiss(0.25), 0.0, seed=0) - clean)[:, 0]
    assert np.allclose(added[:4000], added[4000:8000], atol=1e-6)


def test_silence_stays_and_silence_is_no_noise() -> None:
    silent = np.zeros((100, 1), np.float32)
    assert not mix(silent, hiss(), 0.0, seed=0).any()
    for nothing in (np.zeros(0, np.float32), np.zeros(10, np.float32)):
        with pytest.raises(ValueError, match="empty or silent"):
            mix(voice(), nothing, 0.0, seed=0)


@pytest.mark.parametrize("size", [160, 1600, 16_000])
def test_the_operator_gives_the_chunks_that_came_with_noise_over_all_of_them(recordings: Path, size: int) -> None:
    clean = packets(voice(), size, start=0.2)
    noisy = run_operator(AddNoise(str(recordings), snr_db=5.0, seed=2), clean, "s")
    assert [(one.start, one.end, one.captured_at) for one in noisy] == [
        (one.start, one.end, one.captured_at) for one in clean
    ]
    assert [one.data.samples.shape for one in noisy] == [one.data.samples.shape for one in clean]
    assert ratio_db(joined(clean), joined(noisy)) == pytest.approx(5.0, abs=0.01)
    whole = run_operator(AddNoise(str(recordings), snr_db=5.0, seed=2), packets(voice(), 7777), "s")
    assert np.array_equal(joined(noisy), joined(whole))


def test_the_draw_hangs_on_seed_and_session(recordings: Path) -> None:
    def added(seed: int, session: str) -> np.ndarray:
        clean = packets(voice(), session=session)
        return joined(run_operator(AddNoise(str(recordings / "babble_1.wav"), 0.0, seed), clean, session))

    assert np.array_equal(added(0, "a"), added(0, "a"))
    assert not np.array_equal(added(0, "a"), added(1, "a"))
    assert not np.array_equal(added(0, "a"), added(0, "b"))


def test_of_a_folder_each_session_gets_one_recording(recordings: Path) -> None:
    operator = AddNoise(str(recordings), 0.0)
    clean = voice()
    kinds = set()
    for number in range(12):
        added = joined(run_operator(operator, packets(clean, session=str(number)), str(number))) - clean
        loudest = np.abs(np.fft.rfft(added[:, 0])).argmax()  # 1 Hz apart
        kinds.add(abs(loudest - 1234.5) < 2)
    assert kinds == {True, False}


def test_a_gap_and_another_rate_begin_a_stretch_with_a_ratio_of_its_own(recordings: Path) -> None:
    lost = Packet("s", 1.0, 1.5, Gap("audio", "lost"), 51.5)
    quiet = packets(voice() / 10, start=1.5)
    coarse = [Packet("s", 2.5, 3.5, AudioChunk(voice(0.5), 8000), 53.5)]
    given = run_operator(
        AddNoise(str(recordings / "babble_1.wav"), 0.0), [*packets(voice()), lost, *quiet, *coarse], "s"
    )
    assert given[10] == lost
    assert ratio_db(voice(), joined(given[:10])) == pytest.approx(0.0, abs=0.01)
    assert ratio_db(voice() / 10, joined(given[11:-1])) == pytest.approx(0.0, abs=0.01)
    assert given[-1].data.sample_rate == 8000
    assert ratio_db(voice(0.5), given[-1].data.samples) == pytest.approx(0.0, abs=0.01)


def test_what_is_held_back_holds_the_watermark(recordings: Path) -> None:
    operator = AddNoise(str(recordings), 0.0)
    state = operator.open("s")
    assert operator.watermark(state, 4.0) == 4.0
    assert list(operator.process(packets(voice(), start=1.0)[0], state)) == []
    assert operator.watermark(state, 4.0) == 1.0
    assert len(list(operator.flush(state))) == 1
    assert operator.watermark(state, 4.0) == 4.0


def test_a_file_a_folder_and_a_pattern(recordings: Path) -> None:
    def names(path: Path) -> list[str]:
        return [file.name for file in noise_files(path)]

    assert names(recordings) == ["babble_1.wav", "music.wav"]
    assert names(recordings / "music.wav") == ["music.wav"]
    assert names(recordings / "babble*") == ["babble_1.wav"]


def test_where_there_is_no_noise_it_is_said(recordings: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "nowhere/deep", recordings / "speech*", tmp_path):
        with pytest.raises(MmstreamError, match="no sound file or folder of sound files") as fault:
            AddNoise(str(path), 0.0)
        assert str(path) in str(fault.value)
    silent = write_wav(tmp_path / "silent.wav", np.zeros((1600, 1), np.int16))
    with pytest.raises(MmstreamError, match=r"silent\.wav: is silent"):
        run_operator(AddNoise(str(silent), 0.0), packets(voice()), "s")


def test_arguments_out_of_range(recordings: Path) -> None:
    for snr_db in (-61.0, 101.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="snr_db is -60 to 100"):
            AddNoise(str(recordings), snr_db)
    with pytest.raises(ValueError, match="seed is 0 or more"):
        AddNoise(str(recordings), 0.0, seed=-1)
