"""The translator from pairs to weights: what it is fed, that it learns and goes on to the step, what is shipped."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from mmstream.core import MmstreamError
from mmstream.nets.translation import BEGIN, END, PADDING, TranslationConfig, TranslationNet, padding_mask
from mmstream.training import checkpoint
from mmstream.training.export import last_metrics
from mmstream.training.translation import pieces
from mmstream.training.translation.batches import LANGUAGES, NONE, collate, draw, padded, served
from mmstream.training.translation.config import Config, Mix, Pairs, PairSet, Running, Schedule
from mmstream.training.translation.corpus import SOURCES, Corpus, check_apart, open_corpus
from mmstream.training.translation.decode import greedy
from mmstream.training.translation.export import average, export
from mmstream.training.translation.loop import train
from mmstream.training.translation.loss import smoothed_cross_entropy, worth_scoring
from mmstream.training.translation.optimiser import groups, orthogonal
from mmstream.training.translation.trainer import BEFORE_FALL, Trainer, rate
from mmstream.translation.pairs import read_pairs
from mmstream.translation.variants import bare, protected, spoken
from tests.command_line import Running as Command
from tests.command_line import call

CONSOLE = Console(quiet=True)
GERMAN = [
    ("Tom sleeps.", "Tom schläft."), ("Mary sings.", "Maria singt."), ("I don't know.", "Ich weiß nicht."),
    ("It is late.", "Es ist spät."), ("We are here.", "Wir sind hier."), ("He has 2 dogs.", "Er hat 2 Hunde."),
]  # fmt: skip
FRENCH = [
    ("Tom sleeps.", "Tom dort."), ("Mary sings.", "Marie chante."), ("I don't know.", "Je ne sais pas."),
    ("It is late.", "Il est tard."), ("We are here.", "Nous sommes ici."), ("He has 2 dogs.", "Il a 2 chiens."),
]  # fmt: skip
NET = TranslationConfig(72, dim=32, heads=2, feed_forward=64, encoder_layers=2, decoder_layers=1, dropout=0.1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for language, sentences in (("de", GERMAN), ("fr", FRENCH)):
        (folder / f"{language}.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in sentences), "utf-8")
    (folder / "dev.tsv").write_text("The dog sings.\tDer Hund singt.\nMary is here.\tMaria ist hier.\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    return open_corpus({"de": GERMAN, "fr": FRENCH}, NET.vocabulary, tmp_path_factory.mktemp("corpus"))


def config(folder: Path, steps: int = 8, **optimiser: float) -> Config:
    values = {"lr": 0.02, "adam_lr": 0.01, "warmup": 2, "cooldown": 3, **optimiser}
    return Config(
        "translation",
        Pairs(tuple(PairSet(folder / f"{one}.tsv", one) for one in ("de", "fr")), (PairSet(folder / "dev.tsv", "de"),)),
        NET,
        Mix(tokens=40, batches=2),
        Schedule(steps=steps, **values),
        Running(device="cpu", precision="float32", threads=2, checkpoint_every=3, evaluate_every=4),
    )


def go(wanted: Config, run: Path, stop_after: int | None = None) -> int:
    """Train; stop at the ``stop_after``-th time that the loop asks."""
    asked = iter(range(100_000))
    return train(wanted, run, console=CONSOLE, stopping=lambda: stop_after is not None and next(asked) >= stop_after)


def same_weights(one: TranslationNet, other: TranslationNet) -> bool:
    both = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in both)


@pytest.mark.parametrize(
    ("text", "as_spoken", "as_bare"),
    [
        ("Don't go!", "don't go", "dont go"),
        ("Tom\N{RIGHT SINGLE QUOTATION MARK}s dog (2), well-known.", "tom's dog 2 wellknown", "toms dog 2 wellknown"),
        ("'Tis — no!", "tis no", "tis no"),
        ("｟1｠, are you there?", "｟1｠ are you there", "｟1｠ are you there"),
        ("...", "", ""),
    ],
)
def test_sources_as_recognisers_write_them(text, as_spoken, as_bare):
    assert spoken(text) == as_spoken
    assert bare(text) == as_bare


def test_names_and_numbers_that_stay_become_place_holders():
    assert protected("Tom has 20 dogs.", "Tom hat 20 Hunde.") == ("｟1｠ has ｟2｠ dogs.", "｟1｠ hat ｟2｠ Hunde.")
    assert protected("Call Tom!", "Ruf Tom!") == ("Call ｟1｠!", "Ruf ｟1｠!")
    assert protected("Tom met Tom.", "Tom traf Tom.") is None
    assert protected("We are here.", "Wir sind hier.") is None


def test_the_vocabulary_begins_with_special_tokens_and_languages(corpus, tmp_path):
    processor = pieces.opened(corpus.model)
    vocabulary = [processor.id_to_piece(number) for number in range(len(processor))]
    assert vocabulary[:6] == ["<pad>", "<unk>", "<s>", "</s>", "<2de>", "<2fr>"]
    assert processor.piece_to_id("<2de>") == LANGUAGES
    assert pieces.languages_of(vocabulary) == ["de", "fr"]
    assert "｟1｠" in processor.encode("Call ｟1｠!", out_type=str)
    with pytest.raises(MmstreamError, match="no vocabulary of 5000 pieces"):
        open_corpus({"de": GERMAN}, 5000, tmp_path)


def test_a_corpus_is_made_once_until_its_text_changes(corpus, tmp_path):
    made = open_corpus({"de": GERMAN}, 54, tmp_path)
    written = (tmp_path / "tokens.npz").stat().st_mtime_ns
    again = open_corpus({"de": GERMAN}, 54, tmp_path)
    assert (tmp_path / "tokens.npz").stat().st_mtime_ns == written
    assert all(np.array_equal(made.sources[name].tokens, again.sources[name].tokens) for name in SOURCES)
    open_corpus({"de": GERMAN[:5]}, 48, tmp_path)
    assert (tmp_path / "tokens.npz").stat().st_mtime_ns > written


def test_a_dev_sentence_in_training_is_refused():
    check_apart({"de": GERMAN}, {"de": [("Go!", "Geh!")]})
    with pytest.raises(MmstreamError, match=r"'tom sleeps' is in training"):
        check_apart({"de": GERMAN}, {"fr": [("tom sleeps", "Il dort.")]})
    with pytest.raises(MmstreamError, match=r"'Ich weiß nicht!' is in training"):
        check_apart({"de": GERMAN}, {"de": [("No idea.", "Ich weiß nicht!")]})


@pytest.mark.parametrize("text", ["one column\n", "a\t\n", "a\tb\tc\n", ""])
def test_files_that_hold_no_pairs(tmp_path, text):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(MmstreamError, match=r"x\.tsv"):
        read_pairs(tmp_path / "x.tsv")
    (tmp_path / "x.tsv.gz").write_text(text)
    with pytest.raises(MmstreamError, match=r"x\.tsv\.gz"):
        read_pairs(tmp_path / "x.tsv.gz")


def test_an_epoch_serves_every_pair_once_and_is_drawn_again_alike(corpus):
    one, same, other = (draw(corpus, Mix(tokens=40), 0, epoch) for epoch in (3, 3, 4))
    assert sorted(pair for batch in one.batches for pair in batch.pairs) == list(range(len(corpus)))
    assert all(np.array_equal(a.pairs, b.pairs) for a, b in zip(one.batches, same.batches, strict=True))
    assert not np.array_equal(one.variant, other.variant)
    for batch in one.batches:
        collated = collate(corpus, one, batch)
        assert collated.source.shape == (batch.rows, batch.source)
        assert collated.target.shape == collated.wanted.shape == (batch.rows, batch.target)
        assert batch.rows * max(batch.source, batch.target) <= 40 or batch.rows == 1


def test_a_batch_holds_source_and_target_of_its_pairs(corpus):
    processor = pieces.opened(corpus.model)
    drawn = draw(corpus, Mix(spoken_chance=0, bare_chance=0, protected_chance=0, join_chance=1), 0, 0)
    assert (drawn.second != NONE).any()
    texts = {"de": dict(GERMAN), "fr": dict(FRENCH)}
    for shaped in drawn.batches:
        batch = collate(corpus, drawn, shaped)
        for row, pair in enumerate(shaped.pairs.tolist()):
            language = corpus.languages[corpus.language[pair]]
            source, target, wanted = ([token for token in one[row].tolist() if token != PADDING] for one in batch)
            assert (source[0], source[-1]) == (processor.piece_to_id(f"<2{language}>"), END)
            assert (target[0], wanted[-1], target[1:]) == (BEGIN, END, wanted[:-1])
            said = processor.decode(source[1:-1]).replace(". ", ".\n").split("\n")
            assert len(said) == (1 if drawn.second[pair] == NONE else 2)
            assert processor.decode(wanted[:-1]) == " ".join(texts[language][one] for one in said)


def test_what_is_served_from_a_place_is_what_comes_after_it(corpus):
    mix = Mix(tokens=40, batches=2)
    whole = served(corpus, mix, 0, 0, 0)
    for _ in range(7):
        _, epoch, at = next(whole)
    rest = served(corpus, mix, 0, epoch, at)
    for _ in range(5):
        (one, *place), (other, *there) = next(whole), next(rest)
        assert place == there
        assert all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def test_the_loss_is_cross_entropy_with_smoothed_labels():
    torch.manual_seed(0)
    steps, table = torch.randn(700, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    wanted = torch.randint(0, 30, (700,))
    scored = worth_scoring(wanted)
    assert len(scored) % 64 == 0
    assert worth_scoring(torch.tensor([5, 6])).tolist() == [0, 1]
    ours = smoothed_cross_entropy(steps[scored], table, wanted[scored], 0.1, 1 / int((wanted != PADDING).sum()))
    theirs = torch.nn.functional.cross_entropy(steps @ table.T, wanted, ignore_index=PADDING, label_smoothing=0.1)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    for one, other in zip(*(torch.autograd.grad(loss, (steps, table)) for loss in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_muon_gives_every_direction_the_same_weight():
    torch.manual_seed(0)
    for shape in ((2, 16, 16), (1, 32, 8), (1, 8, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert 0.5 < float(values.min()) <= float(values.max()) < 1.4, shape
    matrices, rest = groups(TranslationNet(NET))
    assert {group["parts"] for group in matrices} == {1, 2, 3}
    assert sum(len(group["params"]) for group in matrices) + len(rest) == len(list(TranslationNet(NET).parameters()))
    assert all(weight.ndim == 1 or len(weight) == NET.vocabulary for weight in rest)


def test_padding_and_company_change_nothing():
    torch.manual_seed(0)
    net = TranslationNet(NET).eval()
    sources = [[4, 9, 10, END], [5, 20, 21, 22, 23, 24, END]]
    target = torch.tensor([[BEGIN, 30, 31]] * 2)
    tokens = padded(sources)
    together = net.decode(target, net.encode(tokens, padding_mask(tokens)), padding_mask(tokens))
    for row, source in enumerate(sources):
        alone = net.decode(target[:1], net.encode(torch.tensor([source]), None), None)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    shorter = net.decode(target[:, :2], net.encode(tokens, padding_mask(tokens)), padding_mask(tokens))
    torch.testing.assert_close(together[:, :2], shorter, atol=1e-5, rtol=1e-4)


def test_the_rate_warms_up_stays_and_falls():
    wanted = Schedule(steps=100, warmup=10, cooldown=20)
    rates = [rate(step, wanted) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:81]) == {1.0}
    assert all(before > after for before, after in pairwise(rates[80:]))
    assert rates[100] == 0


def test_a_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(pairs, corpus, tmp_path):
    (tmp_path / "parted").mkdir()
    whole, first = (Trainer(config(pairs), corpus, tmp_path / name) for name in ("whole", "parted"))
    for _ in range(6):
        whole.advance()
    for _ in range(2):
        first.advance()
    first.save()
    second = Trainer(config(pairs), corpus, tmp_path / "parted")
    assert second.step == 2
    for _ in range(4):
        second.advance()
    assert same_weights(whole.net, second.net)
    assert same_weights(whole.average, second.average)
    assert whole.loss_since() == second.loss_since()


def test_a_stopped_run_ends_with_the_same_metrics(pairs, tmp_path):
    assert go(config(pairs), tmp_path / "whole") == 8
    assert go(config(pairs), tmp_path / "parted", stop_after=5) < 8
    assert go(config(pairs), tmp_path / "parted") == 8
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parted")]
    assert metrics[0] == metrics[1]
    assert [json.loads(line)["step"] for line in metrics[0].splitlines()] == [4, 8]
    assert last_metrics(tmp_path / "whole" / "metrics.jsonl")["sets"]["de"]["sentences"] == 2


def test_a_run_that_is_prolonged_goes_on_from_before_its_fall(pairs, corpus, tmp_path):
    go(config(pairs, 8), tmp_path)
    assert checkpoint.load(tmp_path / BEFORE_FALL).step == 5
    assert Trainer(config(pairs, 8), corpus, tmp_path).step == 8
    longer = config(pairs, 12)
    assert go(longer, tmp_path, stop_after=3) == 8  # three steps on from 5
    assert go(longer, tmp_path) == 12
    go(config(pairs, 12), tmp_path / "at once")
    one, other = (checkpoint.load(folder / checkpoint.NAME) for folder in (tmp_path, tmp_path / "at once"))
    assert all(torch.equal(value, other.net[name]) for name, value in one.net.items())


def test_a_checkpoint_of_another_net_is_refused(pairs, corpus, tmp_path):
    Trainer(config(pairs), corpus, tmp_path).save()
    wider = replace(config(pairs), net=replace(NET, dim=64))
    with pytest.raises(MmstreamError, match="dim is 32 there, 64 in the config"):
        Trainer(wider, corpus, tmp_path)


@pytest.fixture(scope="module")
def learnt(pairs, tmp_path_factory) -> Path:
    """A run that knows a dozen pairs by heart."""
    run = tmp_path_factory.mktemp("learnt")
    wanted = config(pairs, 400, warmup=10, cooldown=150, ema=0.95)
    running = replace(wanted.run, evaluate_every=1000, checkpoint_every=1000)
    wanted = replace(wanted, net=replace(NET, dropout=0.0), run=running)
    assert go(wanted, run) == 400
    return run


def test_it_learns_a_dozen_pairs_in_every_spelling(learnt):
    net = average(checkpoint.load(learnt / checkpoint.NAME))
    processor = pieces.opened((learnt / "pieces.model").read_bytes())
    for language, sentences in (("de", GERMAN), ("fr", FRENCH)):
        first = processor.piece_to_id(f"<2{language}>")
        for spelt in (str, spoken, bare):
            rows = greedy(net, [[first, *processor.encode(spelt(source)), END] for source, _ in sentences])
            assert [processor.decode(row) for row in rows] == [target for _, target in sentences]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_what_is_exported_translates_as_the_net_does(learnt, tmp_path, precision):
    ctranslate2 = pytest.importorskip("ctranslate2")
    made = export(learnt, tmp_path / "out", precision=precision)
    assert made.agreement > (0.5 if precision == "int8" else 0.95)
    processor = pieces.opened((tmp_path / "out" / "pieces.model").read_bytes())
    translator = ctranslate2.Translator(str(tmp_path / "out"), device="cpu")
    for language, sentences in (("de", GERMAN), ("fr", FRENCH)):
        sources = [[f"<2{language}>", *processor.encode(source, out_type=str), "</s>"] for source, _ in sentences]
        found = [processor.decode(one.hypotheses[0]) for one in translator.translate_batch(sources, beam_size=1)]
        assert found == [target for _, target in sentences]


def test_the_description_and_the_card_say_what_it_is(learnt, tmp_path):
    pytest.importorskip("ctranslate2")
    done = call("export", learnt, "--output", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    figures = json.loads(done.out)
    assert figures["precision"] == "int8"
    assert figures["bytes"] < 400_000
    said = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (said["kind"], said["source"], said["targets"]) == ("translation", "en", ["de", "fr"])
    assert set(said["files"]) == {"model.bin", "config.json", "shared_vocabulary.json", "pieces.model", "words.txt.gz"}
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert "| de.tsv | pairs into de | not stated | - |" in card
    assert "`<2de>`, `<2fr>`" in card
    assert not list((tmp_path / "out").glob(".partial*"))


YAML = """
kind: translation
net: {vocabulary: 72, dim: 32, heads: 2, feed_forward: 64, encoder_layers: 1, decoder_layers: 1}
data:
  train: [{file: de.tsv, language: de}, {file: fr.tsv, language: fr}]
mix: {tokens: 40, batches: 2}
optimiser: {steps: STEPS, warmup: 3, cooldown: 5}
run: {threads: 1, device: cpu, precision: float32, checkpoint_every: 5, evaluate_every: 10}
"""


def written(pairs: Path, steps: int, **changes: str) -> Path:
    text = YAML.replace("STEPS", str(steps))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = pairs / "mt.yaml"
    path.write_text(text)
    return path


def test_the_command_trains_and_goes_on(pairs, tmp_path):
    long = written(pairs, 1_000_000)
    with Command("train", long, "--run", tmp_path / "run") as running:
        running.wait_for_file(tmp_path / "run" / "last.pt")
        running.send(signal.SIGINT)
        done = running.end()
    assert done.code == 130, done.err
    assert f"Go on with: mmstream train {long} --run {tmp_path}/run" in done.err
    step = checkpoint.load(tmp_path / "run" / "last.pt").step
    done = call("train", written(pairs, step + 6), "--run", tmp_path / "run")
    assert done.code == 0, done.err
    assert f"going on after step {step}" in done.err
    assert checkpoint.load(tmp_path / "run" / "last.pt").step == step + 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"language: fr": "language: French"}, "language must be a BCP 47 code such as de or pt-BR, is 'French'"),
        ({"file: fr.tsv": "file: gone.tsv"}, "there is no file"),
        ({"heads: 2": "heads: 5"}, "dim must be a multiple of twice the heads (10), is 32"),
        ({"cooldown: 5": "cooldown: 50"}, "cooldown must be 0 to steps (20), is 50"),
        ({"warmup": "warm_up"}, "did you mean 'warmup'?"),
        ({"vocabulary: 72": "vocabulary: 4000"}, "no vocabulary of 4000 pieces can be made of this text"),
    ],
)
def test_a_config_that_cannot_be_trained_with(pairs, tmp_path, changes, said):
    done = call("train", written(pairs, 20, **changes), "--run", tmp_path / "run")
    assert done.code == 1
    assert said in done.err
    assert "Traceback" not in done.err


def test_the_config_that_ships_can_be_read(tmp_path):
    from mmstream.training.translation.config_file import is_translation, read_config

    configs = Path(__file__).resolve().parents[1] / "configs"
    (tmp_path / "mt").mkdir()
    for language in ("de", "fr", "es"):
        for name in (f"tatoeba_train.en-{language}.tsv.gz", f"tatoeba_dev.en-{language}.tsv"):
            (tmp_path / "mt" / name).touch()
    assert is_translation(configs / "mt.yaml")
    assert not is_translation(configs / "avsr-tiny.yaml")
    wanted = read_config(configs / "mt.yaml", {"MMSTREAM_DATA": str(tmp_path)})
    assert [one.language for one in wanted.data.train] == ["de", "fr", "es"]
