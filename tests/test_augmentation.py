"""What training does to sound and mouth crops, and that batches are a function of their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.nets.visual import SIZE
from mmstream.nets.vocabulary import Vocabulary
from mmstream.training import sight, sound
from mmstream.training.batches import IGNORED, Feeder, MixConfig, log_mel
from mmstream.training.corpus import Corpus
from mmstream.training.loss import counts
from mmstream.training.sight import HOLD_STEPS, HOLD_TRUST, SightConfig
from mmstream.training.sound import Noises, SoundConfig
from tests.corpora import made_corpus

VOCABULARY = Vocabulary()
NO_LOSS = SightConfig(drop_chance=0, freeze_chance=0, offset_chance=0)
PLAIN_SOUND = SoundConfig(noise_chance=0, rate=(1, 1), warp=(1, 1), gain_db=(0, 0), tilt=0, time_masks=0, mel_masks=0)
CLASSES = {"one": 1, "two": 2, "three": 3, "four": 4}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return made_corpus(tmp_path_factory.mktemp("corpus") / "av", clips=7, video=True)


def feeder(corpus: Corpus, config: MixConfig, seed: int = 3, *, voices: bool = True) -> Feeder:
    noises = Noises([], [corpus] if voices else [], config.sound)
    return Feeder(corpus, config, VOCABULARY, classes=CLASSES, noises=noises, faces=[corpus], seed=seed)


def power_db(wave) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64))))


@given(st.floats(-10, 30), st.integers(0, 100), st.floats(0.001, 0.9))
def test_noise_comes_at_the_ratio_asked_for(snr_db, seed, level):
    rng = np.random.default_rng(seed)
    clean = (level * np.sin(np.arange(16_000) / 7)).astype(np.float32)
    noise = (rng.standard_normal(16_000) * 0.1).astype(np.float32)
    added = sound.add_noise(clean, noise, snr_db) - clean
    assert power_db(clean) - power_db(added) == pytest.approx(snr_db, abs=0.1)


@pytest.mark.parametrize("voices", [True, False])
def test_a_drawn_noise_has_the_length_and_is_not_silent(corpus, voices):
    noises = Noises([], [corpus] if voices else [], SoundConfig(babble_chance=1))
    for seed in range(5):
        noise = noises.draw(12_345, np.random.default_rng(seed))
        assert noise.shape == (12_345,)
        assert noise.std() > 1e-4


@given(st.floats(0.8, 1.25), st.integers(2_000, 20_000))
def test_rate_changes_length_and_pitch(rate, samples):
    fast = sound.at_rate(np.sin(np.arange(samples) * 0.1).astype(np.float32), rate)
    assert len(fast) == pytest.approx(samples / rate, abs=2)
    expected = np.sin(np.arange(len(fast)) * 0.1 * rate)
    assert np.abs(fast - expected).max() < 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_mel_augmentation_keeps_the_shape_and_leaves_its_input(seed):
    before = torch.randn(120, 80, generator=torch.Generator().manual_seed(seed)) - 5
    copy = before.clone()
    after = sound.augmented_mel(before, SoundConfig(), np.random.default_rng(seed))
    assert after.shape == before.shape
    assert torch.isfinite(after).all()
    assert torch.equal(before, copy)


def test_warp_moves_a_band_as_far_as_asked():
    mel = torch.full((10, 80), -10.0)
    mel[:, 40] = 0
    warped = sound.augmented_mel(mel, SoundConfig(warp=(1.1, 1.1), tilt=0, gain_db=(0, 0), time_masks=0, mel_masks=0),
                                 np.random.default_rng(0))  # fmt: skip
    assert int(warped[0].argmax()) == round(40 / 1.1)


def test_missing_crops_are_held_and_trusted_less_then_given_up():
    crops = np.arange(1, 13, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    quality = np.array([0, 1, 0, 0, 0, 0, 0, 0, 0.5, 0, 1, 1], np.float32)
    shown, trust = sight.held(crops, quality)
    assert shown[:, 0, 0].tolist() == [0, 2, 2, 2, 2, 2, 0, 0, 9, 9, 11, 12]
    held = [HOLD_TRUST**k for k in range(1, HOLD_STEPS + 1)]
    assert trust.tolist() == pytest.approx([0, 1, *held, 0, 0, 0.5, 0.5 * HOLD_TRUST, 1, 1])


def test_nothing_is_held_where_nothing_was_seen():
    shown, trust = sight.held(np.full((5, 4, 4), 9, np.uint8), np.zeros(5, np.float32))
    assert not shown.any()
    assert not trust.any()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 100_000), st.booleans())
def test_lossy_video_never_shows_the_future_beyond_the_offset(seed, offset):
    """Crop k is numbered k: what is shown at step k is at most ``offset_steps`` ahead of it."""
    steps = 60
    crops = np.arange(1, steps + 1, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    config = SightConfig(drop_chance=0.9, freeze_chance=0.3, offset_chance=float(offset), offset_steps=5)
    shown, trust = sight.lossy(crops, np.ones(steps, np.float32), config, np.random.default_rng(seed))
    numbers = shown[:, 0, 0].astype(int) - 1
    seen = trust > 0
    assert (numbers[seen] - np.arange(steps)[seen] <= (5 if offset else 0)).all()
    assert (shown[~seen] == 0).all()
    assert ((trust >= 0) & (trust <= 1)).all()


def test_video_follows_the_rate():
    crops = np.arange(50, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    fast, trust = sight.at_rate(crops, np.ones(50, np.float32), 1.25, 45)
    assert fast[:40, 0, 0].tolist() == [round(1.25 * k) for k in range(40)]
    assert not trust[40:].any()


def test_looked_at_has_the_size_of_the_net_and_is_the_middle_where_nothing_is_changed():
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    nothing = SightConfig(
        turn_degrees=0, zoom=(1, 1), drift=0, flip_chance=0, erase_chance=0, blur_chance=0, noise_chance=0, gamma=(1, 1)
    )
    seen = sight.looked_at(crops, nothing, np.random.default_rng(1))
    assert seen.shape == (3, SIZE, SIZE)
    assert sight.looked_at(crops, SightConfig(), np.random.default_rng(1)).shape == (3, SIZE, SIZE)


def test_words_stay_where_they_are_said_at_any_rate(corpus):
    """The alignment of a clip played at 0.8 of its rate is that of the clip, stretched."""
    config = MixConfig(seconds=1, join=1, empty=0, mismatched=0, sound=PLAIN_SOUND, sight=NO_LOSS)
    slow = MixConfig(seconds=1, join=1, empty=0, mismatched=0, sight=NO_LOSS,
                     sound=SoundConfig(noise_chance=0, rate=(0.8, 0.8)))  # fmt: skip
    plain, stretched = (feeder(corpus, one).batch(0) for one in (config, slow))
    assert plain is not None
    assert stretched is not None
    classes, slower = plain.alignment[0].tolist(), stretched.alignment[0].tolist()
    assert 0 in classes
    assert len(set(classes)) > 2
    assert len(slower) == pytest.approx(len(classes) / 0.8, abs=2)
    agree = [slower[k] == classes[min(len(classes) - 1, int((k + 0.5) * 0.8))] for k in range(len(slower) - 2)]
    assert np.mean(agree) > 0.95


def test_a_batch_is_a_function_of_its_number(corpus):
    config = MixConfig(seconds=5)
    one, other = feeder(corpus, config), feeder(corpus, config)
    for step in (4, 0, 4):
        first, second = one.batch(step), other.batch(step)
        for left, right in zip(first, second, strict=True):
            assert (left is None and right is None) or torch.equal(left.nan_to_num(-9), right.nan_to_num(-9))
    assert not torch.equal(one.batch(0).mel, one.batch(1).mel)
    assert not torch.equal(one.batch(0).mel, feeder(corpus, config, seed=4).batch(0).mel)


def test_every_clip_comes_once_a_lap(corpus):
    served = feeder(corpus, MixConfig(seconds=4, join=3))
    laps = 3
    texts: list[str] = []
    step = 0
    while len(texts) < laps * len(corpus):
        texts += [clip.text for sequence in served.planned(step) for clip in sequence]
        step += 1
    lap = sorted(clip.text for clip in corpus.clips)
    for k in range(laps):
        assert sorted(texts[k * len(corpus) : (k + 1) * len(corpus)]) == lap


def test_the_parts_of_a_batch_are_the_batch(corpus):
    served = feeder(corpus, MixConfig(seconds=8, join=1))
    whole = served.batch(0)
    parts = [served.batch(0, part, 3) for part in range(3)]
    assert sum(len(part.lengths) for part in parts if part is not None) == len(whole.lengths) >= 3
    assert torch.equal(sum(counts(part) for part in parts), counts(whole))
    for k, length in enumerate(whole.lengths.tolist()):
        mine = parts[k % 3]
        assert torch.equal(mine.mel[k // 3, : 4 * length], whole.mel[k, : 4 * length])
    assert served.batch(0, 50, 60) is None


def test_modalities_are_dropped_as_often_as_asked(corpus):
    config = MixConfig(seconds=60, join=1, audio_only=0.25, video_only=0.25, empty=0, mismatched=0, sight=NO_LOSS)
    served = feeder(corpus, config, voices=False)
    heard_seen = []
    for step in range(30):
        batch = served.batch(step)
        for trust, length in zip(batch.trust, batch.lengths, strict=True):
            heard_seen.append((bool(trust[:length, 0].any()), bool(trust[:length, 1].any())))
    share = {pair: heard_seen.count(pair) / len(heard_seen) for pair in set(heard_seen)}
    assert share[True, False] == pytest.approx(0.25, abs=0.1)
    assert share[False, True] == pytest.approx(0.25, abs=0.1)
    assert (False, False) not in share


def test_an_empty_sequence_asks_for_no_word(corpus):
    batch = feeder(corpus, MixConfig(seconds=3, join=1, empty=1)).batch(0)
    assert batch.target_lengths.tolist() == [0] * len(batch.lengths)
    assert (batch.alignment[batch.alignment != IGNORED] == 0).all()
    assert batch.snr.isnan().all()


def test_video_of_somebody_else_is_marked(corpus):
    batch = feeder(corpus, MixConfig(seconds=6, join=1, audio_only=1, video_only=0, mismatched=1, empty=0)).batch(0)
    assert (batch.matched == 0).all()
    assert batch.trust[..., 1].any()


def test_training_hears_what_the_operator_hears(tmp_path: Path):
    """``log_mel`` gives ``operators.audio:LogMel``'s frames."""
    from mmstream.core import Packet
    from mmstream.media import AudioChunk
    from mmstream.testing import run_operator
    from operators.audio import LogMel

    wave = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
    chunk = Packet("s", 0.0, 1.0, AudioChunk(wave[:, None], 16_000), 0.0)
    live = np.concatenate([packet.data.values for packet in run_operator(LogMel(), [chunk])])
    ours = log_mel(wave).numpy()
    assert len(ours) == 100
    np.testing.assert_allclose(ours[: len(live)], live, atol=1e-4)
