"""Pulled models on disk: ``MMSTREAM_HOME/models/NAME`` with the sha256 of every file, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mmstream.core import MmstreamError

MANIFEST = "mmstream.json"

_HASHED_AT_LOAD = 4 << 20  # bytes: files up to this size are hashed whenever the model is loaded
_BLOCK = 1 << 20  # bytes


class ModelError(MmstreamError):
    """A model that is not there, not whole, or not what it should be."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it was when it was pulled."""

    sha256: str
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pulled model is made of, and where it came from."""

    name: str
    use: str  # the operator that loads it
    source: str  # for people
    files: Mapping[str, FileRecord]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(record.size for record in self.files.values())


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """Where mmstream keeps what it pulls: ``MMSTREAM_HOME``, or ``~/.cache/mmstream``."""
    given = environment.get("MMSTREAM_HOME")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "mmstream"


def folder_of(name: str) -> Path:
    return home() / "models" / name


def pulled() -> list[str]:
    """The names of the models in the store, damaged ones too."""
    models = home() / "models"
    if not models.is_dir():
        return []
    return sorted(path.name for path in models.iterdir() if (path / MANIFEST).is_file() and path.name[0] != ".")


def read_manifest(name: str) -> Manifest:
    """The manifest of a pulled model.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = folder_of(name) / MANIFEST
    try:
        content = json.loads(path.read_text("utf-8"))
        files = {file: FileRecord(**record) for file, record in content["files"].items()}
        return Manifest(content["name"], content["use"], content["source"], files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as fault:
        raise ModelError(f"model {name!r}: {path} cannot be read ({fault}); {_mend(name)}") from fault


def check(name: str, *, fully: bool) -> Manifest:
    """The manifest of a pulled model whose files are as they were pulled.

    Sizes are always compared. With ``fully`` every file is hashed; else small ones are, and those whose time of
    change is not that of the pull, so that a changed file is found and an unchanged one costs nothing.

    Raises:
        ModelError: naming the first file that is missing or wrong.
    """
    manifest = read_manifest(name)
    for file, record in manifest.files.items():
        path = folder_of(name) / file
        try:
            stat = path.stat()
            doubtful = fully or record.size <= _HASHED_AT_LOAD or stat.st_mtime_ns != record.mtime_ns
            if stat.st_size != record.size:
                said = f"has {stat.st_size:,} bytes instead of {record.size:,}"
            elif doubtful and (digest := sha256_of(path)) != record.sha256:
                said = f"has the wrong checksum (sha256 {digest[:12]}... instead of {record.sha256[:12]}...)"
            else:
                continue
        except OSError as fault:
            said = "is missing" if isinstance(fault, FileNotFoundError) else f"cannot be read: {fault.strerror}"
        raise ModelError(f"model {name!r}: {path} {said}; {_mend(name)}")
    return manifest


def _mend(name: str) -> str:
    return f"pull it again: run mmstream models pull {name}"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(name: str, *, resume: bool) -> Iterator[Path]:
    """A folder to fill that takes the place of the model ``name`` when the block ends well, and not before.

    With ``resume`` it begins with, and after a fault keeps, what an earlier attempt had fetched.

    Raises:
        ModelError: the disk is full or not writable.
    """
    target = folder_of(name)
    partial = target.with_name(f".{name}.partial")
    try:
        if partial.exists() and not resume:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        old = target.with_name(f".{name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as fault:
        raise ModelError(f"model {name!r} cannot be written to {target}: {fault.strerror or fault}") from fault
    finally:
        if not resume:
            shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):
            partial.rmdir()  # nothing was fetched


def write_manifest(folder: Path, name: str, use: str, source: str) -> Manifest:
    """Record every file of ``folder``, as the last step of a pull."""
    files = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST):
        stat = path.stat()
        files[path.name] = FileRecord(sha256_of(path), stat.st_size, stat.st_mtime_ns)
    manifest = Manifest(name, use, source, files)
    text = json.dumps({**asdict(manifest)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", "utf-8")
    return manifest
