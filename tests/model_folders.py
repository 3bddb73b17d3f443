"""Fixtures for tests of models: a store of their own, and a folder that looks like a model."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A store and a hub cache of the test's own."""
    monkeypatch.setenv("MMSTREAM_HOME", str(tmp_path / "home"))
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path) -> Path:
    """What looks like a Whisper model in CTranslate2's format; nobody loads it here."""
    folder = tmp_path / "ct2"
    folder.mkdir()
    (folder / "model.bin").write_bytes(bytes(range(256)) * 20_000)  # 5.12 MB: above what is hashed at every load
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (folder / name).write_text(f'{{"file": "{name}"}}')
    (folder / "README.md").write_text("not a part of the model")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
