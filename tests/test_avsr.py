"""The recogniser's operators, one by one and together, with small random weights: sound and lips in, words out."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream import weights
from mmstream.core import MmstreamError, Packet
from mmstream.media import Features, FusedFeatures, Gap, Hypothesis, Mouth, VisualFeatures
from mmstream.testing import run_operator
from operators.decoders import Avsr
from operators.encoders import HOLD_STEPS, HOLD_TRUST, AudioEncoder, VideoEncoder
from operators.fusion import Fuse
from tests.tiny_avsr import CONFIG, tiny_net, write_tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("avsr")))


def mel_packets(values, cuts=(), start=0.0):
    bounds = [0, *sorted(cuts), len(values)]
    return [
        Packet("test", start + a / 100, start + b / 100, Features(values[a:b], 100.0), 50 + start + b / 100)
        for a, b in pairwise(bounds)
        if a < b
    ]


def mel_of(frames, seed=0):
    return (np.random.default_rng(seed).normal(-6, 3, (frames, 80))).astype(np.float32)


def mouth(start, end, seed=0, quality=0.9):
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    return Packet("test", start, end, Mouth(pixels, quality, 1.0), 50 + end)


def joined(packets, name="values"):
    return np.concatenate([getattr(packet.data, name) for packet in packets])


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 90), cuts=st.lists(st.integers(0, 90), max_size=8))
def test_audio_in_any_chunks_gives_the_vectors_of_one_pass(model, frames, cuts):
    mel = mel_of(frames)
    given_ = run_operator(AudioEncoder(model), mel_packets(mel, [min(cut, frames) for cut in cuts]))
    steps = math.ceil(frames / 4)
    padded = np.full((steps * 4, 80), math.log(1e-6), np.float32)
    padded[:frames] = mel
    with torch.inference_mode():
        whole = tiny_net().audio(torch.from_numpy(padded)[None], torch.ones(1, steps, dtype=torch.bool))[0]
    assert np.allclose(joined(given_), whole.numpy(), atol=1e-4)
    assert [packet.start for packet in given_] == pytest.approx([0, *(packet.end for packet in given_[:-1])])
    assert given_[-1].end == pytest.approx(steps * 0.04)
    assert all(packet.captured_at == pytest.approx(50 + packet.end) for packet in given_)


def test_sound_that_begins_between_two_steps_is_put_on_the_grid(model):
    late = run_operator(AudioEncoder(model), mel_packets(mel_of(38), start=1.02))
    assert late[0].start == pytest.approx(1.0)
    assert late[-1].end == pytest.approx(1.4)


def test_mel_of_another_shape_is_refused_with_what_to_change(model):
    with pytest.raises(MmstreamError, match=r"takes 80 mel bands at 100 Hz, not 40 at 100 Hz: set LogMel's n_mels"):
        run_operator(AudioEncoder(model), mel_packets(mel_of(8)[:, :40].copy()))


@pytest.mark.parametrize("fps", [5, 12.5, 25, 30, 60])
def test_any_frame_rate_gives_25_steps_a_second(model, fps):
    frames = [mouth(k / fps, (k + 1) / fps, seed=k) for k in range(int(fps * 2))]
    seen = run_operator(VideoEncoder(model), frames)
    assert len(joined(seen)) == 50
    assert [packet.start for packet in seen] == pytest.approx([0, *(packet.end for packet in seen[:-1])])
    assert (joined(seen, "trust") > 0).all()


def test_video_at_25_fps_gives_the_vectors_of_one_pass(model):
    frames = [mouth(k / 25, (k + 1) / 25, seed=k) for k in range(20)]
    crops = torch.from_numpy(np.stack([frame.data.pixels for frame in frames]))[None, :, 4:60, 4:60]
    with torch.inference_mode():
        whole = tiny_net().video(crops, torch.ones(1, 20, dtype=torch.bool))[0]
    assert np.allclose(joined(run_operator(VideoEncoder(model), frames)), whole.numpy(), atol=1e-4)


def test_a_mouth_out_of_sight_is_held_for_a_while_and_then_missing_and_the_loss_is_told(model):
    lost = Packet("test", 0.4, 0.8, Gap("video", "no face in sight"), 60.0)
    frames = [mouth(k / 25, (k + 1) / 25) for k in range(10)]
    given_ = run_operator(VideoEncoder(model), [*frames, lost, mouth(0.8, 0.84)])
    trust = joined([packet for packet in given_ if isinstance(packet.data, VisualFeatures)], "trust")
    held = [0.9 * HOLD_TRUST**age for age in range(1, HOLD_STEPS + 1)]
    assert trust == pytest.approx([0.9] * 10 + held + [0.0] * (10 - HOLD_STEPS) + [0.9])
    assert [(packet.start, packet.end) for packet in given_ if isinstance(packet.data, Gap)] == [(0.4, 0.8)]


def test_a_loss_that_goes_on_is_told_once_a_second_not_once_a_frame(model):
    lost = [Packet("test", k / 25, (k + 1) / 25, Gap("video", "no face in sight"), 60.0) for k in range(75)]
    told = [packet for packet in run_operator(VideoEncoder(model), lost) if isinstance(packet.data, Gap)]
    assert len(told) == 3
    assert (told[0].start, told[-1].end) == (0.0, pytest.approx(3.0))


def heard(first, steps, late=0.0):
    return Packet(
        "test", first * 0.04, (first + steps) * 0.04, Features(np.ones((steps, CONFIG.dim), np.float32), 25.0), 50.0
    )


def seen(first, steps, trust=1.0):
    values = np.ones((steps, CONFIG.dim), np.float32)
    data = VisualFeatures(values, np.full(steps, trust, np.float32), 25.0)
    return Packet("test", first * 0.04, (first + steps) * 0.04, data, 50.0)


def spans(packets):
    return [
        (round(packet.start / 0.04), round(packet.end / 0.04))
        for packet in packets
        if isinstance(packet.data, FusedFeatures)
    ]


def test_a_step_goes_on_as_soon_as_both_media_have_it(model):
    fuse = Fuse(model)
    state = fuse.open("test")
    assert list(fuse.process(heard(0, 2), state)) == []
    assert spans(fuse.process(seen(0, 1), state)) == [(0, 1)]
    assert spans(fuse.process(seen(1, 1), state)) == [(1, 2)]
    assert list(fuse.process(seen(2, 1), state)) == []
    assert spans(fuse.process(heard(2, 2), state)) == [(2, 3)]
    assert spans(fuse.flush(state)) == [(3, 4)]


def test_sound_alone_waits_once_and_then_never(model):
    fuse = Fuse(model, max_wait_ms=200)
    state = fuse.open("test")
    given_ = [spans(fuse.process(heard(k, 1), state)) for k in range(12)]
    assert given_[0] == []
    assert given_[-1] == [(11, 12)]  # nothing is held back any more
    assert [step for part in given_ for span in part for step in range(*span)] == list(range(12))


def test_a_camera_that_comes_back_counts_again(model):
    packets = [heard(k, 1) for k in range(40)] + [seen(k, 1) for k in (*range(5), *range(30, 40))]
    fused = run_operator(Fuse(model), sorted(packets, key=lambda packet: packet.start))
    share = joined([packet for packet in fused if isinstance(packet.data, FusedFeatures)], "video")
    assert len(share) == 40
    assert (share[:5] > 0).all()
    assert (share[5:30] == 0).all()
    assert (share[31:] > 0).all()  # sound did not wait for the first one


def test_pictures_that_come_when_their_steps_are_gone_are_left_out_and_that_is_told(model):
    fuse = Fuse(model)
    given_ = run_operator(fuse, [*(heard(k, 1) for k in range(20)), *(seen(k, 1) for k in range(30))])
    told = [packet for packet in given_ if isinstance(packet.data, Gap)]
    assert [packet.data.medium for packet in told] == ["video"]
    assert "came more than 200 ms after the sound" in told[0].data.reason
    assert sum(end - start for start, end in spans(given_)) == 30


def test_lips_alone_are_enough(model):
    fused = run_operator(Fuse(model), [seen(k, 1) for k in range(10)])
    assert (joined(fused, "video") == 1).all()


def fused_packets(steps, cuts, seed=0):
    values = np.random.default_rng(seed).normal(0, 1, (steps, CONFIG.dim)).astype(np.float32)
    share = np.linspace(0, 1, steps, dtype=np.float32)
    bounds = [0, *sorted(cuts), steps]
    return [
        Packet("test", a * 0.04, b * 0.04, FusedFeatures(values[a:b], share[a:b], 25.0), 50 + b * 0.04)
        for a, b in pairwise(bounds)
        if a < b
    ]


def talkative(net):
    """Random weights say little: make blanks rare and spaces common, so that there are words to look at."""
    with torch.no_grad():
        net.ctc.classify.weight.mul_(3)
        net.ctc.classify.bias.copy_(torch.tensor([0.5, 3.0, -9.0] + [0.0] * 26))
    return net


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("talking"), talkative(tiny_net())))


def final_words(packets):
    return [
        word
        for packet in packets
        if isinstance(packet.data, Hypothesis) and packet.data.final
        for word in packet.data.words
    ]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 120), max_size=20))
def test_words_do_not_depend_on_how_steps_arrive_and_never_change(talking, cuts):
    whole = final_words(run_operator(Avsr(talking), fused_packets(120, [])))
    given_ = run_operator(Avsr(talking), fused_packets(120, cuts))
    assert final_words(given_) == whole
    assert len(whole) > 3
    before: tuple = ()
    for packet in given_:
        words = packet.data.words
        assert words[: len(before)] == before
        before = () if packet.data.final else words


def test_word_times_grow_and_shares_are_those_of_the_steps(talking):
    words = final_words(run_operator(Avsr(talking), fused_packets(120, [])))
    for one, other in pairwise(words):
        assert one.end <= other.start + 1e-9
    for word in words:
        assert 0 <= word.start < word.end <= 120 * 0.04 + 0.4
        assert 0 < word.confidence <= 1
        assert word.video == pytest.approx((word.start + word.end) / 2 / 4.8, abs=0.06)


def test_lost_sound_ends_the_utterance_and_lost_pictures_do_not(talking):
    one, two = fused_packets(120, [60])
    gap = Packet("test", 2.4, 2.5, Gap("video", "no face in sight"), 60.0)
    operator = Avsr(talking)
    assert final_words(run_operator(operator, [one, gap, two])) == final_words(run_operator(operator, [one, two]))
    loud = Packet("test", 2.4, 2.5, Gap("audio", "the device overflowed"), 60.0)
    given_ = run_operator(operator, [one, loud, two])
    place = next(k for k, packet in enumerate(given_) if isinstance(packet.data, Gap))
    assert given_[place - 1].data.final


def test_a_pause_ends_the_utterance(talking):
    net = weights.recogniser(talking)
    silence = np.zeros((120, CONFIG.dim), np.float32)
    with torch.inference_mode():
        steps, state, best = torch.from_numpy(silence)[None], net.encoder.start(1), []
        for k in range(0, 120, 4):
            out, state = net.encoder.step(steps[:, k : k + 4], state)
            best += net.ctc(out)[0].argmax(-1).tolist()
    assert (
        len(set(best[-40:])) == 1
    )  # what a random net says of silence: the same token again and again, so nothing new
    speech = fused_packets(60, [])
    quiet = Packet("test", 2.4, 7.2, FusedFeatures(silence, silence[:, 0], 25.0), 60.0)
    operator = Avsr(talking, pause_ms=800)
    state = operator.open("test")
    given_ = [packet for packet in (*speech, quiet) for packet in operator.process(packet, state)]
    assert given_[-1].data.final


def test_a_pause_shorter_than_a_step_is_refused(talking):
    with pytest.raises(ValueError, match="pause_ms is 40 or more"):
        Avsr(talking, pause_ms=10)


def test_weights_that_are_not_there_are_one_clear_line(tmp_path):
    with pytest.raises(MmstreamError, match=r"model\.json: there is no such file; mmstream export makes such a folder"):
        Avsr(str(tmp_path))


def test_changed_weights_are_noticed(tmp_path):
    folder = write_tiny(tmp_path / "model")
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(MmstreamError, match="wrong checksum"):
        AudioEncoder(str(folder))


def test_weights_of_another_format_are_refused(tmp_path):
    folder = write_tiny(tmp_path / "model")
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(MmstreamError, match="format 99 is not 1"):
        Fuse(str(folder))
