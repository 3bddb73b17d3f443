"""Words come out when they have been said: neither as a guess before nor at leisure after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmstream.nets.heads import CtcHead
from mmstream.nets.vocabulary import Vocabulary
from mmstream.training.batches import Feeder, MixConfig
from mmstream.training.sound import Noises, SoundConfig
from tests.corpora import made_corpus

PLAIN = SoundConfig(noise_chance=0, rate=(1, 1), warp=(1, 1), gain_db=(0, 0), tilt=0, time_masks=0, mel_masks=0)


def test_a_word_may_come_out_from_when_it_is_half_said_until_a_quarter_of_a_second_after_it(tmp_path: Path) -> None:
    corpus = made_corpus(tmp_path / "corpus", 1, video=False)
    (clip,) = corpus.clips
    vocabulary = Vocabulary(pieces=tuple(f"{word.text} " for word in clip.words))
    mix = MixConfig(seconds=2, join=1, mismatched=0, empty=0, late_s=0.24, sound=PLAIN)
    feeder = Feeder(corpus, mix, vocabulary, classes={}, noises=Noises((), (), PLAIN), faces=(), seed=0)
    allowed = feeder.batch(0).allowed[0].numpy()
    expected = np.zeros_like(allowed)
    expected[:, 0] = True
    for word in clip.words:
        middle = min(word.start + 0.12, (word.start + word.end) / 2)
        (token,) = vocabulary.encode(word.text)
        expected[int(middle / 0.04 + 1e-6) : int((word.end + 0.24) / 0.04 + 1e-6) + 1, token] = True
    assert (allowed == expected).all(axis=1).mean() > 0.95  # but for how a step's edge is rounded
    assert (allowed & ~expected).sum() + (expected & ~allowed).sum() <= 2 * len(clip.words)


def test_ctc_finds_a_token_out_of_its_time_next_to_impossible() -> None:
    torch.manual_seed(0)
    head, steps = CtcHead(8, 4), torch.randn(1, 6, 8)
    aim = (torch.tensor([6]), torch.tensor([[2]]), torch.tensor([1]))
    allowed = torch.ones(1, 6, 4, dtype=torch.bool)
    assert torch.equal(head.loss(steps, *aim, allowed=allowed), head.loss(steps, *aim))
    allowed[0, :, 2] = False
    allowed[0, 3, 2] = True
    scores = head(steps)[0]
    only_there = -(scores[[0, 1, 2, 4, 5], 0].sum() + scores[3, 2])
    assert torch.allclose(head.loss(steps, *aim, allowed=allowed), only_there)
