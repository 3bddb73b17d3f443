"""What is promised stays promised, and nothing is said twice or lost at the seam."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Hypothesis, Word
from mmstream.testing import run_operator
from operators.policies import Both, Commit, HoldN, LocalAgreement, seam

WORD_S = 0.3


def words_of(text: str, start: float = 0.0) -> tuple[Word, ...]:
    """One word each 0.3 s."""
    return tuple(
        Word(word, start + i * WORD_S, start + (i + 1) * WORD_S, confidence=0.5) for i, word in enumerate(text.split())
    )


def heard(text: str, final: bool = False, end: float = 9.0, start: float = 0.0) -> Packet[Hypothesis]:
    return Packet("test", start, end, Hypothesis(words_of(text, start), final, "en"), captured_at=100.0 + end)


def captions(commit: Commit, *packets: Packet[Hypothesis | Gap]) -> list[Caption]:
    return [packet.data for packet in run_operator(commit, packets) if isinstance(packet.data, Caption)]


def shown(commit: Commit, *packets: Packet[Hypothesis | Gap]) -> list[str]:
    """Captions as "index stable | unstable", with a full stop where final."""
    return [
        f"{c.index} {' '.join(w.text for w in c.stable)} | {' '.join(w.text for w in c.unstable)}"
        + ("." if c.final else "")
        for c in captions(commit, *packets)
    ]


def test_local_agreement_promises_the_common_prefix_of_the_last_n() -> None:
    policy = LocalAgreement(3)
    lists = ["a", "a b", "a b c", "a x c d", "a x c d e"]
    assert [policy.stable_count(text.split(), final=False) for text in lists] == [0, 0, 1, 1, 1]
    assert policy.stable_count("a x c d e f".split(), final=False) == 4
    assert policy.stable_count("z".split(), final=True) == 1
    assert policy.stable_count("z y".split(), final=False) == 0, "the next utterance starts from nothing"


def test_hold_n_promises_all_but_the_last_n() -> None:
    policy = HoldN(2)
    assert [policy.stable_count(list("abcde")[:n], final=False) for n in range(5)] == [0, 0, 0, 1, 2]
    assert policy.stable_count(list("ab"), final=True) == 2


def test_both_promises_what_each_promises() -> None:
    policy = Both(LocalAgreement(2), HoldN(1))
    policy.stable_count(list("abc"), final=False)
    assert policy.stable_count(list("abc"), final=False) == 2
    assert policy.stable_count(list("abc"), final=True) == 3


@pytest.mark.parametrize(
    ("arguments", "legal"),
    [
        ({"policy": "agree"}, "local_agreement, hold_n, final"),
        ({"n": 0}, "n >= 1"),
        ({"policy": "hold_n", "n": -1}, "n >= 0"),
        ({"hold_words": -1}, "0 or more"),
    ],
)
def test_wrong_arguments_name_the_legal_ones(arguments: dict[str, object], legal: str) -> None:
    with pytest.raises(ValueError, match=legal):
        Commit(**arguments)  # type: ignore[arg-type]


def test_a_caption_comes_only_when_something_changed() -> None:
    packets = [heard("he"), heard("he hoped"), heard("he hoped"), heard("he hoped"), heard("he hoped", final=True)]
    assert shown(Commit(), *packets) == ["0  | he", "0 he | hoped", "0 he hoped | ", "0 he hoped | ."]


def test_contradicted_words_stay_and_the_rest_follows_them() -> None:
    packets = [
        heard("he hoped"),
        heard("he hoped there"),
        heard("he hope there would be"),
        heard("he hope there would"),
    ]
    assert shown(Commit(n=2), *packets)[-2:] == ["0 he hoped there would | ", "0 he hoped there would | ."]


def test_a_word_split_in_two_is_not_said_twice() -> None:
    before = (Word("he", 0.0, 0.2), Word("whosoever", 0.2, 0.8))
    after = (Word("he", 0.0, 0.2), Word("who", 0.2, 0.4), Word("so", 0.4, 0.8), Word("thou", 0.8, 1.0))
    assert seam(before, after) == 3


def test_a_word_that_begins_before_the_promised_end_is_not_lost() -> None:
    before = (Word("he", 0.0, 0.2), Word("could", 0.2, 0.9))  # the last word took the pause with it
    after = (Word("she", 0.0, 0.2), Word("could", 0.2, 0.5), Word("wait", 0.5, 0.9), Word("no", 0.9, 1.1))
    assert [word.text for word in after[seam(before, after) :]] == ["wait", "no"]


def test_replaced_words_are_not_said_again_though_everything_moved() -> None:
    before = (Word("he", 60.0, 60.4), Word("wished", 60.4, 60.7), Word("stew", 60.7, 60.9))
    after = (Word("he", 60.0, 60.4), Word("hoped", 60.5, 61.1), Word("stew", 61.1, 61.4), Word("for", 61.4, 61.6))
    assert seam(before, after) == 3


def test_a_hypothesis_that_begins_later_is_all_new() -> None:
    before = (Word("he", 60.0, 60.2), Word("could", 60.2, 60.5))
    assert seam(before, (Word("wait", 61.0, 61.4), Word("no", 61.4, 61.6))) == 0
    assert seam(before, ()) == 0
    assert seam((), before) == 0


def test_words_after_the_seam_start_after_what_is_stable() -> None:
    first = Packet("test", 0.0, 1.0, Hypothesis((Word("could", 0.2, 0.9),), False), 0.0)
    second = Packet("test", 0.0, 1.4, Hypothesis((Word("would", 0.2, 0.5), Word("wait", 0.8, 1.2)), True), 0.0)
    last = captions(Commit("hold_n", 0), first, second)[-1]
    assert [(word.text, word.start, word.end) for word in last.stable] == [("could", 0.2, 0.9), ("wait", 0.9, 1.2)]


def test_hold_words_keeps_back_the_tail_until_the_end() -> None:
    packets = [heard("a b c d"), heard("a b c d"), heard("a b c d", final=True)]
    assert shown(Commit(n=2, hold_words=2), *packets) == ["0  | a b c d", "0 a b | c d", "0 a b c d | ."]


def test_final_promises_nothing_before_the_end() -> None:
    packets = [heard("a b"), heard("a b"), heard("a c", final=True)]
    assert shown(Commit("final"), *packets) == ["0  | a b", "0 a c | ."]


def test_empty_utterances_give_nothing_and_use_no_index() -> None:
    packets = [heard(""), heard("", final=True), heard("one", final=True, start=2.0), heard("", final=True)]
    assert shown(Commit(), *packets) == ["0 one | ."]


def test_an_utterance_that_turns_out_empty_is_still_ended() -> None:
    assert shown(Commit(), heard("uh"), heard("", final=True), heard("one", final=True)) == [
        "0  | uh",
        "0  | .",
        "1 one | .",
    ]


def test_a_gap_ends_the_utterance_and_the_index_goes_on() -> None:
    gap = Packet("test", 3.0, 4.0, Gap("audio", "unplugged"), 0.0)
    packets = [heard("one"), heard("one two"), gap, heard("three", final=True, start=4.0)]
    out = run_operator(Commit(), packets)
    assert [type(packet.data) for packet in out] == [Caption, Caption, Caption, Gap, Caption]
    assert shown(Commit(), *packets)[2:] == ["0 one two | .", "1 three | ."]


def test_lost_pictures_end_nothing() -> None:
    gap = Packet("test", 3.0, 4.0, Gap("video", "no face in sight"), 0.0)
    packets = [heard("one"), gap, heard("one two", final=True)]
    assert [type(packet.data) for packet in run_operator(Commit(), packets)] == [Caption, Gap, Caption]
    assert shown(Commit(), *packets) == ["0  | one", "0 one two | ."]


def test_the_end_of_the_stream_ends_the_utterance() -> None:
    out = run_operator(Commit(), [heard("one two", end=1.5)])
    assert out[-1].data.final
    assert [word.text for word in out[-1].data.stable] == ["one", "two"]
    assert (out[-1].end, out[-1].captured_at) == (1.5, 101.5)


def test_state_can_be_pickled_half_way() -> None:
    commit = Commit(n=2, hold_words=1)
    packets = [heard("a b"), heard("a b c"), heard("a b c d"), heard("a b c d", final=True)]
    state = commit.open("test")
    out = []
    for packet in packets:
        out += list(commit.process(packet, state))
        state = pickle.loads(pickle.dumps(state))
    assert out == run_operator(commit, packets)


texts = st.lists(st.sampled_from("abcd"), max_size=8)


@st.composite
def hypotheses(draw: st.DrawFn) -> list[Packet[Hypothesis]]:
    """Any sequence of word lists with any times that rise, a few of them final."""
    packets = []
    for _ in range(draw(st.integers(1, 12))):
        at, words = 0.0, []
        for text in draw(texts):
            start = at + draw(st.floats(0, 0.5))
            at = start + draw(st.floats(0, 0.5))
            words.append(Word(text, start, at))
        hypothesis = Hypothesis(tuple(words), draw(st.booleans()) and draw(st.booleans()))
        packets.append(Packet("test", 0.0, 10.0, hypothesis, 0.0))
    return packets


@given(hypotheses(), st.sampled_from(["local_agreement", "hold_n", "final"]), st.integers(1, 3), st.integers(0, 2))
def test_stable_words_never_change(packets: list[Packet[Hypothesis]], policy: str, n: int, hold: int) -> None:
    stable: dict[int, tuple[Word, ...]] = {}
    ended: set[int] = set()
    given = captions(Commit(policy, n, hold), *packets)  # type: ignore[arg-type]
    for caption in given:
        before = stable.get(caption.index, ())
        assert caption.stable[: len(before)] == before
        assert caption.index not in ended
        starts = [word.start for word in caption.words]
        assert starts == sorted(starts)
        stable[caption.index] = caption.stable
        if caption.final:
            assert caption.unstable == ()
            ended.add(caption.index)
    assert ended == set(range(len(ended))) == set(stable), "every utterance is numbered in order and ended"


@given(hypotheses(), st.integers(1, 3))
def test_without_a_contradiction_the_final_words_are_those_of_the_last_hypothesis(
    packets: list[Packet[Hypothesis]], n: int
) -> None:
    last = packets[-1].data.words
    counts = range(1, len(last) + 1)
    growing = [Packet("test", 0.0, 10.0, Hypothesis(last[:k], final=k == len(last)), 0.0) for k in counts]
    out = captions(Commit(n=n), *growing)
    assert (out[-1].stable if out else ()) == last


def test_stable_words_get_their_confidence_when_the_utterance_ends() -> None:
    def unrated(text: str) -> Packet[Hypothesis]:
        packet = heard(text)
        words = tuple(Word(word.text, word.start, word.end) for word in packet.data.words)
        return packet.derive(Hypothesis(words, final=False, language="en"))

    *_, last = captions(Commit("hold_n", 0), unrated("one two three"), heard("one too three four", final=True))
    assert [(word.text, word.confidence) for word in last.stable] == [
        ("one", 0.5),
        ("two", None),  # the final hypothesis heard another word there
        ("three", 0.5),
        ("four", 0.5),
    ]
