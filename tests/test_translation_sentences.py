"""Sentences end at punctuation, pauses and length, and an end that was found stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.media import Word
from mmstream.translation.punctuation import ends_clause, ends_sentence
from operators.translation.sentences import Limits, closed


def spoken(text, *, gaps=()):
    """A word every half second; ``gaps``: numbers of words with two seconds of silence before them."""
    words, now = [], 0.0
    for at, one in enumerate(text.split()):
        now += 2.0 * (at in gaps)
        words.append(Word(one, now, now + 0.4))
        now += 0.5
    return words


def ends(text, *, stable=None, begin=0, final=False, gaps=(), **limits):
    words = spoken(text, gaps=gaps)
    return closed(words, len(words) if stable is None else stable, begin, Limits(**limits), final=final)


@pytest.mark.parametrize("word", ["home.", "really?", "no!", 'so."', "wait…", "今日。", "2024.", "was.)"])
def test_a_word_with_an_end_mark_ends_a_sentence(word):
    assert ends_sentence(word)


@pytest.mark.parametrize("word", ["home", "Dr.", "mr.", "J.", "e.g.", ".", "3.5", "a.m.", "end,"])
def test_an_abbreviation_an_initial_or_a_number_does_not(word):
    assert not ends_sentence(word)


def test_clauses_end_at_commas():
    assert ends_clause("rain,")
    assert ends_clause("so;)")
    assert not ends_clause("1,000")


def test_sentences_end_at_their_marks_once_these_are_stable():
    assert ends("I came. I saw. I won") == [2, 4]
    assert ends("I came. I saw. I won", stable=3) == [2]
    assert ends("I came. I saw. I won", stable=1) == []
    assert ends("I came. I saw. I won", begin=2) == [4]


def test_a_final_utterance_ends_its_last_sentence():
    assert ends("I came. I saw", final=True) == [2, 4]
    assert ends("I came.", final=True) == [2]
    assert ends("", final=True) == []


def test_a_pause_ends_a_sentence_once_the_word_behind_it_is_stable():
    assert ends("good morning how are you", gaps={2}) == [2]
    assert ends("good morning how are you", gaps={2}, stable=2) == []
    assert ends("good morning how are you", gaps={2}, pause_s=3.0) == []


def test_clauses_end_a_sentence_where_that_is_wanted_and_they_are_long_enough():
    text = "yes, if it rains tomorrow, we stay"
    assert ends(text) == []
    assert ends(text, clauses=True) == [5]


def test_what_is_too_long_is_cut_at_a_clause_then_before_a_joint_then_at_the_longest_pause():
    assert ends("a b c d, e f g h", longest=6) == [4]
    assert ends("a b c d and e f g", longest=6) == [4]
    words = spoken("a b c d e f g h")
    words[5:] = [Word(word.text, word.start + 0.3, word.end + 0.3) for word in words[5:]]
    assert closed(words, 8, 0, Limits(longest=6), final=False) == [5]


@pytest.mark.parametrize(("limits", "said"), [({"pause_s": 0.0}, "pause_s"), ({"longest": 1}, "longest")])
def test_limits_out_of_range_are_refused(limits, said):
    with pytest.raises(ValueError, match=said):
        Limits(**limits)


TEXTS = st.lists(st.sampled_from(["a", "b,", "c.", "and", "Dr.", "d?"]), max_size=40)


@given(TEXTS, st.data(), st.booleans())
def test_an_end_that_was_found_stays_whatever_is_heard_after_it(texts, data, clauses):
    gaps = data.draw(st.sets(st.integers(0, 40), max_size=5))
    words, limits = spoken(" ".join(texts), gaps=gaps), Limits(longest=7, clauses=clauses)
    stable = data.draw(st.integers(0, len(words)))
    early = closed(words[:stable], stable, 0, limits, final=False)
    late = closed(words, len(words), 0, limits, final=True)
    assert late[: len(early)] == early
    assert not words or late[-1] == len(words)
    assert all(0 < end - begin <= limits.longest for begin, end in zip([0, *late], late, strict=False))
