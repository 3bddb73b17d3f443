"""What a server offers to translate into: by its options, by its pipeline file, and where it does not start."""

import pytest

from mmstream.server.translations import Offer, UnknownTarget, offer
from mmstream.translation import models
from mmstream.translation.engine import TranslationError
from tests.command_line import call
from tests.translations import shouted


def test_an_offer_is_checked_where_it_is_made(monkeypatch):
    with shouted(["de", "fr"]):
        monkeypatch.setattr(models, "targets_from", lambda source, model: ["de", "fr"])
        assert offer(None, "auto").targets == ("de", "fr")
        assert offer("none", "auto") == Offer()
        assert offer("FR,de,fr", "auto").targets == ("fr", "de")
        both = offer("de,en", "auto")
        assert both.out_of("en") == ("de",)
        assert both.out_of(None) == ("de", "en")  # of whatever is said
        assert both.out_of("nl") == ()
        both.check(["en", None])
        with pytest.raises(TranslationError, match="translates en into de, fr"):
            offer("pl", "auto").check(["en"])
        with pytest.raises(TranslationError):
            offer("de,!", "auto")
        assert both.asked(["de-AT", "DE"], "en") == ("de",)
        with pytest.raises(UnknownTarget, match="there are de"):
            both.asked(["en"], "en")


OWN = """
capacity: 64
nodes:
  source: {use: operators.sources:Microphone}
  decode: {use: operators.decoders:Sphinx, from: source}
  commit: {use: operators.policies:Commit, from: decode}
  german: {use: operators.translation:Translate, with: {targets: [pl], model: m2m100-418m, k: 3}, from: commit}
  screen: {use: operators.sinks:Terminal, with: {languages: [pl]}, from: [commit, german]}
"""


def test_a_pipeline_file_with_a_translator_says_what_is_offered(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(OWN)
    assert offer(None, "auto", file) == Offer(("pl",), "m2m100-418m")
    assert offer("de", "auto", file) == Offer(("de",), "m2m100-418m")
    assert offer("de", "opus-mt-en-de", file) == Offer(("de",), "opus-mt-en-de")
    assert offer("none", "auto", file) == Offer()


def test_a_translator_of_many_languages_is_told_which(monkeypatch):
    monkeypatch.setattr(models, "targets_from", lambda source, model: [])
    assert offer(None, "auto") == Offer()  # nothing that translates is on this machine
    with pytest.raises(TranslationError, match="m2m100-418m translates into many languages: say into which"):
        offer(None, "m2m100-418m")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--translate", "klingon"], "there is no language 'klingon'"),
        (["--translate", "german"], "write de"),
        (["--translate", ","], "names no language"),
        (["--translate", "yo"], "translates English (en) into Yoruba (yo)"),
        (["--translator", "nobody-at-all"], "there is no translator 'nobody-at-all'"),
        (["--translate", "de", "--translator", "./nowhere"], "nowhere"),
    ],
)
def test_a_server_that_cannot_translate_does_not_start(options, said):
    done = call("serve", "--model", "sphinx", "--port", "0", *options)
    assert done.code == 1
    assert said in done.err
    assert len(done.err.splitlines()) == 1, done.err
