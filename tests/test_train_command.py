"""``mmstream train`` as a user runs it: killed, interrupted, by several workers, on bad input; and it learns."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from mmstream.training import checkpoint
from mmstream.training.export import last_metrics
from tests.command_line import Running, call
from tests.corpora import said
from tests.media_samples import require_data, write_wav

pytestmark = pytest.mark.alone

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SMALL = """
net: {dim: 32, layers: 2, heads: 2, kernel: 5, expansion: 2, left: 3, visual_channels: [8, 8], dropout: 0.1}
data:
  train:
    - {manifest: words.jsonl, name: words, mix: {seconds: 8, join: 2}}
  dev:
    - {manifest: words.jsonl, name: dev}
optimiser: {lr: 3e-3, steps: STEPS, warmup: 3}
run: {loaders: 1, threads: 1, device: cpu, precision: float32, checkpoint_every: 5, evaluate_every: 10}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = []
    for k, text in enumerate(("one two", "three one four", "two two", "four three")):
        write_wav(tmp_path / f"{k}.wav", said(text.split(), rng)[0][:, None])
        lines.append(json.dumps({"media": f"{k}.wav", "text": text}))
    (tmp_path / "words.jsonl").write_text("\n".join(lines) + "\n")
    return write(tmp_path, 20)


def write(folder: Path, steps: int, **changes: str) -> Path:
    text = SMALL.replace("STEPS", str(steps))
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def arguments(config: Path, run: str) -> list[object]:
    return ["train", config, "--run", config.parent / run, "--cache", config.parent / "cache"]


def test_a_killed_run_goes_on_and_ends_with_the_same_metrics(config):
    folder = config.parent
    done = call(*arguments(config, "whole"))
    assert done.code == 0, done.err
    assert f"mmstream export {folder}/whole --output FOLDER" in done.err
    with Running(*arguments(config, "killed")) as running:
        running.wait_for_file(folder / "killed" / "last.pt")
        running.send(signal.SIGKILL)
        assert running.end().code == -signal.SIGKILL
    assert 0 < checkpoint.load(folder / "killed" / "last.pt").step < 20
    again = call(*arguments(config, "killed"))
    assert again.code == 0, again.err
    assert "going on after step" in again.err
    metrics = [(folder / name / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert metrics[0] == metrics[1]
    assert [json.loads(line)["step"] for line in metrics[0].splitlines()] == [10, 20]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_a_checkpoint_and_says_how_to_go_on(config, number):
    long = write(config.parent, 100_000)
    with Running(*arguments(long, "run")) as running:
        running.wait_for_file(long.parent / "run" / "last.pt")
        running.send(number)
        done = running.end()
    assert done.code == 130, done.err
    assert f"Go on with: mmstream train {long} --run {long.parent}/run" in done.err
    assert "Traceback" not in done.err
    assert checkpoint.load(long.parent / "run" / "last.pt").step >= 5


@pytest.mark.timeout(300)
def test_two_workers_learn_what_one_learns(config):
    pytest.importorskip("ray.train")
    folder = config.parent
    few = write(folder, 4, **{"dropout: 0.1": "dropout: 0.0", "evaluate_every: 10": "evaluate_every: 4"})
    assert call(*arguments(few, "one")).code == 0
    with Running(*arguments(few, "two"), "--workers", 2) as running:
        done = running.end(240)
    assert done.code == 0, done.err
    one, two = (last_metrics(folder / name / "metrics.jsonl") for name in ("one", "two"))
    assert one["step"] == two["step"] == 4
    assert one["sets"] == two["sets"]
    first, second = (checkpoint.load(folder / name / "last.pt") for name in ("one", "two"))
    for name, value in first.net.items():
        np.testing.assert_allclose(second.net[name].numpy(), value.numpy(), atol=2e-3, err_msg=name)


def test_caching_alone(config):
    done = call(*arguments(config, "run"), "--only-cache")
    assert done.code == 0, done.err
    assert len([path for path in (config.parent / "cache").iterdir() if path.is_dir()]) == 1  # of train and dev alike
    assert not (config.parent / "run").exists()


def plain(done, config: Path) -> str:
    assert done.code == 1
    assert "Traceback" not in done.err
    return done.err.replace(f"{config.parent}/", "").strip()


def test_a_missing_manifest(config):
    (config.parent / "words.jsonl").unlink()
    lines = plain(call(*arguments(config, "run")), config).splitlines()
    assert lines == ["mmstream: small.yaml:5: there is no manifest words.jsonl",
                     "small.yaml:7: there is no manifest words.jsonl"]  # fmt: skip


def test_an_empty_manifest(config):
    (config.parent / "words.jsonl").write_text("\n")
    assert plain(call(*arguments(config, "run")), config) == "mmstream: words.jsonl: the manifest is empty"


def test_media_that_cannot_be_read(config):
    (config.parent / "2.wav").write_bytes(b"no sound")
    found = plain(call(*arguments(config, "run")), config)
    assert found.startswith("mmstream: 2.wav")
    assert found.endswith("; skip_unreadable: true leaves it out")
    assert "\n" not in found


def test_a_clip_without_video_in_an_audio_visual_set(config):
    text = config.read_text().replace("name: words,", "name: words, kind: audio-visual,")
    config.write_text(text)
    found = plain(call(*arguments(config, "run")), config)
    assert found.startswith("mmstream: 0.wav")
    assert "video" in found
    assert "\n" not in found


def test_a_checkpoint_of_another_net(config):
    short = write(config.parent, 1)
    assert call(*arguments(short, "run")).code == 0
    other = write(config.parent, 2, **{"layers: 2": "layers: 3"})
    assert plain(call(*arguments(other, "run")), config) == (
        "mmstream: run/last.pt: is a checkpoint of another net: layers is 2 there, 3 in the config; "
        "train into another folder (--run), or delete this one"
    )


@pytest.mark.timeout(900)
def test_the_tiny_config_learns_a_dozen_clips_although_it_is_killed(tmp_path):
    """About a minute and a half on two free cores."""
    require_data("grid/train.jsonl")
    config, run = CONFIGS / "avsr-tiny.yaml", tmp_path / "run"
    command = ["train", config, "--run", run, "--cache", tmp_path / "cache"]
    with Running(*command) as running:
        running.wait_for("step 50: ", 400)
        running.send(signal.SIGKILL)
        running.end()
    with Running(*command) as running:
        done = running.end(450)
    assert done.code == 0, done.err
    assert "going on after step" in done.err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [50, 100, 150]
    losses = [sum(line["loss"].values()) for line in lines]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.3 * losses[0]
    learnt = lines[-1]["sets"]["learnt"]
    assert learnt["av"]["wer"] < 0.2
    assert learnt["audio"]["wer"] < 0.2
    assert learnt["video"]["wer"] < 0.7  # lips come later than sound


def test_the_live_path_does_not_import_torch():
    """The commands are registered, and nothing of training is imported with them."""
    import subprocess

    code = "import sys, mmstream.cli; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
