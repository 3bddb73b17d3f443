"""The nets: streaming gives what computing at once gives, padding changes nothing, and all kinds of fusion learn."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.nets.fusion import KINDS
from mmstream.nets.heads import CtcHead, TransducerHead
from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig
from mmstream.nets.visual import SIZE
from mmstream.nets.vocabulary import Vocabulary, collapsed
from tests.tiny_avsr import CONFIG, tiny_net

NETS = {kind: tiny_net(NetConfig(**{**CONFIG.as_dict(), "fusion": kind})) for kind in KINDS}


def media(steps: int, seed: int = 0, batch: int = 1):
    made = torch.Generator().manual_seed(seed)
    mel = torch.randn(batch, 4 * steps, 80, generator=made) * 3 - 6
    crops = torch.randint(0, 256, (batch, steps, SIZE, SIZE), generator=made).float()
    quality = torch.rand(batch, steps, generator=made)
    quality[:, ::5] = 0
    trust = torch.stack([(torch.rand(batch, steps, generator=made) > 0.2).float(), quality], dim=-1)
    return mel, crops, trust


@torch.inference_mode()
def streamed(net: AudioVisualRecogniser, mel, crops, trust, cuts):
    """The CTC scores, with media fed in pieces: at every cut, both media up to that step."""
    heard, seen, parts = net.audio.start(1), net.video.start(1), ([], [])
    bounds = [0, *cuts, trust.shape[1]]
    for a, b in pairwise(bounds):
        if a == b:
            continue
        vectors, heard = net.audio.step(mel[:, 4 * a : 4 * b], heard)
        parts[0].append(vectors)
        vectors, seen = net.video.step(crops[:, a:b], trust[:, a:b, 1] > 0, seen)
        parts[1].append(vectors)
    parts[0].append(net.audio.finish(heard))
    parts[1].append(net.video.finish(seen))
    late = net.config.lookahead
    audio, video = (torch.cat(part, dim=1)[:, late:] for part in parts)
    state, fused = net.fusion.start(1), []
    for a, b in pairwise(bounds):
        if a < b:
            out, state = net.fusion.step(audio[:, a:b], video[:, a:b], trust[:, a:b], state)
            fused.append(out.vectors)
    steps = torch.cat(fused, dim=1)
    encoder, encoded = net.encoder.start(1), []
    for a in range(0, steps.shape[1], net.config.chunk):
        out, encoder = net.encoder.step(steps[:, a : a + net.config.chunk], encoder)
        encoded.append(out)
    return net.ctc(torch.cat(encoded, dim=1))[0]


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 60), max_size=12),
    seed=st.integers(0, 99),
)
def test_streaming_gives_what_one_pass_gives(kind, steps, cuts, seed):
    net = NETS[kind]
    mel, crops, trust = media(steps, seed)
    with torch.inference_mode():
        whole = net.ctc(net(mel, crops, trust, torch.ones(1, steps, dtype=torch.bool)).steps)[0]
    pieces = streamed(net, mel, crops, trust, sorted(min(cut, steps) for cut in cuts))
    assert torch.allclose(whole, pieces, atol=2e-4)
    assert whole.argmax(-1).tolist() == pieces.argmax(-1).tolist()


def test_a_sequence_does_not_depend_on_what_it_is_batched_with():
    net = NETS["gated"]
    mel, crops, trust = media(30, batch=2)
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[0, 17:] = False
    with torch.inference_mode():
        batched = net(mel, crops, trust, mask)
        alone = net(mel[:1, :68], crops[:1, :17], trust[:1, :17], torch.ones(1, 17, dtype=torch.bool))
    assert torch.allclose(batched.steps[0, :17], alone.steps[0], atol=1e-5)
    assert torch.allclose(batched.share[0, :17], alone.share[0], atol=1e-5)


def test_nothing_beyond_the_look_ahead_changes_a_step():
    net = NETS["gated"]
    mel, crops, trust = media(40)
    mask = torch.ones(1, 40, dtype=torch.bool)
    with torch.inference_mode():
        before = net(mel, crops, trust, mask).steps
        mel[:, 4 * 26 :], crops[:, 26:] = 0, 0
        after = net(mel, crops, trust, mask).steps
    # Chunks of 4: steps 20-23 are computed once steps 24 and 25 have come, for which the front ends look ahead.
    assert torch.equal(before[:, :24], after[:, :24])
    assert not torch.allclose(before[:, 24:28], after[:, 24:28], atol=1e-3)
    assert net.config.algorithmic_latency_s == pytest.approx((2 + 4) * 0.04 + 0.015 + 0.04)
    assert NetConfig().algorithmic_latency_s <= 0.32


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_missing_medium_has_no_say_in_any_fusion(kind):
    net = NETS[kind]
    mel, crops, trust = media(12)
    mask = torch.ones(1, 12, dtype=torch.bool)
    for medium, share in ((0, 1.0), (1, 0.0)):  # the medium that is missing, and the share of video
        only = trust.clone()
        only[..., 1 - medium], only[..., medium] = 1.0, 0.0
        with torch.inference_mode():
            one = net(mel, crops, only, mask)
            other = net(mel + (3 if medium == 0 else 0), 255 - crops if medium else crops, only, mask)
        assert torch.allclose(one.steps, other.steps, atol=1e-6)
        assert torch.all(one.share == share)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fusion_passes_gradients_to_both_media(kind):
    net = AudioVisualRecogniser(NetConfig(**{**CONFIG.as_dict(), "fusion": kind}))
    mel, crops, trust = media(12, batch=2)
    trust = trust.clamp(min=0.5)
    out = net(mel, crops, trust, torch.ones(2, 12, dtype=torch.bool))
    net.ctc(out.steps)[..., 1].sum().backward()
    assert net.audio.first.weight.grad.abs().sum() > 0
    assert net.video.stem.weight.grad.abs().sum() > 0


def test_the_transducer_loss_falls_when_its_targets_become_likely():
    torch.manual_seed(0)
    head = TransducerHead(8, 5, width=16)
    steps, targets = torch.randn(2, 6, 8), torch.tensor([[1, 2, 3], [4, 1, 0]])
    lengths, target_lengths = torch.tensor([6, 5]), torch.tensor([3, 2])
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    first = head.loss(steps, lengths, targets, target_lengths)
    for _ in range(60):
        optimiser.zero_grad()
        loss = head.loss(steps, lengths, targets, target_lengths)
        loss.sum().backward()
        optimiser.step()
    assert torch.all(loss < first / 4)


def test_ctc_loss_is_zero_where_no_alignment_fits_and_finite_elsewhere():
    head = CtcHead(8, 5)
    targets = torch.tensor([[1, 1, 1], [1, 2, 0]])
    loss = head.loss(torch.randn(2, 3, 8), torch.tensor([3, 3]), targets, torch.tensor([3, 2]))
    assert loss[0] == 0
    assert 0 < loss[1] < 100


def test_text_survives_the_vocabulary():
    vocabulary = Vocabulary()
    assert vocabulary.decode(vocabulary.encode("it's  a test")) == "it's a test "
    assert collapsed([0, 3, 3, 0, 3, 1, 1, 0]) == [3, 3, 1]
    with pytest.raises(ValueError, match="'7' in '7up'"):
        vocabulary.encode("7up")
