"""Whisper's translations of the sound, numbered as the captions of the same utterances."""

import json

import pytest

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Hypothesis
from mmstream.recipe import Recipe, file_sinks
from mmstream.registry import Model
from mmstream.registry.catalogue import WHISPER
from mmstream.samples import SPOKEN_VIDEO
from mmstream.testing import run_operator
from operators.translation import Spoken
from tests.command_line import call
from tests.tiny_whisper import build_tiny_whisper
from tests.translations import words_of


def said(index, text, start, *, final=True):
    words = words_of(text, start)
    return Packet(
        "test", start, start + 1, Caption(index, words if final else (), () if final else words, final, "de"), 0
    )


def heard(text, start, *, final=True):
    return Packet("test", start, start + 1, Hypothesis(words_of(text, start), final, "en"), 0)


def told(packets):
    return [
        (one.index, " ".join(word.text for word in one.stable), " ".join(word.text for word in one.unstable), one.final)
        for one in (packet.data for packet in packets)
    ]


def test_a_translation_has_the_number_of_the_caption_that_begins_with_it():
    out = run_operator(Spoken(), [
        said(0, "guten", 1.0, final=False), heard("good", 1.0, final=False), heard("good day", 1.0, final=False),
        said(0, "guten Tag", 1.0), heard("good day", 1.0), heard("bye", 4.0), said(1, "tschüss", 4.0),
    ])  # fmt: skip
    assert told(out) == [
        (0, "", "good", False), (0, "good", "day", False), (0, "good day", "", True), (1, "bye", "", True),
    ]  # fmt: skip
    assert {packet.data.language for packet in out} == {"en"}


def test_numbers_agree_where_only_one_of_the_two_made_words():
    out = run_operator(Spoken(), [
        heard("noise", 0.0), heard("", 2.0), said(0, "ja", 2.0), heard("one", 4.0), said(1, "eins", 4.0),
    ])  # fmt: skip
    assert told(out) == [(0, "", "", True), (1, "one", "", True)]


def test_whichever_comes_first():
    late, early = said(0, "eins", 0.0), heard("one", 0.0)
    assert told(run_operator(Spoken(), [late, early])) == told(run_operator(Spoken(), [early, late]))
    empty = [said(0, "eins", 0.0), heard("", 0.0)]
    assert told(run_operator(Spoken(), empty)) == told(run_operator(Spoken(), empty[::-1])) == [(0, "", "", True)]


def test_what_was_not_finished_ends_with_the_stream():
    out = run_operator(Spoken(), [said(0, "eins", 0.0), heard("one two", 0.0, final=False)])
    assert told(out) == [(0, "", "one two", False), (0, "one two", "", True)]


def test_gaps_are_told_by_others():
    gap = Packet("test", 1.0, 2.0, Gap("audio", "lost"), 0)
    assert told(run_operator(Spoken(), [said(0, "eins", 0.0), heard("one", 0.0), gap])) == [(0, "one", "", True)]


def test_memory_does_not_grow_with_utterances_that_one_of_the_two_never_hears():
    operator = Spoken()
    state = operator.open("test")
    for at in range(100):
        list(operator.process(said(at, "ja", float(at)), state))
    assert len(state.utterances) < 20


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "many"
    build_tiny_whisper(folder)
    return folder


def graph_of(folder, *, watched=True):
    recipe = Recipe()
    recipe.recognise_with(Model("many", WHISPER, {"model": str(folder)}, folder), watched=watched)
    recipe.translate_sound(watched=watched)
    recipe.write_to(file_sinks("talk.srt", recipe.languages))
    assert recipe.languages == ["en"]
    return recipe.graph()


def test_the_recogniser_stands_twice_in_the_graph_and_its_second_translates(whisper):
    graph = graph_of(whisper)
    first, second = graph.nodes["decode"].arguments, graph.nodes["translate_sound"].arguments
    assert second == {**first, "task": "translate"}
    assert [edge.source for edge in graph.inputs("translate_spoken")] == ["commit", "translate_sound"]
    assert [edge.source for edge in graph.inputs("srt_file_en")] == ["commit", "translate_spoken"]
    assert graph.workers["translate_spoken"].nodes == ("translate_sound", "translate_spoken")
    assert graph_of(whisper, watched=False).nodes["translate_spoken"].arguments == {"policy": "final"}


def test_a_file_and_its_translation_by_sound(whisper, tmp_path):
    asked = ["--model", whisper, "--language", "de", "--translate", "en", "--translator", "whisper"]
    done = call("transcribe", SPOKEN_VIDEO, *asked, "--output", tmp_path, "--format", "jsonl")
    assert done.code == 0, done
    said, english = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in (f"{SPOKEN_VIDEO.stem}.jsonl", f"{SPOKEN_VIDEO.stem}.en.jsonl")
    )
    assert said
    assert {line["language"] for line in said} == {"de"}
    assert {line["language"] for line in english} <= {"en"}
    numbers = {line["index"]: line for line in said}
    for line in english:  # of the same stretch of sound, however little the words of a random model mean
        assert numbers[line["index"]]["start"] < line["end"]


@pytest.mark.parametrize(
    ("options", "line"),
    [(["--model", "sphinx", "--translate", "en", "--translator", "whisper"], "recognises English"),
     (["--model", "sphinx", "--translate", "de", "--translator", "whisper"], "no Whisper of many languages")],
)  # fmt: skip
def test_who_cannot_is_one_line(options, line, tmp_path):
    call("transcribe", SPOKEN_VIDEO, *options, "--output", tmp_path).the_line(line)


def test_whisper_translates_into_english_only(whisper, tmp_path):
    done = call(
        "transcribe",
        SPOKEN_VIDEO,
        "--model",
        whisper,
        "--translate",
        "fr",
        "--translator",
        "whisper",
        "--output",
        tmp_path,
    )
    done.the_line("nobody beside it into fr")
