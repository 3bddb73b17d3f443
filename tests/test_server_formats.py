"""Captions as the bodies of transcription APIs: packets in, text and JSON out."""

import html
import math

import pysubs2
import pytest

from mmstream.core import Packet
from mmstream.media import Caption, Word
from mmstream.server.formats import Transcript, simple, subtitles, verbose
from mmstream.server.languages import NAMES, english_name
from tests.captions import caption, finals, gap


def transcript(*packets):
    made = Transcript()
    made.added = [made.add(packet) for packet in packets]
    made.added.append(made.end())
    return made


def test_what_is_added_is_the_text():
    made = transcript(*finals("set white", "with p", "two now"))
    assert made.added == ["set white", " with p", " two now", ""]
    assert made.text == "".join(made.added) == "set white with p two now"


def test_an_utterance_counts_once_as_it_ended():
    made = transcript(
        caption(0, "he", "whole"),
        caption(0, "he hoped", "there"),
        caption(0, "he hoped", final=True),
        caption(0, "he hoped", final=True),  # a replay after a recovery
        caption(1, final=True, start=3.0),  # nothing was said after all
        caption(2, "stew", "for", start=5.0),  # never ended
    )
    assert made.added == ["", "", "he hoped", "", "", "", " stew for"]
    assert [word.text for word in made.words] == ["he", "hoped", "stew", "for"]


def test_languages_without_spaces_are_joined_without():
    japanese = [caption(0, "今日", final=True, language="ja"), caption(1, "は", final=True, start=2.0, language="ja")]
    assert transcript(*japanese).text == "今日は"


def test_the_language_is_that_of_most_words():
    made = transcript(
        caption(0, "ja", final=True, language="de"),
        caption(1, "he hoped there", final=True, start=2.0, language="en"),
        caption(2, "gut gut", final=True, start=4.0, language="de"),
        caption(3, "a", final=True, start=6.0),
    )
    assert made.language == "de"
    assert verbose(made, 8.0, "en", "transcribe", [])["language"] == "german"


def test_the_short_body():
    assert simple(transcript(*finals("set white")), 2.21) == {
        "text": "set white",
        "usage": {"type": "duration", "seconds": 3},
    }


def test_the_long_body():
    words = (Word("set", 0.1234, 0.5, 0.5, 0.25), Word("white", 0.5, 0.9876, 0.125, 0.0))
    made = transcript(Packet("s", 0.0, 1.0, Caption(0, words, (), True, "en"), 101.0), *finals("a", "b")[1:])
    body = verbose(made, 12.3456, "en", "transcribe", ["word", "segment"])
    assert body["task"] == "transcribe"
    assert (body["language"], body["language_code"]) == ("english", "en")
    assert body["duration"] == 12.346
    assert body["text"] == "set white b"
    assert body["usage"] == {"type": "duration", "seconds": 13}
    assert body["words"][0] == {"word": "set", "start": 0.123, "end": 0.5, "confidence": 0.5, "video": 0.25}
    assert [word["word"] for word in body["words"]] == ["set", "white", "b"]
    assert body["words"][2]["confidence"] is None
    first, second = body["segments"]
    assert first["id"] == 0
    assert (first["start"], first["end"], first["text"], first["seek"]) == (0.123, 0.988, "set white", 12)
    assert first["avg_logprob"] == pytest.approx((math.log(0.5) + math.log(0.125)) / 2, abs=1e-4)
    assert first["compression_ratio"] < 1  # nine bytes do not get shorter
    assert (second["id"], second["avg_logprob"], second["tokens"]) == (1, 0.0, [])
    assert "gaps" not in body


@pytest.mark.parametrize(
    ("granularities", "holds"),
    [
        ([], {"segments"}),
        (["segment"], {"segments"}),
        (["word"], {"words"}),
        (["word", "segment"], {"segments", "words"}),
    ],
)
def test_granularities(granularities, holds):
    body = verbose(transcript(*finals("a")), 1.0, "en", "transcribe", granularities)
    assert body.keys() & {"words", "segments"} == holds


def test_text_that_repeats_itself_compresses():
    made = transcript(caption(0, " ".join(["stew"] * 100), final=True))
    assert verbose(made, 40.0, "en", "transcribe", [])["segments"][0]["compression_ratio"] > 10


def test_a_word_with_no_confidence_at_all_has_a_logarithm():
    words = (Word("set", 0.0, 0.5, 0.0),)
    made = transcript(Packet("s", 0.0, 1.0, Caption(0, words, (), True), 101.0))
    assert -20 < verbose(made, 1.0, "en", "transcribe", [])["segments"][0]["avg_logprob"] < -10


def test_lost_media_is_told():
    made = transcript(caption(0, "he hoped", final=True), gap(1.0, 3.5), caption(1, "stew", final=True, start=4.0))
    assert made.text == "he hoped stew"
    told = {"start": 1.0, "end": 3.5, "medium": "audio", "reason": "the device overflowed"}
    assert verbose(made, 5.0, "en", "transcribe", [])["gaps"] == [told]
    assert "[audio lost]" in subtitles(made, "srt")


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_those_of_the_sinks(kind):
    made = transcript(*finals("set white with p two now", "a < b & c"))
    written = subtitles(made, kind)
    cues = list(pysubs2.SSAFile.from_string(written, format_=kind))
    texts = [html.unescape(cue.plaintext) for cue in cues]  # pysubs2 leaves WebVTT's escapes as they are
    assert texts == ["set white with p two now", "a < b & c"]
    assert cues[1].start == 10_000
    assert written.startswith("WEBVTT\n\n1\n" if kind == "vtt" else "1\n00:00:00,000 --> ")


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_of_silence(kind):
    assert subtitles(transcript(), kind) == ("WEBVTT\n\n" if kind == "vtt" else "")


def test_nothing_was_said():
    made = transcript()
    assert made.text == ""
    assert made.reached_s == 0.0
    body = verbose(made, 3.0, "en-GB", "translate", ["word", "segment"])
    assert body | {"usage": None} == {
        "task": "translate",
        "language": "english",
        "language_code": "en-GB",
        "duration": 3.0,
        "text": "",
        "words": [],
        "segments": [],
        "usage": None,
    }


def test_names_of_languages():
    assert english_name("yue") == "cantonese"
    assert english_name("ht") == "haitian creole"
    assert english_name("tlh") == "tlh"
    assert all(code and name and name == name.lower() for code, name in NAMES.items())
