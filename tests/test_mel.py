"""LogMel: any chunking gives bit-equal frames, and they are those of torchaudio."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.testing import run_operator
from operators.audio import LogMel
from tests.sounds import RATE, Samples, hiss, packets, sine, through_pickle


@pytest.fixture(scope="module")
def mel() -> LogMel:
    return LogMel()


def frames(given: Iterable[Packet]) -> Samples:
    values = [packet.data.values for packet in given]
    return np.concatenate(values) if values else np.zeros((0, 80), np.float32)


@given(sizes=st.lists(st.integers(1, 2000), max_size=40), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_any_chunking_gives_bit_equal_frames(mel: LogMel, sizes: list[int], seed: int) -> None:
    sound = hiss(0.8, 0.1, seed)
    whole = frames(run_operator(mel, packets(sound, size=10**6)))
    assert whole.shape == (78, 80)
    assert np.array_equal(frames(run_operator(mel, packets(sound, sizes=sizes, size=977))), whole)


def test_frames_are_those_of_torchaudio(mel: LogMel) -> None:
    import torch
    import torchaudio

    sound = np.concatenate([hiss(1.0, 0.1), sine(1.0, RATE)])
    transform = torchaudio.transforms.MelSpectrogram(RATE, n_fft=400, hop_length=160, n_mels=80, center=False)
    expected = transform(torch.from_numpy(sound)).T.clamp(min=1e-6).log().numpy()
    assert np.allclose(frames(run_operator(mel, packets(sound))), expected, atol=1e-4)


def test_frames_know_their_time(mel: LogMel) -> None:
    out = run_operator(mel, packets(hiss(1.0, 0.1), size=700, start=3.0))
    assert out[0].start == 3.0
    assert out[0].data.rate_hz == 100.0
    for packet in out:
        assert len(packet.data.values) == round((packet.end - packet.start) * 100)
        assert packet.captured_at == pytest.approx(100 + packet.end)
    assert all(after.start == before.end for before, after in itertools.pairwise(out))
    assert out[-1].end == pytest.approx(3.98)


def test_mel_state_can_be_pickled_half_way(mel: LogMel) -> None:
    given = list(packets(hiss(0.5, 0.1), size=333))
    assert np.array_equal(frames(through_pickle(mel, given)), frames(run_operator(mel, given)))


@pytest.mark.parametrize(
    ("arguments", "legal"),
    [
        ({"n_mels": 0}, "n_mels is 1 to 201"),
        ({"sample_rate": 0}, "sample_rate is in Hz"),
        ({"hop_ms": 30}, "hop_ms is above 0 and at most window_ms"),
        ({"f_max_hz": 9000}, "half of sample_rate"),
        ({"floor": 0}, "floor is above 0"),
    ],
)
def test_log_mel_names_the_legal_values(arguments: dict[str, float], legal: str) -> None:
    with pytest.raises(ValueError, match=legal):
        LogMel(**arguments)
