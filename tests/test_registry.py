"""Models by name: what is here, what is damaged, pulling from folders, and the command."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmstream import registry
from mmstream.commands.models import models
from mmstream.registry import ModelError, find, pull, resolve, verify
from mmstream.registry.catalogue import CATALOGUE, WHISPER
from operators.decoders import Sphinx
from tests.model_folders import folder, home, names_in

__all__ = ["folder", "home"]

REPOSITORY = CATALOGUE["whisper-tiny.en"].place


def said(call, *arguments) -> str:
    with pytest.raises(ModelError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is here.


def test_sphinx_is_always_here_and_is_what_auto_takes_without_a_whisper_model(home):
    model = resolve("auto")
    assert (model.name, model.use, dict(model.arguments)) == ("sphinx", "operators.decoders:Sphinx", {})
    assert model.describe() == "sphinx (the best recogniser on this machine)"
    assert resolve("sphinx").path is not None
    assert resolve("sphinx").commit == Sphinx.commit
    assert resolve("sphinx").with_arguments(hypothesis_every_ms=100).arguments == {"hypothesis_every_ms": 100}
    assert (resolve("sphinx").path / "cmudict-en-us.dict").is_file()


def test_bundled_models_are_as_their_wheels_recorded_them():
    assert verify("sphinx") == 11
    assert verify("silero-vad") >= 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whisper-bse.en", "there is no model 'whisper-bse.en'; did you mean 'whisper-base.en'?"),
        ("Sphynx", "there is no model 'Sphynx'; did you mean 'sphinx'?"),
        ("zzz", "there is no model 'zzz'; see mmstream models list, or write a folder as a path: ./zzz"),
        (
            "whisper-base.en",
            "model 'whisper-base.en' (145 MB) is not on this machine: run mmstream models pull whisper-base.en",
        ),
        (
            "whisper-large",
            "model 'whisper-large' (3,088 MB) is not on this machine: run mmstream models pull whisper-large-v3",
        ),
        ("silero-vad", "model 'silero-vad' is for voice activity, not for recognition"),
        (
            "./none",
            "none: does not exist; a model is a folder with config.json, model.bin, tokenizer.json, vocabulary.*",
        ),
    ],
)
def test_what_is_not_here(home, name, message):
    assert said(resolve, name) == message


def test_a_folder_is_a_model_by_its_path(home, folder):
    model = resolve(str(folder))
    assert (model.name, model.use, dict(model.arguments)) == ("ct2", WHISPER, {"model": str(folder)})
    (folder / "tokenizer.json").unlink()
    assert said(resolve, str(folder)) == (
        f"{folder}: not a Whisper model in CTranslate2's format: tokenizer.json missing"
    )
    assert said(resolve, str(folder / "model.bin")).startswith(f"{folder}/model.bin: is a file, not a folder")


def test_the_hub_cache_is_looked_in(home, folder, tmp_path):
    repository = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    folder.rename(snapshot)
    assert resolve("whisper-tiny.en").path == snapshot
    assert said(verify, "whisper-tiny.en").startswith(
        "model 'whisper-tiny.en' is in the hub's cache, which has no checksums"
    )
    (snapshot / "vocabulary.json").unlink()
    assert find("whisper-tiny.en") is None


# Pulling from a folder.


def test_a_model_pulled_from_a_folder(home, folder):
    model = pull("whisper-tiny.en", folder)
    assert model.path == home / "models" / "whisper-tiny.en"
    manifest = json.loads((model.path / "mmstream.json").read_text())
    digest = hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()
    assert manifest["files"]["model.bin"]["sha256"] == digest
    assert sorted(path.name for path in model.path.iterdir()) == [
        "config.json", "mmstream.json", "model.bin", "tokenizer.json", "vocabulary.json"
    ]  # fmt: skip
    assert resolve("whisper-tiny.en") == model
    assert verify("whisper-tiny.en") == 4
    assert names_in(home / "models") == ["whisper-tiny.en"]


def test_a_second_pull_replaces_the_first(home, folder):
    pull("whisper-tiny.en", folder)
    (folder / "config.json").write_text("{}")
    pull("whisper-tiny.en", folder)
    assert (home / "models" / "whisper-tiny.en" / "config.json").read_text() == "{}"
    assert names_in(home / "models") == ["whisper-tiny.en"]


def test_a_model_of_the_users_own(home, folder):
    pull("my-whisper", folder)
    assert resolve("my-whisper").use == WHISPER
    assert said(resolve, "my-whispr") == "there is no model 'my-whispr'; did you mean 'my-whisper'?"
    assert said(pull, "my-whispr").startswith("there is no model 'my-whispr' to pull; known are 'whisper-tiny'")
    for name in ("../x", ".x", "a/b", "auto"):
        assert said(pull, name, folder).startswith(f"there is no model {name!r} to pull")


def test_a_failed_pull_leaves_nothing(home, folder):
    (folder / "config.json").unlink()
    assert (
        said(pull, "whisper-tiny", folder)
        == f"{folder}: not a Whisper model in CTranslate2's format: config.json missing"
    )
    assert names_in(home / "models") == []
    assert said(pull, "sphinx") == "model 'sphinx' comes with the package 'pocketsphinx': there is nothing to pull"


def test_a_pull_that_the_disk_refuses_is_one_line_and_leaves_nothing(home, folder):
    limited = (
        "import resource, sys, pathlib; from mmstream import registry\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try: registry.pull('whisper-tiny', pathlib.Path(sys.argv[1]))\n"
        "except registry.ModelError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout == f"model 'whisper-tiny' cannot be written to {home}/models/whisper-tiny: File too large\n"
    assert names_in(home / "models") == []


# Damage.


def flip(path: Path) -> None:
    """Change one byte; the size stays."""
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_changed_file_is_found_when_the_model_is_loaded(home, folder, name):
    path = pull("whisper-tiny", folder).path / name
    flip(path)
    message = said(resolve, "whisper-tiny")
    assert message.startswith(f"model 'whisper-tiny': {path} has the wrong checksum (sha256 ")
    assert message.endswith("; pull it again: run mmstream models pull whisper-tiny")
    assert said(resolve, "auto") == message


def test_a_change_that_hides_its_time_is_found_by_verify(home, folder):
    path = pull("whisper-tiny", folder).path / "model.bin"
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert resolve("whisper-tiny").name == "whisper-tiny"
    assert "model.bin has the wrong checksum" in said(verify, "whisper-tiny")


def test_missing_and_shortened_files(home, folder):
    path = pull("whisper-tiny", folder).path
    os.truncate(path / "model.bin", 100)
    assert f"{path}/model.bin has 100 bytes instead of 5,120,000; pull it again" in said(resolve, "whisper-tiny")
    (path / "config.json").unlink()
    assert f"{path}/config.json is missing; pull it again" in said(resolve, "whisper-tiny")


@pytest.mark.parametrize("content", ["", "[]", '{"files": {"a": 1}}', '{"files": {}}', "\xff"])
def test_a_damaged_manifest(home, folder, content):
    path = pull("whisper-tiny", folder).path / "mmstream.json"
    path.write_text(content, "latin-1")
    assert said(resolve, "whisper-tiny").startswith(f"model 'whisper-tiny': {path} cannot be read")


# auto.


def test_auto_takes_the_best_that_keeps_up(home, folder, monkeypatch):
    monkeypatch.setattr(registry, "gpu_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    pull("whisper-large-v3", folder)
    assert resolve("auto").describe() == (
        "sphinx (the best recogniser on this machine that keeps up on 2 CPU cores; "
        "by name there is also whisper-large-v3)"
    )
    for name in ("whisper-tiny", "whisper-base", "whisper-tiny.en"):
        pull(name, folder)
    assert resolve("auto").name == "whisper-base"
    assert resolve("auto", "de").name == "whisper-base"
    monkeypatch.setattr(registry, "gpu_count", lambda: 1)
    assert resolve("auto").name == "whisper-large-v3"


def test_auto_needs_a_model_that_knows_the_language(home, folder):
    pull("whisper-tiny.en", folder)
    assert resolve("auto", "en-GB").name == "whisper-tiny.en"
    assert said(resolve, "auto", "de") == (
        "no model on this machine knows the language 'de': run mmstream models pull whisper-base"
    )


def test_whisper_models_need_their_package(home, folder, monkeypatch):
    pull("whisper-tiny", folder)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    message = "needs faster-whisper, which is not installed: run python -m pip install 'mmstream[whisper]'"
    assert said(resolve, "whisper-tiny") == f"model 'whisper-tiny' {message}"
    assert said(resolve, str(folder)).endswith(message)
    assert resolve("auto").name == "sphinx"


# The command.


def run(*arguments: str):
    return CliRunner().invoke(models, list(arguments))


def test_list(home, folder):
    pull("whisper-tiny", folder)
    pull("my-whisper", folder)
    flip(pull("whisper-base", folder).path / "model.bin")
    rows = {row.split()[0]: row for row in run("list").stdout.splitlines()}
    assert rows["sphinx"].rstrip().endswith("yes, in its package")
    assert rows["whisper-tiny"].rstrip().endswith("yes, pulled")
    assert rows["whisper-base"].rstrip().endswith("damaged: pull it again")
    assert rows["my-whisper"].rstrip().endswith("yes, pulled")
    assert "yes" not in rows["whisper-small"]
    found = {status["name"]: status["where"] for status in json.loads(run("list", "--json").stdout)}
    assert (found["sphinx"], found["whisper-tiny"], found["whisper-base"]) == ("wheel", "pulled", "damaged")


def test_pull_path_and_verify(home, folder):
    assert (
        run("pull", "whisper-tiny", "--from", str(folder)).stdout
        == f"whisper-tiny: 5 MB in {home}/models/whisper-tiny\n"
    )
    assert run("path", "whisper-tiny").stdout.strip() == f"{home}/models/whisper-tiny"
    done = run("verify")
    assert done.exit_code == 0
    assert "whisper-tiny: 4 files as they should be" in done.stdout
    flip(home / "models" / "whisper-tiny" / "model.bin")
    done = run("verify")
    assert done.exit_code == 1
    assert "sphinx: 11 files as they should be" in done.stdout
    assert "model.bin has the wrong checksum" in done.stderr
    assert isinstance(run("path", "whisper-tiny").exception, ModelError)
    assert isinstance(run("pull", "whisper-tny").exception, ModelError)


@pytest.mark.parametrize("command", ["list", "pull", "path", "verify"])
def test_every_help_has_an_example(command):
    assert f"mmstream models {command}" in run(command, "--help").stdout
