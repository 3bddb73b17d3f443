"""Deepgram's query and messages, without a server: captions in, pieces out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.media import Caption, Hypothesis, Word
from mmstream.server.deepgram.query import Listen, QueryError, parse
from mmstream.server.deepgram.results import Beginning, Messages, Piece, Pieces
from mmstream.testing import run_operator
from operators.policies import Commit
from tests.captions import caption, gap


def cut(*captions, interim=True):
    pieces = Pieces(interim)
    given = [one for packet in captions for one in pieces.take(packet)]
    return [*given, *pieces.rest()]


def said(pieces, final=True):
    return [
        " ".join(word.text for word in one.words) for one in pieces if isinstance(one, Piece) and one.is_final is final
    ]


def test_stable_words_are_final_once_and_the_rest_is_interim():
    given = cut(
        caption(0, "", "he"),
        caption(0, "he", "hoped the"),
        caption(0, "he hoped", "there"),
        caption(0, "he hoped there", final=True),
        caption(1, "", "stew", start=4.0),
        caption(1, "soup", final=True, start=4.0),
    )
    assert said(given) == ["he", "hoped", "there", "soup"]
    assert said(given, final=False) == ["he", "hoped the", "there", "stew"]
    finals = [one for one in given if isinstance(one, Piece) and one.is_final]
    assert [one.speech_final for one in finals] == [False, False, True, True]
    assert [one.start for one in given if isinstance(one, Beginning)] == [0.0, 4.0]


def test_without_interim_results_only_final_pieces_come():
    given = cut(caption(0, "", "he"), caption(0, "he", "hoped"), caption(0, "he hoped", final=True), interim=False)
    assert said(given) == ["he", "hoped"]
    assert said(given, final=False) == []


def test_an_utterance_whose_words_were_all_said_ends_with_an_empty_piece():
    given = cut(caption(0, "he hoped"), caption(0, "he hoped", final=True))
    assert said(given) == ["he hoped", ""]
    assert given[-1].speech_final


def test_words_that_are_withdrawn_are_withdrawn():
    given = cut(caption(0, "", "he"), caption(0, "", ""), caption(0, final=True))
    assert said(given, final=False) == ["he", ""]
    assert said(given) == [""]


def test_an_utterance_that_has_no_end_ends_with_the_next_one():
    given = cut(caption(0, "he", "hoped"), caption(1, "", "stew", start=5.0))
    assert said(given) == ["he", "hoped", "stew"]
    ends = [type(one).__name__ if isinstance(one, Beginning) else one.speech_final for one in given]
    assert ends == ["Beginning", False, False, True, "Beginning", False, True]


def test_a_replay_is_said_once():
    given = cut(caption(0, "he hoped", final=True), caption(0, "he", "hoped"), caption(0, "he hoped", final=True))
    assert said(given) == ["he hoped"]


words = st.lists(st.sampled_from("a b c".split()), max_size=5)


@given(st.lists(st.tuples(words, st.booleans()), max_size=20), st.booleans())
def test_every_word_is_final_once_in_order_and_without_holes_in_time(hypotheses, interim):
    """Whatever a recogniser believes in between: the final pieces are what the captions end with."""
    packets, start = [], 0.0
    for texts, final in hypotheses:
        heard = tuple(Word(text, start + number, start + number + 1) for number, text in enumerate(texts))
        end = start + 6.0
        packets.append(Packet("s", start, end, Hypothesis(heard, final), 100.0 + end))
        start = end if final else start
    captions = run_operator(Commit(), packets)
    last = {packet.data.index: [word.text for word in packet.data.words] for packet in captions}
    pieces = cut(*captions, interim=interim)
    finals = [one for one in pieces if isinstance(one, Piece) and one.is_final]
    assert [word.text for one in finals for word in one.words] == [text for texts in last.values() for text in texts]
    reached = 0.0
    for one in finals:
        assert one.start == reached
        assert one.end >= one.start
        reached = one.end
    assert sum(one.speech_final for one in finals) == len(last)


# messages


def results(punctuated, *texts, language=None, confidence=0.5):
    made = tuple(Word(text, number, number + 1, confidence) for number, text in enumerate(texts))
    piece = Piece(made, 0.0, float(len(texts)), True, True, language)
    return Messages("sphinx", punctuated).results(piece)


def test_words_with_and_without_punctuation():
    plain = results(False, "“Turnips,", "it's", "—")["channel"]["alternatives"][0]
    assert plain["transcript"] == "turnips it's —"
    assert "punctuated_word" not in plain["words"][0]
    written = results(True, "“Turnips,", "it's")["channel"]["alternatives"][0]
    assert written["transcript"] == "“Turnips, it's"
    assert [word["word"] for word in written["words"]] == ["turnips", "it's"]
    assert [word["punctuated_word"] for word in written["words"]] == ["“Turnips,", "it's"]
    assert results(True, "今日", "は", language="ja")["channel"]["alternatives"][0]["transcript"] == "今日は"


def test_confidence():
    assert results(False, "a", "b")["channel"]["alternatives"][0]["confidence"] == 0.5
    assert results(False)["channel"]["alternatives"][0]["confidence"] == 0.0
    assert results(False, "a", confidence=None)["channel"]["alternatives"][0]["words"][0]["confidence"] == 0.0


def test_lost_media_stands_in_the_next_results():
    messages = Messages("sphinx", False)
    messages.note_lost(gap(1.0, 2.5))
    piece = Piece((), 0.0, 3.0, True, True, None)
    told = messages.results(piece)["gaps"]
    assert told == [{"start": 1.0, "end": 2.5, "medium": "audio", "reason": "the device overflowed"}]
    assert "gaps" not in messages.results(piece)


def test_a_model_has_the_same_number_everywhere():
    assert Messages("sphinx", False).model_uuid == Messages("sphinx", True).model_uuid
    assert Messages("sphinx", False).model_uuid != Messages("avsr", False).model_uuid
    assert Messages("sphinx", False).request_id != Messages("sphinx", False).request_id


def test_captions_without_times_behind_one_another_keep_the_order():
    early = Packet("s", 0.0, 9.0, Caption(0, (Word("a", 8.0, 9.0),), (), True), 109.0)
    late = Packet("s", 2.0, 3.0, Caption(1, (Word("b", 2.0, 3.0),), (), True), 103.0)
    assert [(one.start, one.end) for one in cut(early, late) if isinstance(one, Piece)] == [(0.0, 9.0), (9.0, 9.0)]


# the query


def test_the_query_of_nothing():
    assert parse({}) == Listen()


def test_the_query_in_full():
    asked = {
        "model": "sphinx",
        "language": "en-US",
        "encoding": "linear16",
        "sample_rate": "44100",
        "channels": "2",
        "interim_results": "true",
        "punctuate": "false",
        "smart_format": "true",
        "endpointing": "300",
        "utterance_end_ms": "1000",
        "vad_events": "True",
        "diarize": "true",
        "keyterm": "stew",
    }
    assert parse(asked) == Listen("sphinx", "en-US", "linear16", 44100, 2, True, True, True, True)


@pytest.mark.parametrize("encoding", ["", "opus", "ogg-opus", "flac"])
def test_containers_say_themselves_what_they_are(encoding):
    assert parse({"encoding": encoding, "sample_rate": "48000"}).encoding is None


@pytest.mark.parametrize("off", ["false", "0", ""])
def test_what_is_off_is_off(off):
    assert not parse({"utterance_end_ms": off, "interim_results": off}).utterance_end


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"encoding": "speex"}, "encoding=speex is not served: send linear16, mulaw, alaw, or a container"),
        ({"encoding": "linear16"}, "needs sample_rate"),
        ({"encoding": "linear16", "sample_rate": "0"}, "sample_rate is a whole number from 8000 to 96000, not '0'"),
        ({"encoding": "linear16", "sample_rate": "-16000"}, "not '-16000'"),
        ({"encoding": "linear16", "sample_rate": "9" * 5000}, "sample_rate is a whole number"),
        ({"channels": "0"}, "channels is a whole number from 1 to 8"),
        ({"channels": "1.0"}, "channels is a whole number"),
        ({"interim_results": "yes"}, "interim_results is true or false, not 'yes'"),
    ],
)
def test_a_query_that_cannot_be_met(asked, told):
    with pytest.raises(QueryError, match=told) as caught:
        parse(asked)
    assert len(str(caught.value)) < 200
