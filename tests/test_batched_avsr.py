"""Sessions that share calls of the recogniser get what they get alone, whoever comes, goes or fails beside them."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import MmstreamError, Packet, Source
from mmstream.executors import make
from mmstream.graph import Batch
from mmstream.media import Features, FusedFeatures, Gap, Hypothesis, Mouth, VisualFeatures
from mmstream.nets.stacking import Ask, begun, stepped
from mmstream.testing import run_operator
from operators.decoders import Avsr
from operators.encoders import AudioEncoder, VideoEncoder
from operators.fusion import Fuse
from tests import toys
from tests.test_avsr import talkative
from tests.tiny_avsr import CONFIG, tiny_net, write_tiny

WAIT_S = 60.0
KINDS = {"hear": AudioEncoder, "see": VideoEncoder, "fuse": Fuse, "decode": Avsr}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(write_tiny(tmp_path_factory.mktemp("talking"), talkative(tiny_net())))


@pytest.fixture(scope="module")
def operators(model):
    return {name: kind(model) for name, kind in KINDS.items()}


def cut(random, length):
    """Bounds of packets of 1 to 11 steps."""
    bounds = [0]
    while bounds[-1] < length:
        bounds.append(min(length, bounds[-1] + int(random.integers(1, 12))))
    return list(pairwise(bounds))


def mel(session, seed, start=0.0):
    random = np.random.default_rng(seed)
    values = random.normal(-6, 3, (int(random.integers(20, 90)), 80)).astype(np.float32)
    return [
        Packet(session, start + a / 100, start + b / 100, Features(values[a:b], 100.0), 50 + b / 100)
        for a, b in cut(random, len(values))
    ]


def mouths(session, seed):
    """At some frame rate, and out of sight for a while."""
    random = np.random.default_rng(seed)
    fps, packets = float(random.choice([12.5, 25.0, 30.0])), []
    for k in range(int(random.integers(8, 30))):
        pixels = random.integers(0, 256, (64, 64), np.uint8)
        data = Gap("video", "no face in sight") if 6 <= k < 9 else Mouth(pixels, 0.9, 1.0)
        packets.append(Packet(session, k / fps, (k + 1) / fps, data, 50 + k / fps))
    return packets


def vectors(session, seed):
    """Of sound and of lips, in order of start, with lips missing for a while."""
    random = np.random.default_rng(seed)
    packets = []
    for a, b in cut(random, 60):
        values = random.normal(0, 1, (b - a, CONFIG.dim)).astype(np.float32)
        packets.append(Packet(session, a / 25, b / 25, Features(values, 25.0), 50 + b / 25))
        if not 20 < a < 40:
            seen = VisualFeatures(values[::-1].copy(), np.full(b - a, 0.8, np.float32), 25.0)
            packets.append(Packet(session, a / 25, b / 25, seen, 50 + b / 25))
    return packets


def fused(session, seed, steps=80):
    random = np.random.default_rng(seed)
    values = random.normal(0, 1, (steps, CONFIG.dim)).astype(np.float32)
    share = random.uniform(0, 1, steps).astype(np.float32)
    return [
        Packet(session, a / 25, b / 25, FusedFeatures(values[a:b], share[a:b], 25.0), 50 + b / 25)
        for a, b in cut(random, steps)
    ]


MEDIA = {"hear": mel, "see": mouths, "fuse": vectors, "decode": fused}


def together(operator, media, random):
    """What every session gets: in each call some of those that are there; they join late and end when they end."""
    waiting = {session: list(packets) for session, packets in media.items()}
    states = {session: operator.open(session) for session in media}
    found = {session: [] for session in media}
    sizes = []
    while waiting:
        ready = [session for session in waiting if random.random() < 0.7]
        random.shuffle(ready)
        given_ = operator.process_batch([waiting[one].pop(0) for one in ready], [states[one] for one in ready])
        sizes.append(len(ready))
        for session, packets in zip(ready, given_, strict=True):
            found[session] += packets
            if not waiting[session]:
                del waiting[session]
                found[session] += operator.flush(states.pop(session))
    assert max(sizes) > 1
    return found


def assert_same(one, other):
    """The same packets; words to the letter and to the last bit of their times."""
    assert [(packet.start, packet.end, packet.captured_at, type(packet.data)) for packet in one] == [
        (packet.start, packet.end, packet.captured_at, type(packet.data)) for packet in other
    ]
    for a, b in zip(one, other, strict=True):
        if isinstance(a.data, Hypothesis):
            assert [(word.text, word.start, word.end) for word in a.data.words] == [
                (word.text, word.start, word.end) for word in b.data.words
            ]
            assert [word.confidence for word in a.data.words] == pytest.approx(
                [word.confidence for word in b.data.words], abs=1e-5
            )
            assert a.data.final == b.data.final
        elif isinstance(a.data, Gap):
            assert a.data == b.data
        else:
            assert np.allclose(a.data.values, b.data.values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 9))
def test_a_session_gets_in_any_company_what_it_gets_alone(operators, name, seed, count):
    operator = operators[name]
    media = {f"s{k}": MEDIA[name](f"s{k}", seed + k) for k in range(count)}
    found = together(operator, media, np.random.default_rng(seed))
    for session, packets in media.items():
        assert_same(found[session], run_operator(operator, packets, session))
    assert sum(map(len, found.values())) > count


def test_the_words_of_a_batch_are_words(operators):
    found = together(operators["decode"], {f"s{k}": fused(f"s{k}", k) for k in range(4)}, np.random.default_rng(0))
    texts = [
        " ".join(word.text for one in packets if one.data.final for word in one.data.words)
        for packets in found.values()
    ]
    assert len(set(texts)) == 4
    assert all(len(text.split()) > 3 for text in texts)


@pytest.mark.parametrize("name", KINDS)
def test_a_state_pickled_after_every_call_goes_on_as_if_it_had_not_been(operators, name):
    operator = operators[name]
    media = {f"s{k}": MEDIA[name](f"s{k}", k) for k in range(3)}
    states = {session: operator.open(session) for session in media}
    found = {session: [] for session in media}
    for number in range(max(map(len, media.values()))):
        ready = [session for session, packets in media.items() if number < len(packets)]
        given_ = operator.process_batch([media[one][number] for one in ready], [states[one] for one in ready])
        for session, packets in zip(ready, given_, strict=True):
            found[session] += packets
            if (number + len(session)) % 2:  # some of them: restored rows meet rows that stayed
                states[session] = pickle.loads(pickle.dumps(states[session]))
    for session, packets in media.items():
        found[session] += operator.flush(states[session])
        assert_same(found[session], run_operator(operator, packets, session))


@pytest.mark.parametrize("name", KINDS)
def test_a_fault_leaves_every_state_as_it_was(operators, name, monkeypatch):
    operator = operators[name]
    media = [MEDIA[name](f"s{k}", k) for k in range(3)]
    states = [operator.open(f"s{k}") for k in range(3)]
    count = 5 if name == "fuse" else 4  # the next packet of ``vectors`` is of lips, whose sound has come
    for packets in zip(*(one[:count] for one in media), strict=True):
        operator.process_batch(packets, states)
    before = [pickle.dumps(state) for state in states]
    calls, answer = [], operator.answer

    def fails_late(asked):
        calls.append(answer(asked))
        raise MemoryError("a fault")

    monkeypatch.setattr(operator, "answer", fails_late)
    whole = [_joined(packets[count:]) for packets in media]  # all that comes: every session needs the net
    with pytest.raises(MemoryError):
        operator.process_batch(whole, states)
    assert len(calls[0]) == 3
    assert [pickle.dumps(state) for state in states] == before


def _joined(packets):
    """One packet of the contiguous packets of one kind that come first."""
    first = packets[0]
    if isinstance(first.data, Mouth):
        return first.derive(first.data, end=first.start + 0.4)
    same = [packet for packet in packets if type(packet.data) is type(first.data)]
    if isinstance(first.data, VisualFeatures):
        return first
    values = np.concatenate([packet.data.values for packet in same])
    if isinstance(first.data, FusedFeatures):
        share = np.concatenate([packet.data.video for packet in same])
        return first.derive(FusedFeatures(values, share, 25.0), end=same[-1].end)
    return first.derive(Features(values, first.data.rate_hz), end=same[-1].end)


def test_one_bad_packet_spoils_a_batch_and_no_state(operators):
    operator = operators["hear"]
    good, other = mel("good", 0), mel("bad", 1)
    states = [operator.open("good"), operator.open("bad")]
    found = operator.process_batch([good[0], other[0]], states)[0]
    bad = other[1].derive(Features(other[1].data.values[:, :40], 100.0))
    with pytest.raises(MmstreamError, match="takes 80 mel bands"):
        operator.process_batch([good[1], bad], states)
    for packet in good[1:]:
        found += operator.process(packet, states[0])
    found += operator.flush(states[0])
    assert_same(found, run_operator(operator, good, "good"))


def test_a_pickled_state_holds_its_own_memory_and_not_that_of_its_company(operators):
    operator = operators["decode"]
    media = [fused(f"s{k}", 7, steps=40) for k in range(12)]
    alone = operator.open("s0")
    states = [operator.open(f"s{k}") for k in range(12)]
    for number, packets in enumerate(zip(*media, strict=True)):
        operator.process(media[0][number], alone)
        operator.process_batch(packets, states)
    assert len(pickle.dumps(states[3])) == len(pickle.dumps(alone))


def test_streams_that_go_on_together_are_not_copied_and_those_that_part_hold_only_their_own():
    taken, given_ = [], []

    def add(steps, memory):
        """A net that gives and remembers the sum of all it got."""
        taken.append(memory)
        given_.append(memory + steps.sum(1, keepdim=True))
        return given_[-1], given_[-1]

    one = np.ones((2, 3), np.float32)
    rows = [begun(lambda batch: torch.zeros(batch, 1, 3)) for _ in range(4)]
    rows = [answer.memory for answer in stepped(add, [Ask((k * one,), row) for k, row in enumerate(rows)])]
    rows = [answer.memory for answer in stepped(add, [Ask((one,), row) for row in rows])][::-1]
    assert taken[1] is given_[0]
    going = stepped(add, [Ask((one,), row) for row in (rows[3], rows[1])])
    assert [float(answer.output[0, 0]) for answer in going] == [4.0, 8.0]
    assert [float(row.alone()[0, 0, 0]) for row in rows] == [8.0, 6.0, 4.0, 2.0]
    assert rows[0].alone().untyped_storage().nbytes() == given_[1].untyped_storage().nbytes() // 2  # two have stayed
    mixed = stepped(add, [Ask((one,), row) for row in (rows[2], going[0].memory, rows[0])])
    assert [float(answer.output[0, 0]) for answer in mixed] == [6.0, 6.0, 10.0]


def test_lost_sound_in_one_session_is_no_matter_of_the_others(operators):
    operator = operators["decode"]
    media = {f"s{k}": fused(f"s{k}", k) for k in range(3)}
    lost = Packet("s1", 1.0, 1.5, Gap("audio", "the device overflowed"), 60.0)
    media["s1"].insert(4, lost)
    found = together(operator, media, np.random.default_rng(3))
    for session, packets in media.items():
        assert_same(found[session], run_operator(operator, packets, session))


class Played(Source):
    """The packets of ``fused``, of a seed."""

    emits = (FusedFeatures,)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def packets(self, session):
        yield from fused(session, self.seed)


class Counted(Avsr):
    """Notes the size of every batch."""

    sizes: list[int] = []  # noqa: RUF012 - of one test

    def process_batch(self, packets, states):
        self.sizes.append(len(packets))
        return super().process_batch(packets, states)


class Kept(toys.Keep):
    accepts = (Hypothesis,)


def test_in_a_worker_with_shared_calls_every_session_has_its_own_words(model, operators):
    kept: dict[str, list[Packet]] = {}
    nodes = [
        toys.node("play", Played),
        toys.node("decode", Counted, model=model),
        toys.node("keep", Kept, kept=kept),
    ]
    workers = {"ear": ["play"], "main": ["decode", "keep"]}
    made = toys.graph(nodes, [("play", "decode"), ("decode", "keep")], workers, batch=Batch(4, 0.05))
    Counted.sizes.clear()
    executor = make("local", made)
    executor.start()
    try:
        for k in range(8):
            executor.open(f"s{k}", {"play": {"seed": k}})
        results = [executor.wait(WAIT_S) for _ in range(8)]
    finally:
        executor.close()
    assert [result.error for result in results] == [None] * 8
    for k in range(8):
        assert_same(kept[f"s{k}"], run_operator(operators["decode"], fused(f"s{k}", k), f"s{k}"))
    assert 1 < max(Counted.sizes) <= 4
