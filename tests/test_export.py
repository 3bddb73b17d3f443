"""``mmstream export``, and weights that are loaded back: small, whole, and refused where they are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from mmstream.core import MmstreamError
from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig
from mmstream.nets.weights import WeightsError, load, packed, quantised, unpacked
from mmstream.training import checkpoint
from mmstream.training.card import Source
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.export import compared, export
from tests.command_line import call
from tests.tiny_avsr import CONFIG, tiny_net

SHAPE = NetConfig(**{**CONFIG.as_dict(), "alignment_classes": 5})
GRID = Source("grid", "one talker", "CC BY 4.0", "Cooke et al.", "command, colour, letter")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose average is not its net."""
    folder = tmp_path_factory.mktemp("run")
    net, average = tiny_net(SHAPE, seed=1), tiny_net(SHAPE, seed=2)
    optimiser = torch.optim.AdamW(net.parameters())
    states = (net.state_dict(), average.state_dict(), optimiser.state_dict())
    checkpoint.save(folder / "last.pt", Checkpoint(*states, step=7, cfg=SHAPE.as_dict()))
    figures = {"wer": 0.015, "wer_ci": [0.01, 0.02], "cer": 0.005, "utterances": 50, "words": 300, "video": 0.4}
    lines = [{"step": 5, "sets": {}}, {"step": 7, "loss": {"ctc": 0.5}, "sets": {"grid_seen": {"av": figures}}}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export(run, folder, sources=[GRID])
    return folder


@pytest.mark.parametrize(
    ("precision", "least", "most"), [("float32", 0, 0), ("float16", 0, 1e-2), ("int8", 1e-9, 0.02)]
)
def test_the_average_comes_back(run, tmp_path, precision, least, most):
    made = export(run, tmp_path / "out", precision=precision)
    net = load(tmp_path / "out")
    assert least <= made.difference <= most
    assert not net.training
    assert not any(one.requires_grad for one in net.parameters())
    assert net.align is None
    assert compared(_without_alignment(tiny_net(SHAPE, seed=2)), net)[0] == pytest.approx(made.difference)
    assert compared(_without_alignment(tiny_net(SHAPE, seed=1)), net)[0] > 0.05


def _without_alignment(net: AudioVisualRecogniser) -> AudioVisualRecogniser:
    net.align = None
    return net


def test_sizes_fall_with_the_precision():
    net = AudioVisualRecogniser(NetConfig(layers=2))
    sizes = [sum(one.numel() * one.element_size() for one in packed(net.state_dict(), kind).values())
             for kind in ("float32", "float16", "int8")]  # fmt: skip
    assert sizes[1] < 0.51 * sizes[0]
    assert sizes[2] < 0.6 * sizes[1]


def test_quantising_errs_by_half_a_step_at_most():
    matrix = torch.randn(20, 30) * torch.logspace(-3, 3, 20)[:, None]
    matrix[3] = 0
    whole, scale = quantised(matrix)
    assert whole.dtype == torch.int8
    assert ((whole.float() * scale[:, None] - matrix).abs() <= 0.501 * scale[:, None]).all()
    again = unpacked(packed({"a": matrix}, "int8"))["a"]
    assert torch.equal(again, whole.float() * scale[:, None])


def test_the_description_and_the_card_say_what_it_is(exported):
    said = json.loads((exported / "model.json").read_text())
    assert said["format"] == 1
    assert said["steps"] == 7
    assert said["look_ahead_s"] == pytest.approx(0.08)
    assert said["algorithmic_latency_s"] == pytest.approx(SHAPE.algorithmic_latency_s)
    assert said["vocabulary"][:2] == ["<blank>", " "]
    card = (exported / "MODEL_CARD.md").read_text()
    assert "| grid | one talker | CC BY 4.0 | Cooke et al. |" in card
    assert "**grid has a closed grammar**: command, colour, letter" in card
    assert "| grid_seen | av | 1.5 | 1.0 to 2.0 | 0.5 | 50 |" in card
    assert "80 ms ahead" in card
    assert f"{1000 * SHAPE.algorithmic_latency_s:.0f} ms" in card


def test_the_command(run, tmp_path):
    done = call("export", run, "--output", tmp_path / "out", "--int8", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["precision"] == "int8"
    assert "million parameters" in done.err
    load(tmp_path / "out")


def test_a_run_without_a_checkpoint(tmp_path):
    done = call("export", tmp_path, "-o", tmp_path / "out")
    assert done.code == 1
    assert done.err == f"mmstream: {tmp_path}/last.pt: there is no such checkpoint; mmstream train makes it\n"
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_none(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(MmstreamError, match=r"last\.pt: is no checkpoint, or is damaged: "):
        export(tmp_path, tmp_path / "out")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"net": Evil()}, tmp_path / "last.pt")
    with pytest.raises(MmstreamError, match="is no checkpoint, or is damaged"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda out: (out / "model.json").unlink(), "model.json: there is no such file"),
        (lambda out: (out / "weights.safetensors").unlink(), "weights.safetensors: there is no such file"),
        (lambda out: (out / "model.json").write_text("{"), "model.json: not JSON"),
        (lambda out: (out / "model.json").write_text("{}"), "it has no 'format'"),
        (lambda out: edit(out, format=2), "format 2 is not 1"),
        (lambda out: edit(out, sha256=None), "wrong checksum"),
        (lambda out: (out / "weights.safetensors").write_bytes(b"0" * 99), "wrong checksum"),
        (lambda out: edit(out, net=3), "'net' must say"),
        (lambda out: edit(out, net={"dims": 3}), "'net' holds 'dims'"),
        (lambda out: edit(out, net={**CONFIG.as_dict(), "fusion": "magic"}), "describes no recogniser: KeyError"),
        (lambda out: edit(out, net={**CONFIG.as_dict(), "dim": 64}), r"has the shape .*; model.json says"),
        (lambda out: edit(out, net={**CONFIG.as_dict(), "layers": 2}), "belongs to no part"),
        (lambda out: edit(out, net={**CONFIG.as_dict(), "layers": 4}), "is missing"),
    ],
)
def test_damage_is_one_line(exported, tmp_path, change, said):
    shutil.copytree(exported, tmp_path / "out")
    change(tmp_path / "out")
    with pytest.raises(WeightsError, match=said) as fault:
        load(tmp_path / "out")
    assert "\n" not in str(fault.value)


def test_a_folder_that_cannot_be_written(run, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(MmstreamError, match="out: cannot be written: "):
        export(run, tmp_path / "out")
