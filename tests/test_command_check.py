"""``mmstream check``: problems on standard error, the drawing, and the schema for editors; ``mmstream doctor``."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from typer.testing import CliRunner

from mmstream.commands.check import check
from mmstream.commands.doctor import doctor
from mmstream.pipeline import default_path, load, schema
from mmstream.pipeline.classes import every_operator
from tests.pipeline_texts import ALLOW, CHAIN, CLUSTER, FUSED, changed, graph_of, written

app = typer.Typer()
app.command("check")(check)
app.command("doctor")(doctor)


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(written(CHAIN))
    return path


def test_a_good_file_is_drawn(file):
    done = run("check", str(file), "--allow", ALLOW[0], "--set", "mel.n_mels=4")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.startswith(f"{file}: 5 nodes, 4 edges, 2 workers\n")
    assert "Mel(n_mels=4)" in done.stdout


def test_every_problem_goes_to_standard_error(file):
    file.write_text(written(changed("toys:Mel,", "toys:Mel, with: {n_mel: 4},").replace("from: decode", "from: dec")))
    done = run("check", str(file), "--allow", ALLOW[0], "--set", "mik.device=1")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{file}:4: Mel takes no 'n_mel'; did you mean 'n_mels'?",
        f"{file}:6: there is no node 'dec'; did you mean 'decode'?",
        "--set mik.device=1: there is no node 'mik'; did you mean 'mic'?",
    ]


def test_a_file_that_is_not_there(tmp_path):
    done = run("check", str(tmp_path / "none.yaml"))
    assert (done.exit_code, done.stderr) == (1, f"{tmp_path}/none.yaml: there is no such file\n")


def test_a_terminal_that_knows_no_unicode_gets_ascii(file):
    script = "import typer; from mmstream.commands.check import check; typer.run(check)"
    command = [sys.executable, "-c", script, str(file), "--allow", ALLOW[0]]
    settings = {"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, env=settings, timeout=60, check=True)
    assert done.stdout.isascii()
    assert b"* mic" in done.stdout.replace(b"  ", b" ")


@pytest.mark.parametrize("command", ["check", "doctor"])
def test_every_help_has_an_example(command):
    assert f"mmstream {command}" in run(command, "--help").stdout


# The file that ships.


def test_the_default_pipeline_is_a_graph_from_microphone_and_camera_to_terminal():
    graph = load(default_path(), environment={})
    heard = ["source", "resample", "speech", "on_camera", "decode", "commit", "terminal"]
    seen = ["camera", "faces", "mouth", "on_camera"]
    expected = {f"{a}->{b}" for chain in (heard, seen) for a, b in itertools.pairwise(chain)}
    assert {edge.name for edge in graph.edges} == expected | {"resample->faces"}
    assert graph.inputs("resample")[0].overflow == "drop_oldest"
    assert graph.nodes["camera"].optional
    assert graph.workers["driver"].nodes == ("source", "camera", "terminal")
    assert graph.nodes["source"].arguments["device"] is None
    assert load(default_path(), environment={"MMSTREAM_DEVICE": "3"}).nodes["source"].arguments["device"] == 3


def test_checking_the_default_pipeline_imports_no_engine():
    script = (
        "import sys; from mmstream.pipeline import default_path, load; load(default_path())\n"
        "engines = {'torch', 'ray', 'cv2', 'av', 'pocketsphinx', 'sounddevice', 'faster_whisper'}\n"
        "print(*engines.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"


# The schema.


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    made = schema(ALLOW)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(json.loads(json.dumps(made)))


def plain(text: str) -> object:
    return yaml.safe_load(written(text))


def test_the_schema_takes_what_the_checker_takes(validator):
    for text in (CHAIN, FUSED, CLUSTER, default_path().read_text()):
        validator.validate(plain(text))
        graph_of(text)
    variables = changed("toys:Mel,", 'toys:Mel, with: {n_mels: "${MELS:-80}"},')
    validator.validate(plain(variables))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("toys:Mel,", "toys:Mel, with: {n_mel: 4},"),
        ("toys:Mel,", "toys:Mel, with: {n_mels: four},"),
        ("toys:Mel,", "toys:Mel, with: {n_mels: 4.5},"),
        ("toys:Mel,", "toys:Mel, with: {hop_ms: null},"),
        ("toys:Mel,", "toys:Mel, n_mels: 4,"),
        ("toys:Mel, from: mic", "toys:Mel"),
        (", with: {model: small}", ""),
        ("{model: small}", "{}"),
        ("{model: small}", "{model: a, words: [1]}"),
        ("{model: small}", "{model: a, weights: {x: y}}"),
        ("toys:Mic}", "toys:Mic, from: mel}"),
        ("from: mic", "from: {mic: {overflow: drop}}"),
        ("from: mic", "from: {mic: {size: 4}}"),
        ("from: mic", "from: [mic, mic]"),
        ("from: mic", "from: mic, optional: true"),
        ("toys:Mel,", "Mel,"),
        ("toys:Commit,", "toys:Commit, with: {size: [1]},"),
        ("capacity: 8", "capacity: 0"),
        ("capacity: 8", "capacty: 8"),
        ("capacity: 8", "capacity: 8\nworkers: {driver: {nodes: [mel], replicas: 2}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], replicas: 0}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], batch: {}}}"),
        ("capacity: 8", "capacity: 8\nworkers: {driver: {near: main}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], replicas: {max: 2}}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], replicas: {sessions: 2}}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], standby: 0.5}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], limit: 0}}"),
        ("capacity: 8", "capacity: 8\nworkers: {a: {nodes: [mel], near: 5}}"),
        ("capacity: 8", "capacity: 8\nsessions: {limit: 0}"),
        ("capacity: 8", "capacity: 8\nsessions: {idle_s: 0}"),
        ("capacity: 8", "capacity: 8\nrecovery: {snapshot_s: null}"),
        ("capacity: 8", "capacity: 8\nmax_lag_ms: soon"),
    ],
)
def test_the_schema_refuses_what_the_checker_refuses(validator, old, new):
    assert not validator.is_valid(plain(changed(old, new)))


def test_the_schema_knows_every_operator_and_its_arguments(validator):
    for use in every_operator():
        assert f"with.{use}" in validator.schema["$defs"]
    microphone = {"use": "operators.sources:Microphone", "with": {"devise": 1}}
    node = {"$ref": "#/$defs/node", **{"$defs": validator.schema["$defs"]}}
    assert not jsonschema.Draft202012Validator(node).is_valid(microphone)
    microphone["with"] = {"device": 1}
    assert jsonschema.Draft202012Validator(node).is_valid(microphone)


def test_check_prints_the_schema():
    made = json.loads(run("check", "--schema").stdout)
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["$defs"]["with.operators.audio:LogMel"]["properties"]["n_mels"]["default"] == 80


# doctor.


def test_doctor_finds_what_the_main_job_needs():
    done = run("doctor", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["ok"]) == (0, True)
    by_name = {finding["what"]: finding for finding in found["findings"]}
    for name in ("Python", "numpy", "av", "ray", "torch", "pocketsphinx", "recogniser"):
        assert by_name[name]["state"] == "ok", by_name[name]
    assert {"microphone", "ffmpeg", "GPU", "space for models"} <= set(by_name)
    assert run("doctor").exit_code == 0


def test_doctor_names_what_is_missing_and_the_command_that_mends_it(monkeypatch, tmp_path):
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("pysubs2", "faster-whisper"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("doctor", "--json")
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.exit_code == 1
    assert found["pysubs2"]["state"] == "missing"
    assert found["pysubs2"]["mend"].startswith("python -m pip install 'pysubs2")
    assert found["faster-whisper"]["state"] == "note"
    assert found["faster-whisper"]["mend"] == "python -m pip install 'mmstream[whisper]'"
    assert found["ffmpeg"]["state"] == "note"
    shown = run("doctor")
    assert shown.exit_code == 1
    assert "'mmstream[whisper]'" in shown.stdout
