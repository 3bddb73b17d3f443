"""Where long files are cut: in pauses, never inside lost media, and not at all where parts cannot be read."""

from __future__ import annotations

import threading
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmstream.transcription.cuts import Sound, _best_cut, find_cuts
from operators.audio import Vad
from operators.sources import SourceError
from tests.command_line import BANK, COUNTING, SAMPLE_RATE, say
from tests.media_samples import ffmpeg, talking_picture, tone, write_timed, write_wav

Samples = NDArray[np.int16]  # (time,)


@pytest.fixture(scope="module")
def vad() -> Vad:
    return Vad()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """About five seconds in which somebody speaks, without the silence before and after."""
    path = say(tmp_path_factory.mktemp("said") / "said.wav", f"{COUNTING} {BANK}")
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 500)
    return samples[loud[0] : loud[-1]]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def cuts(path: Path, split_s: float, vad: Vad, duration_s: float = 100.0, streams: str = "audio") -> list[float]:
    return find_cuts(path, duration_s, split_s, streams, vad, threading.Event())  # type: ignore[arg-type]


def test_the_cut_is_in_the_pause_nearest_to_where_the_piece_should_end(
    tmp_path: Path, spoken: Samples, vad: Vad
) -> None:
    parts = [spoken, silence(1.2), spoken, silence(2.2), spoken, silence(1.2), spoken]
    path = write_wav(tmp_path / "talk.wav", np.concatenate(parts)[:, None])
    long_from = (2 * len(spoken) + len(silence(1.2))) / SAMPLE_RATE
    (cut,) = cuts(path, 15.0, vad)
    assert long_from + 0.5 < cut < long_from + 2.2 - 0.3  # what belongs to an utterance stays with it


@pytest.mark.parametrize("suffix", ["flac", "mp3", "m4a", "opus"])
def test_every_format_is_cut_at_the_same_place(tmp_path: Path, spoken: Samples, vad: Vad, suffix: str) -> None:
    samples = np.concatenate([spoken, silence(2.0), spoken])
    path = write_wav(tmp_path / "talk.wav", samples[:, None])
    ffmpeg("-i", path, tmp_path / f"talk.{suffix}")
    (cut,) = cuts(tmp_path / f"talk.{suffix}", 7.5, vad)
    assert cut == pytest.approx(len(spoken) / SAMPLE_RATE + 1.2, abs=0.4)


def test_where_nobody_pauses_it_is_cut_where_it_is_quietest() -> None:
    levels = [(number * 0.032, 1.0) for number in range(300)]
    levels[140:160] = [(time, 0.1) for time, _ in levels[140:160]]
    levels[200] = (levels[200][0], 0.0)  # too short for a pause
    sound = Sound(heard=[(0.0, 9.6)], speech=[(0.0, 9.6)], levels=levels)
    assert _best_cut(sound, 8.0) == pytest.approx(150 * 0.032, abs=0.2)


def test_speech_without_a_pause_is_cut_all_the_same(tmp_path: Path, spoken: Samples, vad: Vad) -> None:
    path = write_wav(tmp_path / "talk.wav", np.concatenate([spoken] * 4)[:, None])
    length = 4 * len(spoken) / SAMPLE_RATE
    (cut,) = cuts(path, length * 0.6, vad)
    assert cut == pytest.approx(length / 2, rel=0.16)


def test_no_longer_than_a_piece(tmp_path: Path, vad: Vad) -> None:
    path = write_wav(tmp_path / "tone.wav", tone(6.0))
    assert cuts(path, 6.0, vad, duration_s=6.0) == []
    assert cuts(path, 5.97, vad, duration_s=6.0) == []  # a rest that is no longer than a packet
    assert len(cuts(path, 3.5, vad, duration_s=6.0)) == 1


def test_pieces_are_about_equal(tmp_path: Path, vad: Vad) -> None:
    path = write_wav(tmp_path / "tone.wav", tone(31.0))
    assert cuts(path, 10.0, vad) == pytest.approx([7.75, 15.5, 23.25], abs=0.15)


def test_timestamps_that_jump_back_are_not_cut(tmp_path: Path, vad: Vad) -> None:
    once = talking_picture(tmp_path / "once.ts", 12.0)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(2 * once.read_bytes())  # as recorders join what they have cut
    assert len(cuts(once, 6.5, vad)) == 1
    assert cuts(twice, 6.5, vad) == []


def test_no_cut_inside_lost_media(tmp_path: Path, vad: Vad) -> None:
    lost = range(8, 13)  # the middle of the file, and more than is searched
    path = write_timed(tmp_path / "gap.mkv", [(float(s), tone(1.0)) for s in range(20) if s not in lost])
    assert cuts(path, 12.0, vad) == []
    path = write_timed(tmp_path / "gap.mkv", [(float(s), tone(1.0)) for s in range(20) if s not in (9, 10)])
    (cut,) = cuts(path, 12.0, vad)
    assert not 8.9 < cut < 11.1


def test_every_piece_holds_something_of_every_medium(tmp_path: Path, vad: Vad) -> None:
    sound = [(float(second), tone(1.0)) for second in range(24)]
    pictures = [(number / 5, 50) for number in range(40)]  # for the first third
    path = write_timed(tmp_path / "short.mkv", sound, pictures)
    assert cuts(path, 6.0, vad, streams="any") == pytest.approx([5.75], abs=0.2)
    assert len(cuts(path, 6.0, vad)) == 3


def test_pictures_without_sound_are_not_cut(tmp_path: Path, vad: Vad) -> None:
    path = talking_picture(tmp_path / "mute.mp4", 4.0, "-an")
    assert cuts(path, 2.0, vad, streams="any") == []
    with pytest.raises(SourceError, match="has no audio, only video"):
        cuts(path, 2.0, vad)


def test_asked_to_stop(tmp_path: Path, vad: Vad) -> None:
    path = write_wav(tmp_path / "tone.wav", tone(30.0))
    stopping = threading.Event()
    stopping.set()
    assert find_cuts(path, 30.0, 10.0, "audio", vad, stopping) == []
