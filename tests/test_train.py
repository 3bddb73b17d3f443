"""The training loop in this process: steps, resuming, parts of a batch, and what stops it."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console

from mmstream.core import MmstreamError
from mmstream.training import checkpoint
from mmstream.training.batches import MixConfig
from mmstream.training.config import Config, Data, DevSet, Optimiser, Running, TrainingSet
from mmstream.training.corpora import Corpora
from mmstream.training.export import last_metrics
from mmstream.training.loop import train
from mmstream.training.loss import LossConfig, counts, losses
from mmstream.training.measure import measured
from mmstream.training.reports import Reports, word_errors
from mmstream.training.trainer import Diverged, Trainer, learning_rate
from tests.corpora import made_corpus
from tests.tiny_avsr import CONFIG as NET
from tests.tiny_avsr import tiny_net

HERE = Path("made.jsonl")
CONSOLE = Console(quiet=True)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> Corpora:
    folder = tmp_path_factory.mktemp("corpora")
    seen, heard = (made_corpus(folder / name, 6, video=name == "av") for name in ("av", "audio"))
    return Corpora({"av": seen, "audio": heard}, {"dev": seen})


def config(**running: object) -> Config:
    mix = MixConfig(seconds=6, join=2)
    sets = (TrainingSet(HERE, "audio-visual", "av", mix=mix), TrainingSet(HERE, "audio", "audio", mix=mix))
    values = {"loaders": 0, "precision": "float32", "device": "cpu", "checkpoint_every": 3, "evaluate_every": 4}
    return Config(
        data=Data(sets, dev=(DevSet(HERE, "audio-visual", "dev", modalities=("av",)),)),
        net=replace(NET, dropout=0.1),
        optimiser=Optimiser(lr=1e-3, steps=8, warmup=2),
        run=Running(**{**values, **running}),
    )


def go(wanted: Config, corpora: Corpora, run: Path, stop_after: int | None = None) -> int:
    """Train; stop at the ``stop_after``-th time that the loop asks."""
    asked = iter(range(10_000))
    return train(wanted, corpora, run, console=CONSOLE,
                 stopping=lambda: stop_after is not None and next(asked) >= stop_after)  # fmt: skip


def advance(trainer: Trainer, steps: int) -> None:
    for _ in range(steps):
        trainer.advance({name: feeder.batch(trainer.step) for name, feeder in trainer.feeders.items()})


def test_the_rate_warms_up_and_cools_down():
    wanted = Optimiser(lr=2.0, steps=100, warmup=10, floor=0.1)
    rates = [learning_rate(step, wanted) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(2.0, rel=0.05)
    assert rates.index(max(rates)) == 9
    assert rates[100] == pytest.approx(0.2)
    assert all(before > after for before, after in pairwise(rates[9:]))


def test_a_run_goes_on_from_its_checkpoint_as_if_nothing_had_happened(corpora, tmp_path):
    whole, first = (Trainer(config(), corpora, tmp_path / name) for name in ("whole", "parted"))
    (tmp_path / "parted").mkdir()
    advance(whole, 5)
    advance(first, 2)
    first.save()
    second = Trainer(config(), corpora, tmp_path / "parted")
    assert second.step == 2
    advance(second, 3)
    for one, other in ((whole.net, second.net), (whole.average, second.average)):
        for (name, left), right in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(left, right), name
    assert whole.recent == second.recent


@pytest.mark.parametrize("stop_after", [2, 5])
def test_a_stopped_run_ends_with_the_same_metrics(corpora, tmp_path, stop_after):
    """Stopped between steps (2), and while it measures (5)."""
    assert go(config(), corpora, tmp_path / "whole") == 8
    assert go(config(), corpora, tmp_path / "parted", stop_after) < 8
    assert go(config(), corpora, tmp_path / "parted") == 8
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parted")]
    assert metrics[0] == metrics[1]
    lines = [json.loads(line) for line in metrics[0].splitlines()]
    assert [line["step"] for line in lines] == [4, 8]
    assert set(lines[0]["sets"]["dev"]["av"]) == {"wer", "wer_ci", "cer", "words", "utterances", "video"}
    assert {name.partition(".")[0] for name in lines[0]["loss"]} == {"av", "audio"}


def test_a_run_that_is_done_does_nothing(corpora, tmp_path):
    go(config(), corpora, tmp_path / "run")
    before = (tmp_path / "run" / "last.pt").stat().st_mtime_ns
    assert go(config(), corpora, tmp_path / "run") == 8
    assert (tmp_path / "run" / "last.pt").stat().st_mtime_ns == before


def test_metrics_of_steps_that_were_lost_are_forgotten(tmp_path):
    lines = [{"step": step, "loss": {}, "sets": {}} for step in (4, 8, 12)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Reports(tmp_path, 9, 20, CONSOLE, word_errors) as reports:
        assert reports.measured == 8
        reports.metrics({"step": 12, "loss": {"ctc": 1.0}, "sets": {}})
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in found] == [4, 8, 12]
    assert last_metrics(tmp_path / "metrics.jsonl")["loss"] == {"ctc": 1.0}


def test_older_checkpoints_stay_as_far_as_asked(corpora, tmp_path):
    go(config(checkpoint_every=2, keep=2), corpora, tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["last.pt", "step-00000004.pt", "step-00000006.pt"]
    assert [checkpoint.load(tmp_path / f"{name}.pt").step for name in ("step-00000004", "last")] == [4, 8]


def test_tensorboard_holds_the_curves(corpora, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    go(config(), corpora, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/total")] == list(range(1, 9))
    assert [event.step for event in events.Scalars("wer/dev/av")] == [4, 8]


@pytest.mark.parametrize("modalities", [(1.0, 0.0), (0.0, 0.0)])
def test_the_gradients_of_the_parts_add_up_to_those_of_the_batch(corpora, tmp_path, modalities):
    """Without dropout; batch normalisation, which sees its own part alone, is held still."""
    audio_only, video_only = modalities
    mix = MixConfig(seconds=30, join=1, audio_only=audio_only, video_only=video_only)
    wanted = replace(config(), data=Data((TrainingSet(HERE, "audio-visual", "av", mix=mix),)),
                     net=replace(NET, dropout=0.0))  # fmt: skip
    trainer = Trainer(wanted, Corpora({"av": corpora.train["av"]}, {}), tmp_path)
    net, feeder = trainer.net.eval(), trainer.feeders["av"]
    whole = feeder.batch(0)

    def gradients(batches) -> torch.Tensor:
        net.zero_grad()
        for batch in batches:
            torch.autograd.backward(sum(losses(net, batch, LossConfig(), counts(whole)).values()))
        return torch.cat([one.grad.flatten() for one in net.parameters() if one.grad is not None])

    alone, parted = gradients([whole]), gradients([feeder.batch(0, part, 3) for part in range(3)])
    assert torch.allclose(alone, parted, rtol=1e-3, atol=1e-5 * float(alone.abs().max()))
    with torch.no_grad():
        assert sum(losses(net, whole, LossConfig()).values()) == sum(
            losses(net, whole, LossConfig(), counts(whole)).values()
        )


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(corpora, tmp_path):
    trainer = Trainer(config(), corpora, tmp_path)
    advance(trainer, 1)
    trainer.save()
    before = (tmp_path / "last.pt").read_bytes()
    with torch.no_grad():
        trainer.net.ctc.classify.weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match=r"^step 2: the loss is nan in batch 1 of av \(which begins with '.*'\); "
                                       r".*last\.pt is kept; try a lower optimiser\.lr$"):  # fmt: skip
        advance(trainer, 1)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_checkpoint_of_another_net_is_named(corpora, tmp_path):
    Trainer(config(), corpora, tmp_path).save()
    other = replace(config(), net=replace(NET, layers=4, fusion="sum"))
    with pytest.raises(MmstreamError) as fault:
        Trainer(other, corpora, tmp_path)
    assert (
        "is a checkpoint of another net: layers is 3 there, 4 in the config; fusion is 'gated' there, 'sum' in"
        in str(fault.value)
    )


def test_a_damaged_checkpoint_is_named(corpora, tmp_path):
    Trainer(config(), corpora, tmp_path).save()
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MmstreamError, match=r"last\.pt: is no checkpoint, or is damaged: .*$"):
        Trainer(config(), corpora, tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(corpora, tmp_path):
    """The limit on file sizes stands for the end of the disk: writing fails half-way through."""
    trainer = Trainer(config(), corpora, tmp_path)
    trainer.save()
    advance(trainer, 1)
    size = (tmp_path / "last.pt").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(MmstreamError, match=r"last\.pt: cannot be written: .*; the checkpoint before it is kept$"):
            trainer.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(tmp_path / "last.pt").step == 0
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_run_may_begin_with_the_average_of_another(corpora, tmp_path):
    first = Trainer(config(), corpora, tmp_path)
    advance(first, 2)
    first.save()
    second = Trainer(replace(config(), begin_with=tmp_path / "last.pt"), corpora, tmp_path / "next")
    assert second.step == 0
    for name, value in first.average.state_dict().items():
        assert torch.equal(second.net.state_dict()[name], value), name


def test_what_is_measured_does_not_depend_on_the_modality_that_is_left_out(corpora, tmp_path):
    net, corpus = tiny_net(), corpora.dev["dev"]
    precision = Trainer(config(), corpora, tmp_path).precision
    found = measured(net, corpus, ("audio", "video", "av"), precision)
    assert found["audio"]["video"] == 0
    assert found["video"]["video"] == pytest.approx(1)
    assert 0 < found["av"]["video"] < 1
    assert found["audio"]["utterances"] == len(corpus)


def test_one_process_at_a_time_trains_in_a_folder(corpora, tmp_path):
    def nested() -> bool:
        with pytest.raises(MmstreamError, match="another process trains there; name another folder with --run"):
            go(config(), corpora, tmp_path)
        return True

    assert train(config(), corpora, tmp_path, console=CONSOLE, stopping=nested) == 0
