"""Nothing that a source says plainly is lost, nothing is empty, nothing runs in circles, whatever the model gives."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.translation.checks import repeats
from mmstream.translation.ctranslate import CTranslate
from mmstream.translation.engine import Request, Translated
from mmstream.translation.faithful import Faithful
from mmstream.translation.literals import missing
from tests import tiny_translator

LITERALS = ["3.50", "https://a.example/b?c=1", "x@y.org", "1,000", "iPhone", "🙂", "-5%", "#tag", "20:15", "Kowalczyk"]


class Scripted:
    """A model that gives what a test says, by its source, and keeps what it was asked."""

    def __init__(self, real: CTranslate, answers: dict[str, str]) -> None:
        self.family, self.name = real.family, real.name
        self._answers = answers
        self.asked: list[str] = []

    def translate(self, requests, source, decoding=None) -> list[Translated]:
        self.asked += [request.text for request in requests]
        said = [(*request.prefix, *self._answers.get(request.text, "ja").split()) for request in requests]
        return [
            Translated(words, -1.0, tuple(min(at, len(request.text.split()) - 1) for at in range(len(words))))
            for request, words in zip(requests, said, strict=True)
        ]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("translators")


@pytest.fixture(scope="module")
def story(place) -> CTranslate:
    return CTranslate(tiny_translator.embedded(place / "story"), "mt")


@pytest.fixture(scope="module")
def bad(place) -> dict[str, Faithful]:
    """Translators that say anything, in circles mostly, or nothing."""
    makers = {
        "wild": lambda folder: tiny_translator.embedded(folder, wild=1),
        "wild m2m": lambda folder: tiny_translator.m2m100(folder, wild=2),
        "mute": lambda folder: tiny_translator.embedded(folder, mute=True),
        "mute nllb": lambda folder: tiny_translator.nllb(folder, mute=True),
        "circles": lambda folder: tiny_translator.marian(folder / "opus-mt-en-de", story="das das das das das das"),
    }
    return {name: Faithful(CTranslate(_folder(make, place / name), "opus-mt-en-de")) for name, make in makers.items()}


def _folder(make, folder: Path) -> Path:
    made: Path = make(folder)
    return made


def scripted(story: CTranslate, answers: dict[str, str], text: str, prefix: str = "") -> tuple[str, list[str]]:
    model = Scripted(story, answers)
    (found,) = Faithful(model).translate([Request(text, "de", tuple(prefix.split()))], "en")
    assert len(found.sources or ()) == len(found.words)
    return " ".join(found.words), model.asked


# What is mended, in the order in which it is tried.


def test_a_good_translation_stays_and_is_asked_for_once(story):
    said = scripted(story, {"it costs 3.50 now": "es kostet 3.50 jetzt"}, "it costs 3.50 now")
    assert said == ("es kostet 3.50 jetzt", ["it costs 3.50 now"])


def test_another_spelling_becomes_the_literal_without_asking_again(story):
    said = scripted(story, {"it costs 3.50 now": "es kostet 3,50 jetzt."}, "it costs 3.50 now")
    assert said == ("es kostet 3.50 jetzt.", ["it costs 3.50 now"])


def test_a_lost_literal_goes_in_as_a_place_holder(story):
    answers = {"mail x@y.org now": "schick es jetzt", "mail ｟1｠ now": "schick ｟1｠ jetzt"}
    assert scripted(story, answers, "mail x@y.org now")[0] == "schick x@y.org jetzt"


def test_a_literal_that_no_place_holder_brings_back_is_put_where_it_belongs(story):
    answers = {"mail x@y.org now": "schick es", "mail ｟1｠ now": "schick es"}
    said, asked = scripted(story, answers, "mail x@y.org now")
    assert said == "schick es x@y.org"
    assert asked == ["mail x@y.org now", "mail ｟1｠ now"]


def test_circles_are_asked_for_again(story):
    class Careful(Scripted):
        def translate(self, requests, source, decoding=None):
            self._answers = {"we go home": "wir gehen heim"} if decoding else {"we go home": "wir wir wir wir"}
            return super().translate(requests, source, decoding)

    (found,) = Faithful(Careful(story, {})).translate([Request("we go home", "de")], "en")
    assert found.words == ("wir", "gehen", "heim")


def test_a_source_that_repeats_itself_may_be_repeated(story):
    answers = {"no no no no": "nein nein nein nein"}
    assert scripted(story, answers, "no no no no") == ("nein nein nein nein", ["no no no no"])


def test_a_place_holder_that_nobody_asked_for_is_never_shown(story):
    answers = {"we go home": "wir ｟2｠ heim"}
    assert "｟" not in scripted(story, answers, "we go home")[0]


def test_what_was_promised_stays_while_a_literal_is_mended(story):
    answers = {"mail x@y.org now": "jetzt", "mail ｟1｠ now": "jetzt"}
    said, _ = scripted(story, answers, "mail x@y.org now", prefix="schick es")
    assert said.startswith("schick es ")
    assert "x@y.org" in said.split()


def test_literals_alone_are_not_asked_for(story):
    assert scripted(story, {}, "3.50 🙂") == ("3.50 🙂", [])


# Texts that no model has to see whole, or at all.


@pytest.mark.parametrize("text", ["", "   ", "\x00\x1b", "\u200b"])
def test_nothing_is_translated_as_nothing(story, text):
    for prefix in ((), ("schon",)):
        assert Faithful(Scripted(story, {})).translate([Request(text, "de", prefix)], "en")[0].words == prefix


def test_control_characters_are_left_out_and_words_keep_their_numbers(story):
    model = Scripted(story, {"the old house": "das alte Haus"})
    (found,) = Faithful(model).translate([Request("the \x07 o\x00ld\u202e house", "de")], "en")
    assert model.asked == ["the old house"]
    assert found == Translated(("das", "alte", "Haus"), -1.0, (0, 2, 3))


def test_ten_thousand_words_are_translated_in_parts(story):
    text = " ".join(f"house{' 3.50' if at % 500 == 0 else ''}," for at in range(10_000))
    model = Scripted(story, {})
    (found,) = Faithful(model).translate([Request(text, "de")], "en")
    assert all(len(one.split()) <= 40 for one in model.asked)
    assert not missing(["3.50"] * 20, " ".join(found.words))
    assert list(found.sources) == sorted(found.sources)
    assert found.sources[-1] > 9_900


def test_a_promise_of_many_parts_is_kept_and_gone_on_from(story):
    text = " ".join(["the house is very old."] * 12)
    engine = Faithful(story)
    (whole,) = engine.translate([Request(text, "de")], "en")
    for kept in (1, 7, 23, len(whole.words)):
        (found,) = engine.translate([Request(text, "de", whole.words[:kept])], "en")
        assert found.words == whole.words


def test_a_text_in_another_language_is_warned_of_once(story, caplog):
    engine = Faithful(story)
    text = "wir haben gestern einen sehr langen Weg gemacht"
    with caplog.at_level(logging.WARNING):
        for one in ("the house is very old and we are here", "was there gar nichts", text, text):
            engine.translate([Request(one, "fr")], "en")
    assert [record.getMessage() for record in caplog.records] == [
        "'wir haben gestern einen sehr langen Weg gemacht' is hardly in the language that mt translates from"
    ]


# Whatever a model gives.


@given(data=st.data())
@settings(max_examples=60)
def test_literals_survive_promises_stand_and_nothing_is_empty(bad, data):
    engine = bad[data.draw(st.sampled_from(sorted(bad)))]
    said = st.sampled_from(["the", "house", "is", "old.", "Tom", "and"]) | st.sampled_from(LITERALS)
    words = data.draw(st.lists(said, min_size=1, max_size=9))
    prefix = tuple(data.draw(st.lists(st.sampled_from(["das", "Haus", "3.50", "ist"]), max_size=3)))
    (found,) = engine.translate([Request(" ".join(words), "de", prefix)], "en")
    assert found.words[: len(prefix)] == prefix
    assert len(found.sources) == len(found.words)
    assert all(0 <= at < len(words) for at in found.sources)
    literals = [word for word in words if word in LITERALS and word != "Kowalczyk"]
    assert not missing(literals, " ".join(found.words))
    if any(one.isalnum() for one in "".join(words)):
        assert any(one.isalnum() for one in "".join(found.words))
    if len({*words, *prefix}) == len([*words, *prefix]):  # what comes again in a source may do so
        assert not repeats(found.words)


@pytest.mark.parametrize(
    ("name", "said"), [("mute", "Tom has 3 dogs"), ("mute nllb", "Tom has 3 dogs"), ("circles", "3 das")]
)
def test_what_no_model_can_say_stays_as_it_was_heard(bad, name, said):
    (found,) = bad[name].translate([Request("Tom has 3 dogs", "de")], "en")
    assert sorted(found.words) == sorted(said.split())


@given(data=st.data())
@settings(max_examples=40)
def test_any_text_is_taken(bad, data):
    engine = bad[data.draw(st.sampled_from(sorted(bad)))]
    text = data.draw(st.text(max_size=60))
    (found,) = engine.translate([Request(" ".join(text.split()), "de")], "en")
    assert all(word and len(word.split()) == 1 for word in found.words)
    assert not {unicodedata.category(one) for word in found.words for one in word} & {"Cc", "Cs", "Co", "Zs"}
