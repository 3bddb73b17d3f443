"""A training config: what it may say, and where it says something wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.pipeline import PipelineError
from mmstream.training.config_file import read_config
from mmstream.training.loop import sources_of

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
WHOLE = "data:\n  train:\n    - manifest: m.jsonl\n"


@pytest.fixture
def write(tmp_path: Path):
    (tmp_path / "m.jsonl").write_text('{"media": "m.jsonl", "text": "one"}\n')

    def written(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(text)
        return path

    return written


def problems(path: Path, **environment: str) -> list[str]:
    with pytest.raises(PipelineError) as fault:
        read_config(path, environment)
    return [line.replace(f"{path.parent}/", "") for line in str(fault.value).splitlines()]


def test_what_is_left_out_has_defaults(write):
    config = read_config(write(WHOLE))
    assert config.data.train[0].manifest.name == "m.jsonl"
    assert config.optimiser.lr > 0
    assert config.net.fusion == "gated"


def test_values_reach_their_fields(write):
    text = WHOLE + "      mix: {join: 2, sound: {snr_db: [-5, 10]}}\n" + "net: {visual_channels: [8, 8], dim: 64}\n"
    config = read_config(write(text + "optimiser: {lr: ${LR}}\n".replace("${LR}", '"${LR}"')), {"LR": "2e-3"})
    assert config.data.train[0].mix.join == 2
    assert config.data.train[0].mix.sound.snr_db == (-5.0, 10.0)
    assert config.net.visual_channels == (8, 8)
    assert config.optimiser.lr == pytest.approx(2e-3)


def test_paths_start_at_the_file(write, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert read_config(write(WHOLE)).data.train[0].manifest == tmp_path / "m.jsonl"
    absolute = WHOLE.replace("m.jsonl", "${HERE}/m.jsonl")
    assert read_config(write(absolute), {"HERE": str(tmp_path)}).data.train[0].manifest == tmp_path / "m.jsonl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nett: {}\n" + WHOLE, "c.yaml:1: a training config takes no 'nett'; did you mean 'net'?"),
        ("net: {dims: 3}\n" + WHOLE, "c.yaml:1: net takes no 'dims'; did you mean 'dim'?"),
        ("net: {dim: 66}\n" + WHOLE, "c.yaml:1: net: dim must be a multiple of twice the heads (8), is 66"),
        (
            "net:\n  fusion: gatd\n" + WHOLE,
            "c.yaml:2: net takes 'concatenation', 'sum', 'mean', 'weighted', 'gated' or 'cross_attention' for "
            "'fusion', not 'gatd'; did you mean 'gated'?",
        ),
        ("net: {alignment_classes: 3}\n" + WHOLE, "c.yaml:1: net: alignment_classes is worked out from the data: "
                                                  "leave it out"),
        (WHOLE + "optimiser:\n  lr: fast\n", "c.yaml:5: optimiser takes a number for 'lr', not 'fast'"),
        (WHOLE + "optimiser:\n  warmup: 3\n  lr: -1\n", "c.yaml:6: optimiser: lr must be above 0, is -1"),
        (WHOLE + "run: {device: tpu}\n", "c.yaml:4: run: device must be auto, cpu, cuda or cuda:NUMBER, is 'tpu'"),
        (WHOLE + "run: {workers: 0}\n", "c.yaml:4: run: workers must be at least 1, is 0"),
        (WHOLE + "      mix:\n        seconds: 0\n", "c.yaml:5: data.train: mix: seconds must be above 0, is 0"),
        (WHOLE + "      mix: {sound: {snr: 3}}\n",
         "c.yaml:4: data.train.mix.sound takes no 'snr'; did you mean 'snr_db'?"),
        (WHOLE + "      mix: {audio_only: 0.6, video_only: 0.6}\n",
         "c.yaml:4: data.train: mix: audio_only and video_only must together be at most 1; the rest is both"),
        (WHOLE + "      kind: video\n", "c.yaml:4: data.train takes 'audio-visual' or 'audio' for 'kind', not 'video'"),
        (WHOLE + "    - manifest: m.jsonl\n", "c.yaml:4: two sets are called 'FOLDER_m': give one another name"),
        (WHOLE.replace("m.jsonl", "n.jsonl"), "c.yaml:3: there is no manifest n.jsonl"),
        (WHOLE.replace("m.jsonl", "${NO}/m"), "c.yaml:3: the variable NO is not set; set it, or give it a default: "
                                              "${NO:-default}"),
        (WHOLE.replace("manifest", "manifst"), "c.yaml:3: data.train takes no 'manifst'; did you mean 'manifest'?"),
        (WHOLE + "  noise: {folder: nowhere}\n", "c.yaml:4: there is no folder nowhere"),
        (WHOLE + "  dev:\n    - {manifest: m.jsonl, modalities: [av]}\n",
         "c.yaml:5: data.dev: modalities of an audio set are [audio]; for others give kind: audio-visual"),
        (WHOLE + "begin_with: old.pt\n", "c.yaml:4: there is no checkpoint old.pt"),
        ("data: {train: []}\n", "c.yaml:1: data: train needs at least one set"),
        ("data: {}\n", "c.yaml:1: data needs 'train'"),
        ("net: 3\n" + WHOLE, "c.yaml:1: net is a mapping, not 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(write, tmp_path, text, said):
    assert problems(write(text)) == [said.replace("FOLDER", tmp_path.name)]


def test_all_mistakes_are_told_at_once(write):
    found = problems(write("nett: 3\n" + WHOLE + "optimiser: {lr: x}\nrun: {workers: 0}\n"))
    assert [line.partition(": ")[0] for line in found] == ["c.yaml:1", "c.yaml:5", "c.yaml:6"]


def test_no_file(tmp_path):
    assert problems(tmp_path / "c.yaml") == ["c.yaml: there is no such file"]


@pytest.mark.parametrize("name", ["avsr-begin.yaml", "avsr.yaml", "avsr-tiny.yaml"])
def test_the_configs_that_ship_are_right(name, tmp_path):
    """With any folder of data that is laid out as theirs."""
    for manifest in (
        "grid/train",
        "grid/dev_seen",
        "grid/dev_unseen",
        "speech/en/train",
        "speech/en/dev",
        "spoken/manifest",
    ):
        path = tmp_path / f"{manifest}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "noise").mkdir()
    (tmp_path / "last.pt").touch()
    places = {"MMSTREAM_SPOKEN": "spoken", "MMSTREAM_BEGIN": "last.pt"}
    variables = {"MMSTREAM_DATA": str(tmp_path), **{one: str(tmp_path / place) for one, place in places.items()}}
    config = read_config(CONFIGS / name, variables)
    grid = next(one for one in sources_of(config) if one.name == "grid")
    assert grid.licence == "CC BY 4.0"
    assert "command" in grid.closed_grammar
    if config.data.noise is not None:
        assert config.data.noise.select == "musan*"  # the babble recordings are for measuring
