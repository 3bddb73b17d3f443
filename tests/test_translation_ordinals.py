"""Ordinals as a language writes them."""

from __future__ import annotations

import pytest

from mmstream.translation.engine import Translated
from mmstream.translation.ordinals import with_ordinals


@pytest.mark.parametrize(
    ("source", "target", "made", "written"),
    [
        ("on the 3rd of May", "de", "am 3rten Mai", "am 3. Mai"),
        ("on the 3rd of May", "de-AT", "am 3 Mai", "am 3. Mai"),
        ("it was the 3rd.", "de", "es war der 3rten.", "es war der 3."),
        ("May 3rd, then", "de", "den 3ten, dann", "den 3., dann"),
        ("on the 3rd of May", "es", "el 3rizo de mayo", "el 3 de mayo"),
        ("on the 3rd of May", "fr", "au 3er de mai", "au 3 de mai"),
        ("on May 1st", "fr", "le 1 mai", "le 1er mai"),
        ("the 20th century.", "fr", "le 20. siècle.", "le 20e siècle."),
        ("it is the 2nd.", "fr", "c'est le 2.", "c'est le 2e."),
        ("the 12th floor", "es", "el 12.º piso", "el 12 piso"),
        ("the 2nd of 2nd rank", "de", "das 2nd von 2nd Rang", "das 2. von 2. Rang"),
        ("in 2nd place of 12", "de", "mit 12 am 2nd Platz", "mit 12 am 2. Platz"),
        ("the 3rd time", "de", "das 3.5 mal 13 um 3:00", "das 3.5 mal 13 um 3:00"),
        ("the 3rd time", "it", "la 3rza volta", "la 3rza volta"),
        ("3 times", "de", "3mal", "3mal"),
    ],
)
def test_an_ordinal_is_written_as_the_language_does(source, target, made, written):
    words = tuple(made.split())
    sources = tuple(min(at, len(source.split()) - 1) for at in range(len(words)))
    assert " ".join(with_ordinals(Translated(words, 0.0, sources), source.split(), target, 0).words) == written


def test_what_was_promised_stays():
    found = Translated(("am", "3rten", "Mai"), 0.0, (0, 2, 4))
    source = "on the 3rd of May".split()
    assert with_ordinals(found, source, "de", 2) == found
    assert with_ordinals(found, source, "de", 1).words == ("am", "3.", "Mai")
