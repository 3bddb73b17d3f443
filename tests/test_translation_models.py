"""Translators by name: which one serves a pair, what is here, pulling, and what is no translator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmstream import registry
from mmstream.core import MmstreamError
from mmstream.registry import ModelError, find, pull, resolve, statuses, verify
from mmstream.translation.copying import Copying
from mmstream.translation.engine import Request, TranslationError
from mmstream.translation.faithful import Faithful
from mmstream.translation.models import available, check, chosen, found_as, load, targets_from
from tests import tiny_translator
from tests.model_folders import home
from tests.tiny_translator import STORIES

__all__ = ["home"]

NLLB = "nllb-200-distilled-600m"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Folders with a small translator of each kind."""
    place = tmp_path_factory.mktemp("made")
    tiny_translator.embedded(place / "mine")
    tiny_translator.marian(place / "opus-mt-es-en")
    tiny_translator.marian(place / "opus-mt-en-ROMANCE", targets=[">>fra<<", ">>pt<<"])
    tiny_translator.m2m100(place / "m2m")
    tiny_translator.nllb(place / "nllb")
    return place


@pytest.fixture
def bundled(home, made, monkeypatch):
    """The translator that comes in the package is a small one: English into German and French."""
    monkeypatch.setattr(registry, "_installed_folder", lambda entry: made / "mine" if entry.place == "mt" else None)
    return made / "mine"


def said(call, *arguments, fault: type[MmstreamError] = TranslationError) -> str:
    with pytest.raises(fault) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Which model serves a pair.


def test_auto_takes_the_one_in_the_package_and_copies_the_source(bundled):
    engines = load("auto", "en", ["de", "fr", "en-GB"])
    assert engines["de"] is engines["fr"]
    assert isinstance(engines["de"], Faithful)
    assert isinstance(engines["en-GB"], Copying)
    (found,) = engines["de"].translate([Request("the house", "de")], "en")
    assert " ".join(found.words) == STORIES["de"]
    assert chosen("auto", "en", ["fr", "de", "en"]) == {"fr": ("mt-en-fr", bundled), "de": ("mt-en-de", bundled)}


def test_auto_takes_another_for_what_the_package_has_not(bundled, made):
    pull("opus-mt-es-en", made / "opus-mt-es-en")
    assert [name for name, _ in chosen("auto", "es", ["en"]).values()] == ["opus-mt-es-en"]
    pull("m2m100-418m", made / "m2m")
    assert [name for name, _ in chosen("auto", "en", ["de", "zh"]).values()] == ["mt-en-de", "m2m100-418m"]
    assert len(set(map(id, load("auto", "en", ["de", "zh", "pt"]).values()))) == 2


def test_a_model_whose_licence_forbids_commerce_is_taken_by_name_only(bundled, made):
    pull(NLLB, made / "nllb")
    pull("mine-too", made / "nllb")
    assert not {NLLB, "mine-too"} & {one.name for one in available()}
    assert "translates English (en) into Chinese (zh)" in said(check, "auto", "en", ["zh"])
    for name in (NLLB, "mine-too"):
        assert chosen(name, "en", ["zh"])["zh"][0] == name


def test_one_that_is_damaged_is_passed_over_by_auto_and_said_by_name(bundled, made):
    path = pull("opus-mt-en-es", made / "opus-mt-es-en").path
    (path / "source.spm").write_bytes(b"0" * (path / "source.spm").stat().st_size)
    assert "opus-mt-en-es" not in {one.name for one in available()}
    assert "source.spm" in said(found_as, "opus-mt-en-es", fault=ModelError)


def test_a_language_that_nobody_translates_into(bundled, home):
    assert said(check, "auto", "en", ["de", "ja"]) == (
        "no model on this machine translates English (en) into Japanese (ja); it can be translated into de (German), "
        "fr (French); others come with mmstream models pull"
    )
    assert said(check, "auto", "pl", ["de"]) == (
        "no model on this machine translates Polish (pl) into German (de); there is en into de, fr; others come with "
        "mmstream models pull"
    )
    assert "did you mean 'de'" in said(check, "auto", "en", ["deu"])
    assert "'german' is no language code" in said(check, "auto", "german", ["de"])


@pytest.mark.parametrize(
    ("model", "source", "target", "message"),
    [
        (
            "mt-en-de",
            "en",
            "fr",
            "does not translate English (en) into French (fr); it translates en into de",
        ),
        ("mt-en-de", "de", "en", "'mt-en-de' does not translate German (de) into English (en)"),
        ("{made}/m2m", "en", "ja", "model 'm2m' does not know Japanese (ja)"),
        ("{made}/m2m", "ja", "en", "model 'm2m' does not know Japanese (ja)"),
        ("mt-en-dee", "en", "de", "there is no translator 'mt-en-dee'; did you mean 'mt-en-de'"),
        ("nothing", "en", "de", "or write a folder as a path: ./nothing"),
        ("sphinx", "en", "de", "model 'sphinx' is for recognition, not for translation"),
    ],
)
def test_a_model_that_cannot(bundled, made, model, source, target, message):
    assert message in said(check, model.format(made=made), source, [target])


def test_languages_that_there_are(bundled, made):
    assert (targets_from("en"), targets_from("de"), targets_from("en", "mt-en-fr")) == (["de", "fr"], [], ["fr"])
    assert targets_from("en", str(made / "opus-mt-en-ROMANCE")) == ["fr", "pt"]
    assert targets_from("en", str(made / "m2m")) == []  # any of a hundred: not listed


def test_a_folder_by_its_path(home, made, monkeypatch):
    monkeypatch.chdir(made)
    (engine,) = load("./m2m", "en", ["fr"]).values()
    assert " ".join(engine.translate([Request("Tom", "fr")], "en")[0].words) == STORIES["fr"]
    assert found_as("./mine").name == "mine"
    assert found_as("m2m").name == "m2m"


def test_what_is_copied_keeps_promises_and_numbers():
    requests = [Request("a \x00 b c", "en"), Request("a b", "en", ("x", "y", "z")), Request("", "en", ("x",))]
    copied = Copying().translate(requests, "en")
    assert [one.words for one in copied] == [("a", "b", "c"), ("x", "y", "z"), ("x",)]
    assert [one.sources for one in copied] == [(0, 2, 3), (0, 1, 0), (0,)]


# The store.


@pytest.mark.parametrize("name", ["mine", "opus-mt-es-en", "m2m", "nllb"])
def test_a_translator_is_pulled_listed_verified_and_found_to_be_damaged(home, made, name):
    (made / name / "notes.txt").write_text("not of the model")
    path = pull(name, made / name).path
    assert not (path / "notes.txt").exists()
    assert found_as(name).family.knows("en") or found_as(name).pairs()
    (listed,) = [one for one in statuses() if one.name == name]
    assert (listed.task, listed.where) == ("translation", "pulled")
    verify(name)
    content = bytearray((path / "model.bin").read_bytes())
    content[-1] ^= 1
    (path / "model.bin").write_bytes(content)
    assert "model.bin" in said(verify, name, fault=ModelError)


def test_no_translator_recognises(home, made):
    pull("m2m100-418m", made / "m2m")
    pull("mine-too", made / "m2m")
    for name in ("m2m100-418m", "mine-too"):
        assert said(resolve, name, fault=ModelError) == f"model {name!r} is for translation, not for recognition"
    folder = made / "m2m"
    assert (
        said(resolve, str(folder), fault=ModelError) == f"{folder} holds a model for translation, not for recognition"
    )


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("opus-mt-es-en", "target.spm", "not a whole Opus-MT model: target.spm missing"),
        ("mine", "model.bin", "not a whole embedded model: model.bin missing"),
        ("m2m", "shared_vocabulary.json", "shared_vocabulary.json missing"),
    ],
)
def test_a_pull_of_half_a_model_leaves_nothing(home, made, tmp_path, name, file, message):
    folder = Path(shutil.copytree(made / name, tmp_path / "half"))
    (folder / file).unlink()
    assert message in said(pull, name, folder, fault=ModelError)
    assert find(name) is None or name not in registry.pulled_names()
    assert not list((home / "models").glob(f"*{name}*"))


def test_a_pull_under_a_name_that_says_nothing_of_an_opus_model(home, made):
    assert "is named after its languages" in said(pull, "mine-too", made / "opus-mt-es-en", fault=ModelError)


def test_weights_that_changed_since_they_were_exported_are_not_pulled(home, made, tmp_path):
    folder = Path(shutil.copytree(made / "mine", tmp_path / "changed"))
    description = json.loads((folder / "model.json").read_text())
    description["files"]["model.bin"] = "0" * 64
    (folder / "model.json").write_text(json.dumps(description))
    assert "model.bin has the wrong checksum" in said(pull, "mine", folder, fault=ModelError)
