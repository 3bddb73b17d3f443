"""``mmstream evaluate-translation`` over sentence pairs: its figures are sacrebleu's, its faults are one line."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest
import sacrebleu

from mmstream.evaluation.translation import running_text, scores, translated
from mmstream.translation import models
from mmstream.translation.engine import Translated
from mmstream.translation.pairs import read_pairs
from mmstream.translation.variants import bare
from mmstream.weights import SHIPPED
from tests.command_line import Finished, call, leftovers
from tests.media_samples import missing, require_data

PAIRS = [
    ("Tom is here.", "Tom ist hier."),
    ("Where do you live?", "Wo wohnst du?"),
    ("I don't know, Mary.", "Ich weiß es nicht, Maria."),
    ("We'll see the old house tomorrow.", "Morgen sehen wir das alte Haus."),
]
SAID = {
    "Tom is here.": "Tom ist hier.",
    "Where do you live?": "Wo leben Sie?",
    "I don't know, Mary.": "Ich weiß nicht, Maria.",
    "We'll see the old house tomorrow.": "Wir werden morgen das alte Haus sehen.",
    "tom is here": "Tom ist hier",
    "where do you live": "",
    "i dont know mary": "ich ich ich weiß es nicht",
    "well see the old house tomorrow": "Wir sehen morgen das alte Haus.",
}
LINE = ["model", "source", "target", "bleu", "chrf", "sentences", "empty", "repeated", "seconds", "bare"]
FLOORS = {"de": 30.0, "fr": 38.0, "es": 38.0}  # BLEU over the dev sets


class Phrasebook:
    """An engine that knows a few sentences. ``asked`` says how many came in each call."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def translate(self, requests, source):
        self.asked.append(len(requests))
        return [Translated(tuple(SAID[request.text].split()), 0.0) for request in requests]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Phrasebook:
    """The one translator that there is."""
    made = Phrasebook()
    monkeypatch.setattr(models, "chosen", lambda model, source, targets: dict.fromkeys(targets, ("book", Path())))
    monkeypatch.setattr(models, "load", lambda model, source, targets: dict.fromkeys(targets, made))
    return made


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    return write(tmp_path / "dev.tsv", PAIRS)


def write(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{one}\t{other}\n" for one, other in pairs), "utf-8")
    return path


def evaluate(path: object, *options: object) -> Finished:
    return call("evaluate-translation", path, "--source", "en", "--target", "de", *options)


def directly(spelt=str) -> tuple[float, float]:
    """BLEU and chrF of what the phrasebook says, by sacrebleu's own functions."""
    texts, references = [SAID[spelt(source)] for source, _ in PAIRS], [reference for _, reference in PAIRS]
    bleu, chrf = sacrebleu.corpus_bleu(texts, [references]), sacrebleu.corpus_chrf(texts, [references])
    return round(bleu.score, 2), round(chrf.score, 2)


def test_the_line_holds_what_sacrebleu_says(engine: Phrasebook, tsv: Path) -> None:
    done = evaluate(tsv, "--json")
    figures = done.last_json
    assert (done.code, done.err, len(done.out.splitlines())) == (0, "", 1)
    assert list(figures) == LINE
    bleu, chrf = directly()
    assert 0 < bleu < 100
    assert (figures["bleu"]["score"], figures["chrf"]["score"]) == (bleu, chrf)
    version = sacrebleu.__version__
    assert figures["bleu"]["signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert figures["chrf"]["signature"] == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{version}"
    assert [figures[name] for name in ("model", "source", "target", "sentences")] == ["book", "en", "de", 4]
    assert (figures["empty"], figures["repeated"]) == (0, 0)


def test_what_recognisers_write_is_measured_beside_it(engine: Phrasebook, tsv: Path) -> None:
    bleu, chrf = directly(bare)
    assert bleu < directly()[0]
    assert evaluate(tsv, "--json").last_json["bare"] == {"bleu": bleu, "chrf": chrf, "empty": 1, "repeated": 1}


def test_people_get_a_table_that_keeps_to_the_width_of_a_terminal(engine: Phrasebook, tsv: Path) -> None:
    *table, line = evaluate(tsv).out.splitlines()
    assert line.startswith("{")
    assert max(map(len, table)) <= 80
    names = [row.split()[0] for row in table]
    assert [name for name in names if "|" not in name] == LINE
    assert [row.strip() for row in table if "tok:13a" in row] == [evaluate(tsv).last_json["bleu"]["signature"]]


def test_a_phrase_that_the_source_repeats_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"no no no no": "nein nein nein nein", "no": "nein nein nein", "go on": "weiter so weiter so weiter so"}
    monkeypatch.setattr(sys.modules[__name__], "SAID", said)
    found = translated(Phrasebook(), [(source, "nein") for source in said], "en", "de")
    assert found.quality("de").repeated == 2


def test_sentences_are_asked_for_in_batches_and_come_back_in_order(engine: Phrasebook, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out.tsv"
    path = write(tmp_path / "long.tsv", [PAIRS[number % 4] for number in range(130)])
    assert evaluate(path, "--json", "--output", output).last_json["sentences"] == 130
    assert engine.asked == [64, 64, 2] * 2
    rows = [line.split("\t") for line in output.read_text("utf-8").splitlines()]
    assert len(rows) == 130
    assert all(row == [*PAIRS[number % 4], SAID[PAIRS[number % 4][0]]] for number, row in enumerate(rows))


def test_a_limit_takes_the_first(engine: Phrasebook, tsv: Path) -> None:
    assert evaluate(tsv, "--json", "--limit", 1).last_json["bleu"]["score"] == 100
    assert engine.asked == [1, 1]
    assert evaluate(tsv, "--limit", 0).code == 2


def test_files_may_be_gzipped_and_come_from_other_systems(tmp_path: Path) -> None:
    text = "".join(f"{one}\t{other}\r\n" for one, other in PAIRS).encode("utf-8-sig")
    (tmp_path / "dev.tsv").write_bytes(text)
    (tmp_path / "dev.tsv.gz").write_bytes(gzip.compress(text))
    assert read_pairs(tmp_path / "dev.tsv") == read_pairs(tmp_path / "dev.tsv.gz") == PAIRS


def test_the_same_words_are_one_text_in_languages_without_spaces() -> None:
    assert running_text(["你", "好"], "zh-Hant") == "你好"
    assert running_text(["guten", "Tag"], "de-AT") == "guten Tag"


def test_chinese_is_scored_by_characters() -> None:
    bleu, chrf = scores(["我喜欢你的猫"], ["我喜欢他的猫"], "zh")
    assert "tok:zh" in bleu.signature
    assert bleu.score == pytest.approx(sacrebleu.corpus_bleu(["我喜欢你的猫"], [["我喜欢他的猫"]], tokenize="zh").score)
    assert bleu.score > scores(["我喜欢你的猫"], ["我喜欢他的猫"], "de")[0].score  # one word, and it is wrong
    assert chrf.score > 0


BROKEN = gzip.compress("".join(f"sentence {number}\tSatz {number}\n" for number in range(500)).encode())
BAD_FILES = {
    "no tab": (b"a\tb\na b\n", "dev.tsv:2: must be a sentence, a tab, its translation"),
    "three columns": (b"a\tb\tc\n", "dev.tsv:1: must be a sentence, a tab, its translation"),
    "an empty line": (b"a\tb\n\nc\td\n", "dev.tsv:2: must be a sentence"),
    "no translation": (b"a\t \n", "dev.tsv:1: must be a sentence"),
    "empty": (b"", "dev.tsv: holds no sentence"),
    "Latin-1": (b"a\tb\nwhy\twof\xfcr\n", "dev.tsv:2: not UTF-8 text"),
    "no gzip": (b"a\tb\n", "dev.tsv.gz: cannot be read: Not a gzipped file"),
    "half of a gzip": (BROKEN[:100], "dev.tsv.gz: cannot be read: Compressed file ended"),
    "a damaged gzip": (BROKEN[:40] + bytes(200) + BROKEN[240:], "dev.tsv.gz: cannot be read: Error "),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_holds_no_pairs_is_one_line(engine: Phrasebook, tmp_path: Path, what: str) -> None:
    content, said = BAD_FILES[what]
    path = tmp_path / said.partition(":")[0]
    path.write_bytes(content)
    evaluate(path).the_line(f"mmstream: {tmp_path}/{said}")
    assert engine.asked == []


def test_files_that_cannot_be_had_are_one_line(engine: Phrasebook, tmp_path: Path) -> None:
    evaluate(tmp_path / "gone.tsv").the_line(f"mmstream: {tmp_path}/gone.tsv: cannot be read: No such file")
    evaluate(tmp_path).the_line(f"mmstream: {tmp_path}: cannot be read: Is a directory")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "wait_k=5"], "--policy needs --simultaneous"),
        (["--recogniser", "sphinx"], "--recogniser needs --simultaneous"),
        (["--set", "commit.n=3"], "--set needs --simultaneous"),
        (["--simultaneous", "--policy", "waitk"], "--policy waitk: policy is one of sentence, clause, wait_k, "),
        (["--simultaneous", "--policy", "wait_k=few"], "--policy wait_k=few: 'few' is no number: write "),
        (["--simultaneous", "--policy", "wait_k=0"], "--policy wait_k=0: wait_k takes k >= 1, not 0"),
        (["--simultaneous", "--policy", "clause=2"], "--policy clause=2: policy 'clause' takes no k"),
        (["--simultaneous", "--output", "out.tsv"], "--output is for sentences: drop it, or --simultaneous"),
        (["--simultaneous", "--recogniser", "sphynx"], "'sphynx'"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    engine: Phrasebook, tsv: Path, options: list[str], said: str
) -> None:
    assert evaluate(tsv, *options).the_line(said).startswith("mmstream: ")
    assert engine.asked == []


def test_an_output_that_cannot_be_written_is_said_before_the_work(engine: Phrasebook, tsv: Path) -> None:
    evaluate(tsv, "--output", tsv.parent).the_line(f"mmstream: {tsv.parent}: cannot be written: ")
    evaluate(tsv, "--output", tsv / "out.tsv").the_line(f"mmstream: {tsv}/out.tsv: cannot be written: ")
    assert engine.asked == []


def test_a_fault_under_way_leaves_no_output(engine: Phrasebook, tsv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SAID", {})
    with pytest.raises(KeyError):
        evaluate(tsv, "--output", tsv.with_name("out.tsv"))
    assert not tsv.with_name("out.tsv").exists()
    assert leftovers(tsv.parent) == []


def test_a_manifest_of_speech_is_not_taken_for_sentences(engine: Phrasebook, tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("{}\n")
    evaluate(tmp_path / "dev.jsonl").the_line(f"mmstream: {tmp_path}/dev.jsonl: a manifest of speech needs --simul")


def test_sacrebleu_that_is_missing_is_one_line(engine: Phrasebook, tsv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sacrebleu"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    evaluate(tsv).the_line("mmstream: BLEU needs the package sacrebleu: run python -m pip install sacrebleu")


@pytest.mark.parametrize(
    ("source", "target", "model", "said"),
    [
        ("en", "xx", "auto", "there is no language 'xx'"),
        ("english", "de", "auto", "'english' is no language code; write en"),
        ("en", "de", "mt-en-dee", "there is no translator 'mt-en-dee'; did you mean 'mt-en-de'?"),
        ("en", "de", "sphinx", "model 'sphinx' is for "),
        ("en", "de", "./nowhere", "nowhere"),
    ],
)
def test_languages_and_models_that_there_are_not(tsv: Path, source: str, target: str, model: str, said: str) -> None:
    done = call("evaluate-translation", tsv, "--source", source, "--target", target, "--model", model)
    assert done.the_line(said).startswith("mmstream: ")


def test_a_folder_that_is_no_model(tsv: Path, tmp_path: Path) -> None:
    evaluate(tsv, "--model", tmp_path).the_line(f"mmstream: {tmp_path}: not a translator")


@pytest.fixture
def weights() -> Path:
    folder = SHIPPED / "mt"
    if not (folder / "model.json").is_file():
        missing(str(folder))
    return folder


def test_a_pair_that_the_shipped_model_does_not_have(weights: Path, tsv: Path) -> None:
    done = call("evaluate-translation", tsv, "--source", "en", "--target", "ja", "--model", "mt-en-de")
    done.the_line("mmstream: model 'mt-en-de' does not translate English (en) into Japanese (ja)")


@pytest.mark.parametrize("target", FLOORS)
def test_the_shipped_model_over_real_sentences(weights: Path, target: str) -> None:
    """The first 150 of a thousand: enough to see that weights, pieces and code fit together."""
    path = require_data(f"mt/tatoeba_dev.en-{target}.tsv")
    options = ["--source", "en", "--target", target, "--model", f"mt-en-{target}", "--limit", 150, "--json"]
    figures = call("evaluate-translation", path, *options).last_json
    assert figures["bleu"]["score"] >= FLOORS[target]
    assert figures["bleu"]["score"] - figures["bare"]["bleu"] <= 4
    assert [figures["empty"], figures["repeated"], figures["bare"]["empty"], figures["bare"]["repeated"]] == [0] * 4
