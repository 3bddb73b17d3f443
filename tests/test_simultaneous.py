"""How far a translation is behind: length-adaptive average lagging by hand, and what is shown of one clip."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.evaluation.simultaneous import Follower, Lag, Talk, Told, laal, lag
from mmstream.media import Word

ORIGIN = 1000.0  # wall-clock second of media second 0


def by_the_formula(delays: list[float], source: float, reference: int) -> float:
    """1/tau * the sum over i = 1..tau of D_i - (i - 1) |X| / max(|Y|, |Y*|), tau being the first i with D_i >= |X|."""
    pace = source / max(len(delays), reference)
    tau = min([i for i, delay in enumerate(delays, 1) if delay >= source], default=len(delays))
    return float(np.mean([delays[i - 1] - (i - 1) * pace for i in range(1, tau + 1)]))


@pytest.mark.parametrize(
    ("delays", "source", "reference", "found"),
    [
        # as many words as the reference, one a second, each a second late: the average is that second
        ([1, 2, 3, 4], 4, 4, 1.0),
        # all at the end: only the first counts, and it has waited for everything
        ([4, 4, 4, 4], 4, 4, 4.0),
        # wait-3 over six source words, 3 4 5 6 6 6: (3 + 3 + 3 + 3) / 4, the last two after the cut
        ([3, 4, 5, 6, 6, 6], 6, 6, 3.0),
        # too long by half: words are expected at 4/6 s each, (1 + 4/3 + 5/3 + 2) / 4, where AL would say less
        ([1, 2, 3, 4, 4, 4], 4, 4, 1.5),
        # too short: the reference's pace holds, 1 s each: (2 + 3) / 2
        ([2, 4], 4, 4, 2.5),
        # the clock runs on after the media: 5 s is behind the end, so the third is the last that counts
        ([1.5, 2.5, 5, 6], 4, 4, (1.5 + 1.5 + 3) / 3),
        ([7, 8], 4, 4, 7.0),
        # an early word is before its time
        ([0, 0, 3], 3, 3, (0 - 1 + 1) / 3),
        # without a reference its own length is all there is
        ([1, 2], 2, 0, 1.0),
    ],
)
def test_average_lagging_by_hand(delays: list[float], source: float, reference: int, found: float) -> None:
    assert laal(delays, source, reference) == pytest.approx(found)
    assert by_the_formula(delays, source, reference) == pytest.approx(found)


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=30).map(sorted), st.floats(0.1, 15), st.integers(0, 30)
)  # fmt: skip
def test_average_lagging_is_what_the_formula_says(delays: list[float], source: float, reference: int) -> None:
    assert laal(delays, source, reference) == pytest.approx(by_the_formula(delays, source, reference), abs=1e-9)


def test_nothing_said_has_no_lag() -> None:
    assert laal([], 4, 4) is None
    assert laal([1], 0, 4) is None


def told(text: str, read_s: float, at_s: float, behind_s: float | None = None) -> Told:
    return Told(text, read_s, at_s, behind_s)


def test_means_over_clips_and_percentiles_over_words() -> None:
    one = Talk(4.0, "a b c d", [told(text, k + 1, k + 1.5, 0.1 * k) for k, text in enumerate("abcd")], revised=2)
    other = Talk(2.0, "a b", [told("a", 2, 2.5, 0.5), told("b", 2, 2.5)], revised=1)
    silent = Talk(3.0, "a")
    found = lag([one, other, silent])
    assert found.laal_s == pytest.approx((1.0 + 2.0) / 2)
    assert found.laal_ca_s == pytest.approx((1.5 + 2.5) / 2)  # of the last four words, the fourth is the cut
    assert found.behind_s == pytest.approx({"p50": 0.2, "p90": 0.42})  # of 0, .1, .2, .3, .5
    assert (found.revision_rate, found.words, found.clips_without_words) == (0.5, 6, 1)
    assert found.changed_stable_words == 0


def test_a_clip_without_words_is_counted_and_nothing_is_invented() -> None:
    assert lag([Talk(3.0, "a")]) == lag([Talk(3.0, "")]) == Lag(None, None, None, None, 0, 0, 1)
    assert json.loads(json.dumps(lag([]).to_json()))["behind_s"] is None


def test_figures_for_machines_have_three_digits() -> None:
    found = lag([Talk(3.0, "a b c", [told("a", 1.23456, 2.34567, 0.98765)])]).to_json()
    assert list(found) == [
        "laal_s", "laal_ca_s", "behind_s", "revision_rate", "changed_stable_words", "words", "clips_without_words",
    ]  # fmt: skip
    assert (found["laal_s"], found["laal_ca_s"]) == (1.235, 2.346)
    assert found["behind_s"] == {"p50": 0.988, "p90": 0.988}


def words(text: str, *ends: float) -> tuple[Word, ...]:
    """Words that end then; by default at 1, 2, 3 s."""
    times = ends or tuple(float(k + 1) for k in range(len(text.split())))
    return tuple(Word(one, end - 1.0, end) for one, end in zip(text.split(), times, strict=True))


@pytest.fixture
def talk() -> Talk:
    return Talk(6.0, "a reference")


@pytest.fixture
def follower(talk: Talk) -> Follower:
    return Follower(talk, ORIGIN)


def at(second: float) -> float:
    return ORIGIN + second


def test_each_word_has_the_media_heard_and_the_wall_clock_when_it_became_stable(follower: Follower, talk: Talk) -> None:
    follower.translated(0, (), words("ich"), 1.0, at(1.2))
    follower.translated(0, words("ich"), words("habe"), 2.0, at(2.25))
    follower.translated(0, words("ich bin hier"), (), 3.0, at(3.5))
    assert [(one.text, one.read_s, one.at_s) for one in talk.words] == [
        ("ich", 2.0, 2.25), ("bin", 3.0, 3.5), ("hier", 3.0, 3.5),
    ]  # fmt: skip
    assert talk.text == "ich bin hier"
    assert (talk.revised, talk.broken) == (1, 0)  # "habe" became "bin"


def test_words_that_stay_or_come_are_no_revision(follower: Follower, talk: Talk) -> None:
    follower.translated(0, (), words("eins"), 1.0, at(1))
    follower.translated(0, (), words("eins zwei"), 2.0, at(2))
    follower.translated(0, words("eins"), words("zwei drei"), 3.0, at(3))
    follower.translated(0, words("eins zwei drei"), (), 3.0, at(4))
    assert (talk.revised, talk.broken) == (0, 0)


def test_words_that_are_taken_back_are_revised_though_nothing_stands_in_their_place(
    follower: Follower, talk: Talk
) -> None:
    follower.translated(0, words("eins"), words("zwei drei"), 1.0, at(1))
    follower.translated(0, words("eins"), (), 2.0, at(2))
    assert (talk.revised, talk.broken) == (2, 0)
    follower.translated(0, words("eins"), words("zwei"), 2.0, at(3))  # shown again: nothing is changed by that
    assert talk.revised == 2


@pytest.mark.parametrize(
    ("stable", "unstable"), [("eins drei", ""), ("eins", ""), ("eins", "zwei"), ("", ""), ("ein zwei", "")]
)
def test_a_stable_word_that_is_changed_lost_or_doubted_again_is_broken(
    follower: Follower, talk: Talk, stable: str, unstable: str
) -> None:
    follower.translated(0, words("eins zwei"), (), 1.0, at(1))
    follower.translated(0, words(stable), words(unstable), 2.0, at(2))
    assert talk.broken > 0


def test_the_next_utterance_begins_anew(follower: Follower, talk: Talk) -> None:
    follower.translated(0, words("eins zwei"), (), 2.0, at(2))
    follower.translated(1, (), words("drei"), 3.0, at(3))
    follower.translated(1, words("vier"), (), 4.0, at(4))
    assert talk.text == "eins zwei vier"
    assert (talk.revised, talk.broken) == (1, 0)


def test_a_word_is_behind_the_last_source_word_that_it_needs(follower: Follower, talk: Talk) -> None:
    follower.heard(0, words("I"), at(1.5))
    follower.heard(0, words("I have seen"), at(3.5))
    follower.translated(0, words("ich"), (), 3.0, at(3.6))  # "I" has stood since 1.5
    follower.translated(0, words("ich gesehen", 1.0, 3.0), (), 3.0, at(3.7))  # "seen" since 3.5
    assert [one.behind_s for one in talk.words] == pytest.approx([2.1, 0.2])


def test_a_source_word_counts_from_when_it_was_first_stable(follower: Follower, talk: Talk) -> None:
    follower.heard(0, words("I"), at(1.5))
    follower.heard(0, words("I"), at(2.5))
    follower.heard(0, (), at(2.6))  # never happens; it must not make the word new
    follower.heard(0, words("I"), at(2.7))
    follower.translated(0, words("ich"), (), 1.0, at(3.0))
    assert [one.behind_s for one in talk.words] == pytest.approx([1.5])


def test_words_of_the_utterance_before_are_not_waited_for_again(follower: Follower, talk: Talk) -> None:
    follower.heard(0, words("go"), at(1.5))
    follower.heard(1, words("stop", 5.0), at(5.5))
    follower.translated(0, words("geh"), (), 1.0, at(5.6))
    follower.translated(1, words("halt", 5.0), (), 5.0, at(5.6))
    assert [one.behind_s for one in talk.words] == pytest.approx([4.1, 0.1])


def test_a_word_that_came_before_what_it_needs_has_no_such_figure(follower: Follower, talk: Talk) -> None:
    follower.translated(0, words("ich"), (), 1.0, at(1.0))
    assert talk.words[0].behind_s is None
