"""Sinks that write translations: what was said and what was translated in, the file of one language out."""

import itertools
import json
from dataclasses import replace

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.media import Caption, Translation, Word
from mmstream.testing import ManualClock, run_operator
from mmstream.translation.engine import TranslationError
from operators.sinks import JsonLines, PlainText, Srt, WebVtt
from operators.sinks.cues import spread
from operators.sinks.media_order import MOST_HELD
from tests.captions import caption, finals, gap, translation

FILE_SINKS = [Srt, WebVtt, JsonLines, PlainText]
SAID = [
    *(caption(0, "", "good"), caption(0, "good day", final=True)),
    gap(1.0, 3.0),
    caption(1, "my friend", final=True, start=4.0),
]
GERMAN = [
    *(translation(0, "", "Guten"), translation(0, "Guten Tag", final=True)),
    translation(1, "mein Freund", final=True, start=4.0),
]
FRENCH = [translation(0, "bonjour", final=True, language="fr")]


def written(sink, packets):
    run_operator(sink, packets)
    return sink.path_for("s").read_text()


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_what_was_said_is_the_same_with_translations_beside_it(tmp_path, kind):
    alone, beside = kind(path=str(tmp_path / "alone.x")), kind(path=str(tmp_path / "beside.x"))
    alone.clock = beside.clock = ManualClock()
    mixed = [GERMAN[0], *SAID[:2], *FRENCH, GERMAN[1], *SAID[2:], GERMAN[2]]
    assert written(beside, mixed) == written(alone, SAID)


def test_a_language_gets_its_own_translations_and_what_was_lost(tmp_path):
    mixed = [SAID[0], *GERMAN[:2], SAID[1], *FRENCH, *SAID[2:], GERMAN[2]]
    assert written(PlainText(str(tmp_path / "de.txt"), gaps=True, language="de"), mixed) == (
        "Guten Tag\n[2.0 s of audio lost: the device overflowed]\nmein Freund\n"
    )
    assert written(PlainText(str(tmp_path / "fr.txt"), language="FR"), mixed) == "bonjour\n"
    assert written(PlainText(str(tmp_path / "es.txt"), language="es"), mixed) == ""


def test_a_language_that_there_is_not(tmp_path):
    with pytest.raises(TranslationError, match="'german' is no language code; write de"):
        Srt(path=str(tmp_path / "a.srt"), language="german")


def merged(streams, choices):
    """The packets of several streams, each in its own order, interleaved as ``choices`` says."""
    left, out = [list(stream) for stream in streams], []
    turns = itertools.chain(choices, itertools.repeat(0))
    while any(left):
        there = [stream for stream in left if stream]
        out.append(there[next(turns) % len(there)].pop(0))
    return out


@settings(max_examples=60, deadline=None)
@given(choices=st.lists(st.integers(0, 2), max_size=8))
@pytest.mark.parametrize("kind", FILE_SINKS)
def test_however_late_translations_come_the_file_is_the_same(tmp_path_factory, kind, choices):
    folder = tmp_path_factory.mktemp("order")
    files = []
    for number, packets in enumerate((merged([SAID, GERMAN, FRENCH], choices), [*SAID, *GERMAN])):
        sink = kind(path=str(folder / f"{number}.x"), language="de")
        sink.clock = ManualClock()
        files.append(written(sink, packets))
    assert files[0] == files[1]
    assert "Freund" in files[0]


def test_lost_audio_is_a_cue_between_translations(tmp_path):
    written(Srt(path=str(tmp_path / "a.srt"), language="de"), [*SAID, *GERMAN])  # the gap came before "Guten Tag"
    cues = pysubs2.load(str(tmp_path / "a.srt"))
    assert [cue.text for cue in cues] == ["Guten Tag", "[audio lost]", "mein Freund"]
    assert [(cue.start, cue.end) for cue in cues] == [(0, 800), (1000, 3000), (4000, 4800)]


def test_what_is_lost_while_nobody_speaks_is_written_at_once(tmp_path):
    sink = JsonLines(path=str(tmp_path / "a.jsonl"), language="de")
    state = sink.open("s")
    for packet in [*SAID[:2], *GERMAN[:2], *(gap(10.0 + at, 10.5 + at, "video") for at in range(50))]:
        sink.process(packet, state)
    assert not state.order.lost
    sink.flush(state)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 51
    assert lines[0]["text"] == "Guten Tag"


def test_a_sink_that_hears_of_translations_alone_holds_few(tmp_path):
    sink = PlainText(path=str(tmp_path / "a.txt"), language="de")
    state = sink.open("s")
    count = 5 * MOST_HELD
    for index in range(count):
        sink.process(translation(index, f"satz {index}", final=True, start=2.0 * index), state)
        assert len(state.order.over) <= MOST_HELD
    sink.flush(state)
    assert (tmp_path / "a.txt").read_text().splitlines() == [f"satz {index}" for index in range(count)]


def test_json_lines_of_a_translation(tmp_path):
    sink = JsonLines(path=str(tmp_path / "a.jsonl"), language="de")
    clock = sink.clock = ManualClock(start=200.0)
    state = sink.open("s")
    first = Word("Guten", 1.0, 1.4, confidence=0.75, video=0.25)
    steps = [
        Translation(3, (), (first, Word("Mond", 1.4, 1.9)), False, "de"),
        Translation(3, (first,), (Word("Tag", 1.4, 1.9),), False, "de"),
        Translation(3, (first, Word("Tag", 1.4, 1.9)), (), True, "de"),
    ]
    said = caption(3, "good day", final=True, start=1.0)
    for data in steps:
        sink.process(replace(said, data=data), state)
        clock.advance(1.0)
    sink.process(said, state)
    sink.flush(state)
    line = json.loads((tmp_path / "a.jsonl").read_text())
    words = line.pop("words")
    assert line == {
        "session": "s", "index": 3, "start": 1.0, "end": 1.9, "text": "Guten Tag", "language": "de", "revisions": 1,
    }  # fmt: skip
    assert words[0] == {
        "word": "Guten", "start": 1.0, "end": 1.4, "confidence": 0.75, "video": 0.25,
        "captured_at": 101.4, "emitted_at": 200.0, "committed_at": 201.0,
    }  # fmt: skip
    assert (words[1]["emitted_at"], words[1]["committed_at"]) == (201.0, 202.0)


@pytest.mark.parametrize("kind", FILE_SINKS)
def test_a_translation_that_is_replayed_is_not_written_twice(tmp_path, kind):
    once = [*SAID, *GERMAN]
    twice = [*SAID[:2], *GERMAN[:2], *GERMAN[:2], *SAID[1:], *GERMAN[1:]]
    texts = []
    for number, packets in enumerate((once, twice)):
        sink = kind(path=str(tmp_path / f"{number}.x"), language="de")
        sink.clock = ManualClock()
        texts.append(written(sink, packets))
    assert texts[0] == texts[1]


# cues


def test_words_that_come_from_one_word_get_the_time_to_be_read():
    held = [Word("Ich", 0.0, 0.5), *(Word("lange", 9.0, 10.0) for _ in range(8))]
    spaced = spread(held, chars_per_s=10.0)
    starts = [word.start for word in spaced]
    assert starts == pytest.approx([0.0, *(9.0 - 0.6 * count for count in range(7, -1, -1))])
    assert spaced[-1].end == 10.0
    crowded = [word.start for word in spread([Word("lange", 9.0, 10.0)] * 8, chars_per_s=10.0)]  # not time enough
    assert crowded[0] == 9.0
    assert min(after - before for before, after in itertools.pairwise([*crowded, 10.0])) == pytest.approx(0.6 / 5.2)


def test_a_short_silence_is_no_place_to_break_a_translation_and_a_long_one_stays():
    short, long = (spread([Word("a", 0.0, 0.3), Word("b", at, at + 0.3)], 20.0) for at in (1.0, 3.0))
    assert (short[0].end, long[0].end) == (1.0, 0.3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("abc", min_size=1, max_size=20), st.floats(0.0, 2.0), st.floats(0.0, 2.0)),
        min_size=1,
        max_size=30,
    ),
    st.floats(5.0, 25.0),
)
def test_spread_words_keep_their_order_and_their_span(given_words, speed):
    start, end, words = 0.0, 0.0, []
    for text, later, length in given_words:
        start, end = start + later, max(end, start + later + length)
        words.append(Word(text, start, end))
    spaced = spread(words, speed)
    times = [time for word in spaced for time in (word.start, word.end)]
    assert [word.text for word in spaced] == [word.text for word in words]
    assert times == pytest.approx(sorted(times))
    assert words[0].start - 1e-9 <= times[0]
    assert times[-1] <= end + 1e-9


@pytest.mark.parametrize("kind", [Srt, WebVtt])
def test_no_cue_of_a_translation_flashes_by(tmp_path, kind):
    late = tuple(Word(word, 4.0, 5.0) for word in ("der Hund " * 12).split())  # all held by one word of the end
    data = Translation(0, (Word("Gestern", 0.0, 0.4), *late), (), True, "de")
    packets = [caption(0, "yesterday it was", final=True), replace(translation(0, "x", final=True), data=data)]
    written(kind(path=str(tmp_path / "a.x"), language="de"), packets)
    cues = pysubs2.load(str(tmp_path / "a.x"), format_="srt" if kind is Srt else "vtt")
    assert len(cues) > 1
    assert min(cue.duration for cue in cues) > 800
    assert " ".join(cue.plaintext.replace("\n", " ") for cue in cues) == data.text


def test_a_caption_keeps_its_own_times(tmp_path):
    held = (Word("so", 0.0, 0.2), *(Word("long", 9.0, 10.0) for _ in range(4)))
    written(Srt(path=str(tmp_path / "a.srt")), [replace(finals("x")[0], data=Caption(0, held, (), True))])
    assert pysubs2.load(str(tmp_path / "a.srt"))[1].start == 9000


def test_a_language_without_spaces(tmp_path):
    packets = [caption(0, "good day", final=True), translation(0, "今日 は", final=True, language="ja")]
    assert written(PlainText(str(tmp_path / "a.txt"), language="ja"), packets) == "今日は\n"
