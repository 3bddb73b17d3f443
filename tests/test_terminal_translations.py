"""Translations below what was said: blocks into a pipe, whole and in order. The live view is in the tmux tests."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.media import Gap
from mmstream.testing import run_operator
from mmstream.translation.engine import TranslationError
from operators.sinks import Terminal
from operators.sinks.blocks import Blocks
from tests.captions import caption, gap, translation

DAY = "good day\n  de  Guten Tag\n  fr  bonjour\n"


def printed(capfd, sink, packets):
    run_operator(sink, packets)
    return capfd.readouterr().out


def test_a_block_comes_whole_with_its_translations_in_the_order_of_the_languages(capfd):
    sink = Terminal(languages=["de", "fr"])
    state = sink.open("s")
    for packet in [
        *(caption(0, "", "good"), translation(0, "", "Guten"), caption(0, "good day", final=True)),
        *(translation(0, "bonjour", final=True, language="fr"), caption(1, "", "my", start=3.0)),
        translation(0, "Guten", "Tag"),
    ]:
        sink.process(packet, state)
        assert capfd.readouterr().out == ""
    sink.process(translation(0, "Guten Tag", final=True), state)
    assert capfd.readouterr().out == DAY
    sink.flush(state)
    assert capfd.readouterr().out == "my\n"


def test_what_was_said_later_or_lost_later_waits_for_a_block_before_it(capfd):
    sink = Terminal(languages=["de"])
    state = sink.open("s")
    first = [caption(0, "one", final=True), gap(1.0, 3.3), caption(1, "two", final=True, start=4.0)]
    for packet in [*first, translation(1, "zwei", final=True, start=4.0)]:
        sink.process(packet, state)
    # the translation of the first was skipped, since that of the second has come
    assert capfd.readouterr().out == "one\n[2.3 s of audio lost: the device overflowed]\ntwo\n  de  zwei\n"


def test_a_translation_that_overtakes_what_was_said(capfd):
    packets = [
        *(caption(0, "", "good"), translation(0, "Guten Tag", final=True), caption(0, "good day", final=True)),
        *(translation(1, "Freund", final=True), caption(1, "friend", final=True, start=3.0)),
    ]
    assert printed(capfd, Terminal(languages=["de"]), packets) == "good day\n  de  Guten Tag\nfriend\n  de  Freund\n"


def test_what_is_missing_at_the_end_is_printed_as_it_is(capfd):
    packets = [caption(0, "good day", final=True), translation(0, "Guten", "Ta"), caption(1, "my", "fri", start=3.0)]
    assert printed(capfd, Terminal(languages=["de", "fr"]), packets) == "good day\n  de  Guten Ta\nmy fri\n"


def test_a_session_that_fails_shows_what_it_has(capfd):
    sink = Terminal(languages=["de"])
    state = sink.open("s")
    sink.process(caption(0, "good day", final=True), state)
    sink.discard(state)
    assert capfd.readouterr().out == "good day\n"


def test_words_that_were_withdrawn_leave_no_translation(capfd):
    packets = [
        *(caption(0, "", "oh"), translation(0, "", "ach"), caption(0, final=True), translation(0, final=True)),
        *(caption(1, "yes", final=True, start=2.0), translation(1, "ja", final=True, start=2.0)),
    ]
    assert printed(capfd, Terminal(languages=["de"]), packets) == "yes\n  de  ja\n"


def test_an_utterance_without_words_in_a_language_has_no_line_of_it(capfd):
    packets = [caption(0, "hm", final=True), translation(0, final=True)]
    assert printed(capfd, Terminal(languages=["de"]), packets) == "hm\n"


def test_only_the_languages_that_are_asked_for_are_shown(capfd):
    packets = [caption(0, "yes", final=True), translation(0, "ja", final=True)]
    assert printed(capfd, Terminal(), packets) == "yes\n"
    assert printed(capfd, Terminal(languages=["pt-BR", "DE"]), packets) == "yes\n  de     ja\n"
    with pytest.raises(TranslationError, match="there is no language 'xx'"):
        Terminal(languages=["xx"])


def test_nothing_is_said_twice_in_a_replay(capfd):
    said = [caption(0, "good day", final=True), translation(0, "Guten Tag", final=True)]
    assert printed(capfd, Terminal(languages=["de"]), [*said, *said]) == "good day\n  de  Guten Tag\n"


def test_numbering_that_begins_again_loses_no_translation(capfd):
    packets = []
    for index, start in ((5, 0.0), (0, 10.0)):
        packets += [
            caption(index, "yes", final=True, start=start),
            translation(index, "ja", final=True, start=start),
        ]
    assert printed(capfd, Terminal(languages=["de"]), packets) == "yes\n  de  ja\n" * 2


def test_times_and_names_stand_before_blocks(capfd):
    packets = [caption(0, "yes", final=True, start=61.5), translation(0, "ja", final=True, start=61.5)]
    sink = Terminal(languages=["de"], times=True, many=True)
    run_operator(sink, packets, session="talks/a")
    assert capfd.readouterr().out == "0:01:01.5 talks/a: yes\ntalks/a:   de  ja\n"


def test_memory_stays_flat_where_translations_are_skipped():
    blocks = Blocks(["de", "fr"])
    for index in range(500):
        blocks.say(caption(index, "yes", final=True, start=float(index)))
        blocks.translate(translation(index, "", "j").data)
        blocks.translate(translation(index, "oui", final=True, language="fr").data)
        list(blocks.due())
    assert len(blocks._newest) + len(blocks._waiting) < 10


@settings(max_examples=100, deadline=None)
@given(choices=st.lists(st.integers(0, 2), max_size=12))
def test_whatever_comes_first_the_blocks_are_the_same(choices):
    said = [caption(0, "one", final=True), gap(1.0, 2.0), caption(1, "", "tw", start=3.0)]
    said.append(caption(1, "two", final=True, start=3.0))
    streams = [
        said,
        [translation(index, text, final=True) for index, text in enumerate(("eins", "zwei"))],
        [translation(index, text, final=True, language="fr") for index, text in enumerate(("un", "deux"))],
    ]
    left, blocks, out = [list(stream) for stream in streams], Blocks(["de", "fr"]), []
    turns = itertools.chain(choices, itertools.repeat(0))
    while any(left):
        there = [stream for stream in left if stream]
        packet = there[next(turns) % len(there)].pop(0)
        if isinstance(packet.data, Gap):
            blocks.lose(packet)
        elif hasattr(packet.data, "language") and packet.data.language in ("de", "fr"):
            blocks.translate(packet.data)
        else:
            blocks.say(packet)
        out += blocks.due()
    assert not list(blocks.rest())
    assert [gap_or_texts(one) for one in out] == [["one", "eins", "un"], "lost", ["two", "zwei", "deux"]]


def gap_or_texts(one):
    return "lost" if not hasattr(one, "said") else [one.said.text, *(text.text for text in one.translations)]
