"""Sinks that write files: lists of captions in, files out."""

import gc
import json
import tracemalloc

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Word
from mmstream.testing import ManualClock, run_operator
from operators.sinks import WALL_CLOCK_KEYS, JsonLines, PlainText, Srt, WebVtt, without_wall_clock
from operators.sinks.cues import CueLimits, cut_into_cues, wrap
from tests.captions import caption, finals, gap, spoken

FILE_SINKS = [Srt, WebVtt, JsonLines, PlainText]


# files in general


def test_plain_text_is_one_utterance_per_line(tmp_path):
    captions = [caption(0, "hello"), caption(0, "hello", "word"), caption(0, "hello world", final=True)]
    captions += [caption(1, final=True), gap(1.0, 3.3), caption(2, "still", "open", start=4.0)]
    run_operator(PlainText(path=str(tmp_path / "a.txt")), captions)
    assert (tmp_path / "a.txt").read_text() == "hello world\nstill open\n"
    run_operator(PlainText(path=str(tmp_path / "a.txt"), gaps=True), captions)
    assert (tmp_path / "a.txt").read_text() == (
        "hello world\n[2.3 s of audio lost: the device overflowed]\nstill open\n"
    )


def test_languages_without_spaces(tmp_path):
    run_operator(PlainText(path=str(tmp_path / "a.txt")), [caption(0, "今日 は", final=True, language="ja")])
    assert (tmp_path / "a.txt").read_text() == "今日は\n"


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_the_session_names_the_file(tmp_path, kind):
    sink = kind(path=str(tmp_path / "out" / "{session}.x"))
    run_operator(sink, finals("hello"), session="talks/one")
    assert sink.path_for("talks/one") == tmp_path / "out" / "talks" / "one.x"
    assert "hello" in (tmp_path / "out" / "talks" / "one.x").read_text()


@pytest.mark.parametrize("session", ["../other", "/etc/x", "a/../../b"])
def test_a_session_does_not_lead_out_of_the_folder(tmp_path, session):
    with pytest.raises(MmstreamError, match="leads out of the folder"):
        PlainText(path=str(tmp_path / "{session}.txt")).open(session)


@pytest.mark.parametrize("path", ["", "out/", "out/{sesion}.srt", "{}.srt"])
def test_a_path_that_names_no_file(path):
    with pytest.raises(ValueError, match=r"\{session\}"):
        Srt(path=path)


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_two_sessions_for_one_file(tmp_path, kind):
    sink = kind(path=str(tmp_path / "a.x"))
    first = sink.open("first")
    message = r"a\.x: sessions 'first' and 'second' would both write it; put \{session\} into the path"
    with pytest.raises(MmstreamError, match=message):
        sink.open("second")
    sink.flush(first)
    with pytest.raises(MmstreamError, match=message):  # nor may it replace what the first one wrote
        sink.open("second")
    sink.discard(sink.open("first"))
    sink.discard(sink.open("second"))


def test_two_sinks_for_one_file(tmp_path):
    first = Srt(path=str(tmp_path / "a.x"))
    state = first.open("s")
    with pytest.raises(MmstreamError, match="is being written by another session"):
        WebVtt(path=str(tmp_path / "a.x")).open("s")
    first.discard(state)
    WebVtt(path=str(tmp_path / "a.x")).open("s")


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_a_discarded_session_leaves_nothing(tmp_path, kind):
    sink = kind(path=str(tmp_path / "a.x"))
    state = sink.open("s")
    for packet in finals("hello", "world"):
        sink.process(packet, state)
    assert not (tmp_path / "a.x").exists()
    sink.discard(state)
    sink.discard(state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_an_utterance_that_is_replayed_is_not_written_twice(tmp_path, kind):
    once, twice = finals("one", "two", "three"), finals("one", "two")
    twice += [caption(0, "one"), *finals("one", "two", "three")]
    for number, captions in enumerate((once, twice)):
        run_operator(kind(path=str(tmp_path / f"{number}.x")), captions)
    assert _timeless(tmp_path / "0.x") == _timeless(tmp_path / "1.x")


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_numbering_that_begins_again_loses_nothing(tmp_path, kind):
    run_operator(kind(path=str(tmp_path / "a.x")), [*finals("one", "two"), caption(0, "three", final=True, start=50.0)])
    assert "three" in (tmp_path / "a.x").read_text()


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_an_utterance_without_its_final_caption_is_written_when_the_next_begins(tmp_path, kind):
    run_operator(kind(path=str(tmp_path / "a.x")), [caption(0, "one", "two"), *finals("", "three")[1:]])
    text = (tmp_path / "a.x").read_text()
    assert text.index("one") < text.index("two") < text.index("three")


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_memory_stays_flat(tmp_path, kind):
    sink = kind(path=str(tmp_path / "a.x"))
    state = sink.open("s")

    def feed(first, last):
        for index in range(first, last):
            start = 3.6 * index
            sink.process(caption(index, "these are some of the", start=start), state)
            sink.process(caption(index, "these are some of the words that one hears", final=True, start=start), state)

    feed(0, 100)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    feed(100, 600)  # half an hour
    gc.collect()  # which empties the interpreter's store of spare tuples as well
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    sink.flush(state)
    assert grown < 40_000, f"{grown} bytes in half an hour"


def _timeless(path):
    if path.read_text().startswith("{"):
        return [without_wall_clock(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_text()


# JSON lines


def test_json_lines_by_hand(tmp_path):
    clock = ManualClock(start=200.0)
    sink = JsonLines(path=str(tmp_path / "a.jsonl"))
    sink.clock = clock
    state = sink.open("s")
    steps = [
        caption(3, "", "the cat", start=1.0),
        caption(3, "the", "hat sat", start=1.0),  # cat is changed
        caption(3, "the", "cat", start=1.0),  # hat is changed, sat is withdrawn
        caption(3, "the cat", "sat", final=True, start=1.0, language="en"),
    ]
    for packet in steps:
        sink.process(packet, state)
        clock.advance(1.0)
    sink.process(gap(2.0, 4.5), state)
    sink.flush(state)
    utterance, lost = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    words = utterance.pop("words")
    assert utterance == {
        "session": "s", "index": 3, "start": 1.0, "end": 1.9, "text": "the cat sat", "language": "en", "revisions": 3,
    }  # fmt: skip
    assert words[0] == {
        "word": "the", "start": 1.0, "end": 1.3, "confidence": None, "video": 0.0,
        "captured_at": 101.3, "emitted_at": 200.0, "committed_at": 201.0,
    }  # fmt: skip
    assert [word["captured_at"] for word in words] == [101.3, 101.6, 101.9]
    assert [word["emitted_at"] for word in words] == [200.0, 200.0, 201.0]  # when the place first showed the text
    assert [word["committed_at"] for word in words] == [201.0, 203.0, 203.0]
    assert lost == {
        "gap": {"session": "s", "start": 2.0, "end": 4.5, "medium": "audio", "reason": "the device overflowed"}
    }


def test_without_wall_clock_two_runs_are_equal(tmp_path):
    lines = []
    for run, moment in enumerate((0.0, 1e9)):
        sink = JsonLines(path=str(tmp_path / f"{run}.jsonl"))
        sink.clock = ManualClock(start=moment)
        run_operator(sink, [caption(0, "a", "b"), *finals("a c", "d"), gap(20.0, 21.0)])
        lines.append([json.loads(line) for line in (tmp_path / f"{run}.jsonl").read_text().splitlines()])
    assert lines[0] != lines[1]
    bare = [list(map(without_wall_clock, run)) for run in lines]
    assert bare[0] == bare[1]
    assert set(lines[0][0]["words"][0]) - set(bare[0][0]["words"][0]) == WALL_CLOCK_KEYS
    assert bare[0][0]["words"][1]["word"] == "c"


def test_words_that_were_all_withdrawn_still_count_as_revised(tmp_path):
    run_operator(JsonLines(path=str(tmp_path / "a.jsonl")), [caption(0, "", "oh no"), caption(0, final=True)])
    line = json.loads((tmp_path / "a.jsonl").read_text())
    assert (line["text"], line["words"], line["revisions"]) == ("", [], 2)


def test_an_utterance_of_silence_leaves_no_line(tmp_path):
    run_operator(JsonLines(path=str(tmp_path / "a.jsonl")), [caption(0, final=True)])
    assert (tmp_path / "a.jsonl").read_text() == ""


# subtitles


def subtitles(path, kind):
    return pysubs2.load(str(path), format_="srt" if kind is Srt else "vtt")


@pytest.mark.parametrize("kind", [Srt, WebVtt])
def test_nothing_said_is_a_valid_file(tmp_path, kind):
    run_operator(kind(path=str(tmp_path / "a.x")), [])
    assert (tmp_path / "a.x").read_text() == ("" if kind is Srt else "WEBVTT\n\n")
    assert len(subtitles(tmp_path / "a.x", kind)) == 0


def test_srt_by_hand(tmp_path):
    run_operator(Srt(path=str(tmp_path / "a.srt")), finals("hello world", "good bye"))
    # "hello world" is said in 0.6 s but takes 11 / 17 s to read, and 0.8 s to be seen at all
    assert (tmp_path / "a.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:00,800\nhello world\n\n2\n00:00:10,000 --> 00:00:10,800\ngood bye\n\n"
    )


def test_webvtt_by_hand(tmp_path):
    run_operator(WebVtt(path=str(tmp_path / "a.vtt")), [caption(0, "a < b && c --> d", final=True, start=3599.0)])
    assert (tmp_path / "a.vtt").read_text() == (
        "WEBVTT\n\n1\n00:59:59.000 --> 01:00:01.100\na &lt; b &amp;&amp; c --&gt; d\n\n"
    )


def test_a_cue_stays_until_it_is_read_where_there_is_room(tmp_path):
    quick = spoken("thirty four characters in a second", word_s=1 / 6)
    for number, follows_at in enumerate((1.2, 5.0)):
        captions = [
            Packet("s", 0.0, 1.0, Caption(0, quick, (), True), 0.0),
            caption(1, "next", final=True, start=follows_at),
        ]
        run_operator(Srt(path=str(tmp_path / f"{number}.srt"), reading_speed_cps=17.0), captions)
    assert subtitles(tmp_path / "0.srt", Srt)[0].end == 1200  # the next one begins
    assert subtitles(tmp_path / "1.srt", Srt)[0].end == 2000  # 34 characters at 17 per second


def test_lost_audio_is_a_cue(tmp_path):
    packets = [*finals("hello"), gap(2.0, 60.0), gap(61.0, 62.0, "video"), caption(1, "bye", final=True, start=62.0)]
    for gaps, expected in ((True, ["hello", "[audio lost]", "bye"]), (False, ["hello", "bye"])):
        run_operator(Srt(path=str(tmp_path / "a.srt"), gaps=gaps), packets)
        cues = subtitles(tmp_path / "a.srt", Srt)
        assert [cue.text for cue in cues] == expected
        assert all(cue.duration <= 7000 for cue in cues)


def test_cues_break_where_the_speaker_does():
    first, second = spoken("one two three four five six"), spoken("seven eight nine ten eleven", start=3.0)
    limits = CueLimits(max_line_chars=20, max_lines=2, max_duration_s=7.0)
    assert [cue.text for cue in cut_into_cues(first + second, limits)] == [
        "one two three\nfour five six",
        "seven eight\nnine ten eleven",
    ]
    sentences = spoken("this is it. and then one more is to be had")
    assert [cue.text for cue in cut_into_cues(sentences, limits)] == ["this is it.", "and then one more\nis to be had"]


def test_lines_are_even_and_wide_characters_count_twice():
    assert wrap("aaaa bbbb cccc dd".split(), 14) == ["aaaa bbbb", "cccc dd"]
    assert wrap(["x" * 25], 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert wrap(list("今日は良い天気"), 8, "") == ["今日は良", "い天気"]


words = st.lists(
    st.tuples(
        st.text("abcäß今<&.,-'", min_size=1, max_size=30),
        st.floats(0.0, 3.0),  # pause before it
        st.floats(0.0, 9.0),  # its length
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    utterances=st.lists(words, max_size=5),
    columns=st.integers(2, 60),
    lines=st.integers(1, 4),
    longest=st.floats(0.8, 10.0),
    overlap=st.floats(0.0, 2.0),
)
@pytest.mark.parametrize("kind", [Srt, WebVtt])
def test_subtitles_keep_their_promises(tmp_path_factory, kind, utterances, columns, lines, longest, overlap):
    path = tmp_path_factory.mktemp("subtitles") / "a.x"
    now, packets, said = 0.0, [], ""
    for index, utterance in enumerate(utterances):
        now = max(0.0, now - overlap)  # utterances may overlap a little: each one's audio begins before its speech
        spoken_words = []
        for text, pause, length in utterance:
            spoken_words.append(Word(text, now + pause, now + pause + length))
            now += pause + length
            said += text
        packets.append(Packet("s", 0.0, now, Caption(index, tuple(spoken_words), (), True), 0.0))
    run_operator(kind(path=str(path), max_line_chars=columns, max_lines=lines, max_duration_s=longest), packets)
    cues = subtitles(path, kind)
    times = [time for cue in cues for time in (cue.start, cue.end)]
    assert times == sorted(times)
    assert all(cue.start < cue.end for cue in cues)
    assert all(cue.duration <= 1000 * longest + 1 for cue in cues)
    read = path.read_text().replace("&lt;", "<").replace("&amp;", "&")
    shown = [block.split("\n")[2:] for block in read.removeprefix("WEBVTT\n\n").split("\n\n") if block]
    assert "".join("".join(block) for block in shown).replace(" ", "") == said
    widths = [sum(2 if char == "今" else 1 for char in line) for block in shown for line in block]
    assert all(width <= columns for width in widths)


@pytest.mark.parametrize(
    "wrong", [{"max_line_chars": 1}, {"max_lines": 0}, {"max_duration_s": 0.5}, {"reading_speed_cps": 0}]
)
def test_limits_that_make_no_sense(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*; legal values: "):
        Srt(path="a.srt", **wrong)
