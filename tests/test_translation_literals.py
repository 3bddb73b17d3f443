"""What of a sentence stays as it is, finding out whether it did, and where it goes when it did not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.translation.checks import lost, repeats
from mmstream.translation.cutting import MOST_WORDS, cleaned, cuts, shares
from mmstream.translation.engine import Translated
from mmstream.translation.grafting import grafted
from mmstream.translation.literals import literals_in, missing, replaced

SEEN = set("we see the a tom's well known is in of on and old house great day he painter walk dogs don't".split())


class Family:
    """A model that has seen a few words; letters of Greek it does not know."""

    def seen(self, word: str) -> bool:
        return word in SEEN

    def is_strange(self, word: str) -> bool:
        return any("GREEK" in unicodedata.name(one, "") for one in word)


def found(text: str) -> list[str]:
    return list(literals_in(text.split(), Family()).values())


@pytest.mark.parametrize(
    ("text", "literals"),
    [
        ("it is 3.50, and 1,000 or 20:15.", ["3.50", "1,000", "20:15"]),
        ("(-5%) is −3 €7 50% 7°", ["-5%", "−3", "€7", "50%", "7°"]),  # noqa: RUF001
        ("in the 1980s on the 20th, a 24-hour day", ["1980", "20", "24"]),
        ("B2B mp3 A4 3D.", ["B2B", "mp3", "A4", "3D"]),
        ("see https://a.b/c(d)?e=1#f). or (www.a.org),", ["https://a.b/c(d)?e=1#f", "www.a.org"]),
        ('mail "x.y+z@a-b.org", @me #tag!', ["x.y+z@a-b.org", "@me", "#tag"]),
        ("see a.example.com, or b.org/x and e.g. this", ["a.example.com", "b.org/x"]),
        ("an iPhone of McDonald", ["iPhone", "McDonald"]),
        ("🙂 well🎉 👨‍👩‍👧! ❤️", ["🙂", "🎉", "👨‍👩‍👧", "❤️"]),
        ("the αβγ of old", ["αβγ"]),
        ("x" * 61, ["x" * 61]),
        ("we see Kowalczyk's Gdynia and Tom's house", ["Kowalczyk", "Gdynia"]),
        ("Kowalczyk is old", ["Kowalczyk"]),
        ("Painters walk. Greatness Walking Old-House", ["Greatness", "Walking"]),
        ("Sadly we see Sadly", ["Sadly"]),
        ("WE SEE GDYNIA", []),
        ("we see WE", []),
        ("", []),
    ],
)
def test_what_stays_as_it_is(text, literals):
    assert found(text) == literals


def test_where_nobody_knows_what_was_seen_no_name_is_taken_for_one():
    class Unknown(Family):
        def seen(self, word):
            return None

    assert literals_in("we see Gdynia 3".split(), Unknown()) == {3: "3"}


@pytest.mark.parametrize(
    ("literals", "text", "lacking"),
    [
        (["3"], "drei", ["3"]),
        (["3"], "30 oder 13 oder 3,5 oder 2.3", ["3"]),
        (["3"], "es ist 3.", []),
        (["3", "3"], "3", ["3"]),
        (["1980"], "die 1980er", []),
        (["Tom"], "Tomate", ["Tom"]),
        (["a.org", "x@a.org"], "x@a.org", ["a.org"]),
        (["-5%"], "um -5% mehr", []),
        (["5"], "-5% mehr", []),
        (["🙂"], "ja🙂", []),
        ([], "", []),
    ],
)
def test_what_is_missing(literals, text, lacking):
    assert missing(literals, text) == lacking


def test_lost_literals_by_number_of_the_source_word():
    assert lost({0: "3", 4: "3", 6: "x@y.org"}, ["3", "und", "x@y.org."]) == {0: "3"}


def test_swaps_are_made_once_and_in_order():
    words = ["3", "und", "3,", "13"]
    assert replaced(words, [("3", "A"), ("3", "B"), ("3", "C")]) == ["A", "und", "B,", "13"]


@pytest.mark.parametrize(
    ("text", "allowed", "says_it_again"),
    [
        ("ja ja", "", False),
        ("ja ja ja", "", True),
        ("Ja, ja, ja!", "", True),
        ("ja ja ja", "no no no", False),
        ("ja ja ja ja", "no no no", True),
        ("ein Haus ein Haus ein Haus", "", True),
        ("das ist das alte das ist das alte", "", True),
        ("das ist das das ist das", "", False),
        ("x" * 61, "", True),
        ("x" * 61, "y" * 40, False),
        ("... ... ...", "", True),
        ("", "", False),
    ],
)
def test_what_runs_in_circles(text, allowed, says_it_again):
    assert repeats(text.split(), allowed=allowed.split()) is says_it_again


# Where a literal goes.


@pytest.mark.parametrize(
    ("words", "sources", "literals", "said"),
    [
        ("es kostet 3,50 jetzt", (0, 1, 2, 3), {2: "3.50"}, "es kostet 3.50 jetzt"),
        ("in Gdinia, ja", (0, 1, 2), {1: "Gdynia"}, "in Gdynia, ja"),
        ("es kostet 7 Euro", (0, 1, 2, 3), {2: "3"}, "es kostet 3 Euro"),
        ("in Berlin ja", (0, 1, 2), {1: "Gdynia"}, "in Gdynia ja"),
        ("Comencemos a las dos y media, Tom", (0, 1, 2, 2, 2, 2, 3), {2: "2:30"}, "Comencemos a las 2:30, Tom"),
        ("Tom war drei Jahre alt", (0, 1, 2, 2, 3), {2: "3"}, "Tom war 3 Jahre alt"),
        ("wir gehen drei Tage drei", (0, 1, 3, 4, 2), {2: "3"}, "wir gehen drei Tage 3"),
        ("es kostet viel", (0, 1, 3), {2: "3"}, "es kostet 3 viel"),
        ("es kostet viel.", (0, 1, 1), {2: "3"}, "es kostet viel 3."),
        ("es kostet 3 Euro", (0, 1, 2, 3), {2: "3", 3: "4"}, "es kostet 3 Euro 4"),
        ("", (), {0: "3"}, "3"),
    ],
)
def test_a_literal_takes_its_place(words, sources, literals, said):
    made = grafted(Translated(tuple(words.split()), 0.0, sources), literals, 0)
    assert " ".join(made.words) == said
    assert len(made.sources) == len(made.words)


def test_nothing_that_was_promised_is_touched():
    given_words = Translated(("es", "kostet", "3,50", "ja"), 0.0, (0, 1, 2, 3))
    assert grafted(given_words, {2: "3.50"}, 4).words == ("es", "kostet", "3,50", "ja", "3.50")
    assert grafted(given_words, {2: "3.50"}, 4, alike=True) == given_words
    spelt_out = Translated(("es", "kostet", "drei", "ja"), 0.0, (0, 1, 2, 3))
    assert grafted(spelt_out, {2: "3"}, 3, alike=True) == spelt_out
    assert grafted(spelt_out, {2: "3"}, 2, alike=True).words == ("es", "kostet", "3", "ja")


# Long sentences.


@given(st.lists(st.sampled_from(["we", "go,", "home.", "and", "x" * 30]), max_size=200), st.integers(1, 60))
def test_cuts_cover_everything_and_none_is_too_long(words, most):
    spans = cuts(words, lambda part: len(" ".join(part)) > most)
    assert [word for begin, end in spans for word in words[begin:end]] == words
    for begin, end in spans:
        assert 0 < end - begin <= MOST_WORDS
        assert len(" ".join(words[begin:end])) <= most or end - begin == 1


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["go"] * 30 + ["home."] + ["go"] * 30, 31),
        (["go"] * 25 + ["home,"] + ["go"] * 30, 26),
        (["go"] * 25 + ["and"] + ["go"] * 30, 25),
        (["go"] * 60, MOST_WORDS),
        (["home."] * 5, 5),
    ],
)
def test_a_long_text_is_cut_where_a_sentence_or_a_clause_ends(words, first):
    assert cuts(words, lambda part: False)[0] == (0, first)


def test_a_promise_is_shared_out_by_length():
    assert shares("a b c d e".split(), [2, 2, 9]) == [("a", "b"), ("c", "d"), ("e",)]
    assert shares(["a"], [2, 2]) == [("a",), ()]


@pytest.mark.parametrize(
    ("word", "left"), [("o\x00ld", "old"), ("\u202ehouse", "house"), ("👨‍👩‍👧", "👨‍👩‍👧"), ("\ue000", ""), ("né", "né")]
)
def test_what_nobody_sees_is_left_out(word, left):
    assert cleaned(word) == left
