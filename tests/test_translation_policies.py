"""What each policy promises of a draft, on lists."""

import pytest

from operators.translation.policies import AlignAtt, Draft, LocalAgreement, WaitK, WhenOver, policy_named


def draft(text, sources=None, sure=0, heard=None):
    words = tuple(text.split())
    sources = tuple(range(len(words))) if sources is None else sources
    return Draft(words, sources, sure if heard is None else heard, sure)


def test_nothing_is_promised_before_the_end_where_the_policy_waits_for_it():
    assert WhenOver().stable_count([draft("ich habe ihn gesehen", sure=4)]) == 0


@pytest.mark.parametrize(("sure", "count"), [(0, 0), (2, 0), (3, 1), (4, 2), (5, 3), (9, 4)])
def test_wait_k_writes_a_word_for_each_that_is_read_after_the_first_k(sure, count):
    assert WaitK(3).stable_count([draft("a b c d e", sure=sure)]) == count


def test_local_agreement_promises_what_the_last_drafts_share():
    drafts = [draft("ich habe sie", sure=3), draft("ich habe ihn heute", sure=4)]
    assert LocalAgreement(2).stable_count(drafts) == 2
    assert LocalAgreement(2).stable_count(drafts[1:]) == 0
    assert LocalAgreement(3).stable_count([draft("er", sure=1), *drafts]) == 0
    assert LocalAgreement(1).stable_count(drafts) == 3


def test_agreement_on_what_comes_from_unsure_words_promises_nothing():
    drafts = [draft("ich habe ihn heute", sure=1)] * 2
    assert LocalAgreement(2).stable_count(drafts) == 1


@pytest.mark.parametrize(("k", "sure", "count"), [(2, 5, 3), (0, 5, 4), (2, 2, 0), (2, 1, 0), (3, 5, 2)])
def test_alignatt_stops_at_the_first_word_that_attends_to_the_last_k(k, sure, count):
    assert AlignAtt(k).stable_count([draft("a b c d e", sure=sure)]) == count


def test_alignatt_counts_words_that_may_still_change_but_promises_nothing_that_comes_from_them():
    assert AlignAtt(2).stable_count([draft("a b c d e f g", sure=3, heard=4)]) == 2
    assert AlignAtt(2).stable_count([draft("a b c d e f g", sure=3, heard=5)]) == 3
    assert AlignAtt(2).stable_count([draft("a b c d e f g", sure=3, heard=7)]) == 3


def test_alignatt_stops_there_even_where_later_words_attend_further_back():
    assert AlignAtt(1).stable_count([draft("ich gesehen habe ihn dort", sources=(0, 3, 1, 2, 4), sure=4)]) == 1


def test_alignatt_without_attention_takes_what_two_drafts_agree_on():
    drafts = [Draft(tuple("a b c".split()), None, 2, 2), Draft(tuple("a b d e".split()), None, 3, 3)]
    assert AlignAtt(2).stable_count(drafts) == 2
    assert AlignAtt(2).stable_count(drafts[:1]) == 0
    assert AlignAtt(2).stable_count([Draft(("a", "b"), None, 2, 0)] * 2) == 0


@pytest.mark.parametrize("policy", [WaitK(1), LocalAgreement(1), AlignAtt(0)])
def test_neither_the_last_word_nor_one_behind_an_end_is_promised(policy):
    assert policy.stable_count([draft("a b c", sure=99)]) == 2
    assert policy.stable_count([draft("a b. c d", sure=99)]) == 1
    assert policy.stable_count([draft("", sure=99)]) == 0


@pytest.mark.parametrize(
    ("name", "k", "said"),
    [("waitk", None, "policy is one of sentence"), ("wait_k", 0, "k >= 1"), ("alignatt", -1, "k >= 0"),
     ("local_agreement", 0, "n >= 1"), ("sentence", 2, "takes no k")],
)  # fmt: skip
def test_an_unknown_policy_or_a_number_out_of_range_is_refused(name, k, said):
    with pytest.raises(ValueError, match=said):
        policy_named(name, k)


def test_policies_go_by_name():
    assert isinstance(policy_named("clause"), WhenOver)
    assert policy_named("wait_k", 5).k == 5
    assert policy_named("alignatt").k == 2
