"""Translators that CTranslate2 runs, of every kind: their languages, their pieces, prefixes, attention, faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.translation.ctranslate import CTranslate, Decoding, _Asked, _attended, _Hypothesis
from mmstream.translation.engine import Request, TranslationError
from mmstream.translation.families import Source, family_of, opened
from tests import tiny_translator
from tests.tiny_translator import STORIES

KINDS = {"mt": "embedded", "opus-mt-en-de": "Opus-MT", "m2m": "M2M-100", "nllb": "NLLB"}
MAKERS = {
    "mt": tiny_translator.embedded,
    "opus-mt-en-de": tiny_translator.marian,
    "m2m": tiny_translator.m2m100,
    "nllb": tiny_translator.nllb,
}
SAID = "the house is very old."


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("translators")
    return {name: make(place / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="module")
def wild(tmp_path_factory) -> dict[str, CTranslate]:
    """Translators that say anything."""
    place = tmp_path_factory.mktemp("wild")
    return {name: CTranslate(make(place / name, wild=at), name) for at, (name, make) in enumerate(MAKERS.items(), 1)}


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of a model, to be spoilt."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


def said(call, *arguments) -> str:
    with pytest.raises(TranslationError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_says_its_kind_and_is_loaded(folders, name):
    assert family_of(folders[name]) == KINDS[name]
    engine = CTranslate(folders[name], name)
    for request in (Request(SAID, "de"), Request("Tom", "de"), Request(SAID, "de-AT")):
        (found,) = engine.translate([request], "en")
        assert " ".join(found.words) == STORIES["de"]
        assert len(found.sources) == len(found.words)
        assert set(found.sources) <= set(range(len(request.text.split())))
        assert found.score <= 0


@pytest.mark.parametrize("name", ["m2m", "nllb"])
def test_the_target_decides_what_is_said(folders, name):
    engine = CTranslate(folders[name], name)
    requests = [Request(SAID, "fr"), Request(SAID, "de"), Request("Tom", "fr", ("la", "maison"))]
    assert [" ".join(one.words) for one in engine.translate(requests, "en")] == [
        STORIES["fr"], STORIES["de"], STORIES["fr"],
    ]  # fmt: skip


def test_sources_as_each_kind_wants_them(folders, tmp_path):
    def tokens(name, target="de", folder=None):
        return opened(folder or folders[name], name).source("the house", "en", target).tokens

    assert tokens("mt", "fr") == ("<2fr>", "▁the", "▁house", "</s>")
    assert tokens("opus-mt-en-de") == ("▁the", "▁house", "</s>")
    assert tokens("m2m") == ("__en__", "▁the", "▁house", "</s>")
    assert tokens("nllb") == ("eng_Latn", "▁the", "▁house", "</s>")
    many = tiny_translator.marian(tmp_path / "opus-mt-en-ROMANCE", targets=[">>fra<<", ">>pt_br<<", ">>pt<<"])
    assert opened(many, "mine").pairs() == [("en", "fr"), ("en", "pt")]
    assert tokens("mine", "fr", many) == (">>fra<<", "▁the", "▁house", "</s>")
    description = json.loads((many / "config.json").read_text()) | {"add_source_eos": True}
    (many / "config.json").write_text(json.dumps(description))
    assert tokens("mine", "pt", many)[-1] == "▁house"  # CTranslate2 adds the end itself


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("opus-mt-en-de", ("en", "de")),
        ("opus-mt-tc-big-en-pt", ("en", "pt")),
        ("ct2fast-opus-mt-es-en", ("es", "en")),
        ("opus-mt-de-en-ctranslate2", ("de", "en")),
        ("eng-deu", ("en", "de")),
    ],
)
def test_an_opus_model_is_named_after_its_languages(folders, name, pair):
    assert opened(folders["opus-mt-en-de"], name).pairs() == [pair]


def test_an_opus_model_says_its_languages_itself(copy, tmp_path):
    folder = copy("opus-mt-en-de").rename(tmp_path / "mine")
    assert said(opened, folder, "mine") == (f"{folder}: an Opus-MT model is named after its languages: opus-mt-en-de")
    (folder / "tokenizer_config.json").write_text('{"source_lang": "eng", "target_lang": "deu"}')
    assert opened(folder, "mine").pairs() == [("en", "de")]


def test_pairs_that_a_model_has_not(folders):
    def fault(name, source, target):
        engine = CTranslate(folders[name], name)
        return said(engine.translate, [Request("a", "de" if name != "m2m" else "fr"), Request("b", target)], source)

    assert fault("mt", "en", "es") == (
        "model 'mt' does not translate en into es; it knows en into de (German), fr (French)"
    )
    assert fault("opus-mt-en-de", "de", "en").startswith("model 'opus-mt-en-de' does not translate de into")
    assert fault("m2m", "en", "sw") == "model 'm2m' does not know Swahili (sw)"
    assert fault("nllb", "br", "de") == "model 'nllb' does not know Breton (br)"


# Prefixes.


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("count", range(6))
def test_what_was_promised_is_gone_on_from(folders, name, count):
    words = tuple(STORIES["de"].split())
    (found,) = CTranslate(folders[name], name).translate([Request(SAID, "de", words[:count])], "en")
    assert found.words == words
    assert len(found.sources) == len(words)


@given(data=st.data())
@settings(max_examples=60)
def test_no_promised_word_ever_changes(wild, data):
    engine = wild[data.draw(st.sampled_from(sorted(wild)))]
    word = st.text(st.characters(exclude_categories=("Cs", "Z", "C")), min_size=1, max_size=8)
    word |= st.sampled_from(["das", "Haus.", "｟1｠", "½", "▁", "</s>", "🙂", "don't"])
    words = st.lists(word.filter(lambda one: len(one.split()) == 1), max_size=6)
    request = Request(" ".join(data.draw(words)) or "a", "de", tuple(data.draw(words)))
    (found,) = engine.translate([request], "en")
    assert found.words[: len(request.prefix)] == request.prefix
    assert len(found.sources) == len(found.words)
    assert all(0 <= one < max(1, len(request.text.split())) for one in found.sources)
    assert all(len(one.split()) == 1 for one in found.words[len(request.prefix) :])


def test_pieces_that_would_make_a_promised_word_longer_are_left_out():
    asked = _Asked(Request("a b", "de", ("a",)), Source(("▁a", "▁b"), (0, 1)), ["<2de>"], [["▁a"]])
    for behind, follows in ((["▁c", "d"], 2), ([], 2), (["b", "c", "▁d"], 4), (["."], 3)):
        tokens = ["<2de>", "▁a", *behind]
        assert _Hypothesis(tokens, [[0.5, 0.5]] * len(tokens), 0.0).following(asked) == follows


def test_a_promised_word_that_the_model_would_make_longer_is_followed_by_another(folders, monkeypatch):
    engine = CTranslate(folders["mt"], "mt")
    asked = []

    def translate_batch(_sources, *, target_prefix, return_alternatives=False, **_):
        asked.append(return_alternatives)
        ends = [["es", "▁ist"], ["▁ist", "▁sehr"]] if return_alternatives else [["e", "▁ist", "▁alt."]]
        tokens = [target_prefix[0] + end for end in ends]
        return [SimpleNamespace(hypotheses=tokens, attention=[[[1.0]] * 9] * 2, scores=[-1.0, -2.0])]

    monkeypatch.setattr(engine, "_model", SimpleNamespace(translate_batch=translate_batch))
    (found,) = engine.translate([Request(SAID, "de", ("das", "Haus"))], "en")
    assert (found.words, asked) == (("das", "Haus", "ist", "sehr"), [False, True])


@given(data=st.data())
@settings(max_examples=25)
def test_one_answer_does_not_depend_on_what_else_is_asked(wild, data):
    engine = wild[data.draw(st.sampled_from(["m2m", "mt"]))]
    texts = st.lists(st.sampled_from(["the", "house", "old.", "Tom", "3", "dogs"]), min_size=1, max_size=12).map(
        " ".join
    )
    prefixes = st.sampled_from([(), (), ("das",), ("la", "maison")])
    requests = data.draw(st.lists(st.builds(Request, texts, st.sampled_from(["de", "fr"]), prefixes), max_size=6))
    together = engine.translate(requests, "en")
    assert [one.words for one in together] == [engine.translate([one], "en")[0].words for one in requests]


# Attention.


def test_a_word_attends_to_the_word_whose_pieces_it_looks_at_most():
    source = Source(("<2de>", "▁ol", "d", "▁house", "</s>"), (-1, 0, 0, 1, -1))
    assert _attended([[0.9, 0.02, 0.02, 0.05, 0.01]], source) == 1
    assert _attended([[0.1, 0.3, 0.3, 0.25, 0.05], [0.0, 0.0, 0.0, 0.5, 0.5]], source) == 1
    assert _attended([[0.1, 0.3, 0.3, 0.25, 0.05]], source) == 0
    assert _attended([], source) == 0


def test_a_beam_and_no_repetition(wild):
    engine = wild["m2m"]
    request = Request("Tom has two dogs", "de")
    (free,) = engine.translate([request], "en", Decoding(beam=1))
    (kept,) = engine.translate([request], "en", Decoding(beam=4, no_repeat=2, penalty=1.5))
    assert free.words != kept.words


def test_a_text_longer_than_the_model_takes_is_translated_as_far_as_it_goes(wild):
    (found,) = wild["mt"].translate([Request("house " * 2000, "de")], "en")
    assert len(found.words) < 600


# Folders that are no model.


def test_what_is_no_model(tmp_path, folders):
    assert said(opened, tmp_path / "none", "x") == (
        f"{tmp_path}/none: does not exist; a translator is a folder with a CTranslate2 model"
    )
    assert said(opened, folders["mt"] / "model.bin", "x").startswith(f"{folders['mt']}/model.bin: is a file")
    assert said(opened, tmp_path, "x").startswith(f"{tmp_path}: not a translator in CTranslate2's format: embedded has")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("mt", "model.bin", "not a whole embedded model: model.bin missing"),
        ("mt", "words.txt.gz", "words.txt.gz: cannot be read: No such file or directory"),
        ("opus-mt-en-de", "target.spm", "not a whole Opus-MT model: target.spm missing"),
        ("m2m", "model.bin", "not a whole M2M-100 model: model.bin missing"),
        ("nllb", "shared_vocabulary.json", "not a CTranslate2 model: shared_vocabulary.json missing"),
    ],
)
def test_a_file_that_is_missing(copy, name, file, message):
    folder = copy(name)
    (folder / file).unlink()
    assert message in said(opened, folder, name)


@pytest.mark.parametrize("file", ["model.bin", "pieces.model", "words.txt.gz", "config.json"])
def test_our_own_files_are_hashed(copy, file):
    folder = copy("mt")
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    assert f"{file} has the wrong checksum (sha256" in said(opened, folder, "mt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read: Expecting property name"),
        ("[]", "holds no object"),
        ('{"kind": "translation"}', "names no files; write it again with mmstream export"),
        ('{"kind": "translation", "files": {}}', "does not say what it translates"),
        ('{"kind": "recogniser"}', "not a translator in CTranslate2's format"),
    ],
)
def test_a_description_that_is_damaged(copy, content, message):
    folder = copy("mt")
    (folder / "model.json").write_text(content)
    assert message in said(opened, folder, "mt")


@pytest.mark.parametrize(("name", "file"), [("opus-mt-en-de", "source.spm"), ("nllb", "sentencepiece.bpe.model")])
def test_pieces_that_are_damaged(copy, name, file):
    folder = copy(name)
    (folder / file).write_bytes(b"no model" * 100)
    assert f"{file}: is no SentencePiece model" in said(opened, folder, name)


def test_weights_that_are_damaged(copy):
    folder = copy("m2m")
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:1000])
    assert said(CTranslate, folder, "m2m").startswith(f"{folder}: CTranslate2 cannot load it: ")
