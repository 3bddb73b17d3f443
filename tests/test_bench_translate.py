"""``mmstream bench translate``: that it measures what it says and ends with one JSON line. Not how fast we are."""

from mmstream.benchmarks import translation
from tests.command_line import call
from tests.test_bench import figures


def test_one_round_in_a_table_and_a_line():
    done = call("bench", "translate", "--rounds", "2", "--targets", "de,es")
    assert done.code == 0, done
    *table, line = done.out.splitlines()
    found = figures(line)
    assert any("alone" in row for row in table)
    assert all(len(figure["rounds"]) == 2 and figure["low"] > 0 for figure in found.values())
    assert found["a sentence of 12 words alone, p50"]["target"] == "<= 60"
    assert found["a new process to its first translation"]["target"] == "<= 1"
    assert "a sentence into de, es in one call, p50" in found
    assert done.last_json["settings"]["targets"] == "de, es"
    assert "round 2 of 2" in done.err


def test_a_pair_that_there_is_not_is_one_line():
    call("bench", "translate", "--targets", "ja").the_line(
        "no model on this machine translates English (en) into Japanese (ja)"
    )


def test_sentences_have_the_words_that_they_are_said_to_have():
    assert {len(sentence.split()) for sentence in translation.SENTENCES} == {12}
