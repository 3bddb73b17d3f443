"""The Hugging Face hub: models in its cache on this machine, and fetching them when asked to."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

from mmstream.registry.formats import Format
from mmstream.registry.store import ModelError, sha256_of

MEND = "python -m pip install 'mmstream[whisper]'"


def is_installed() -> bool:
    return importlib.util.find_spec("huggingface_hub") is not None


def cached(repository: str, kind: Format) -> Path | None:
    """The folder of a model that the hub's cache on this machine holds whole; nothing is fetched."""
    if not is_installed():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.bin")
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and not kind.missing(folder) else None


def fetch(repository: str, folder: Path, kind: Format) -> str:
    """Fetch a model into ``folder``, going on where an earlier attempt stopped; gives the revision.

    Every file is compared with the checksum under which the hub keeps it.

    Raises:
        ModelError: the hub cannot be reached, has no such model, or sent something else than it promised.
    """
    if not is_installed():
        raise ModelError(f"fetching models needs huggingface_hub: run {MEND}")
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(repository, local_dir=folder, allow_patterns=list(kind.files))
    except Exception as fault:
        # Its versions raise the exceptions of different HTTP libraries; all mean that nothing could be fetched.
        cause = fault.__cause__ or fault
        said = " ".join(str(cause).split()).partition(" For more information")[0] or type(cause).__name__
        raise ModelError(_failed(repository, said)) from fault
    missing = kind.missing(folder)
    if missing:  # without a connection the client is content with whatever lies in the folder
        raise ModelError(_failed(repository, f"{', '.join(missing)} did not arrive"))
    revision = _compare(repository, folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return revision


def _failed(repository: str, said: str) -> str:
    return (
        f"{repository} cannot be fetched from the Hugging Face hub: {said.rstrip('.')}; "
        "a model that you have as a folder comes with --from FOLDER"
    )


def _compare(repository: str, folder: Path) -> str:
    """Hash what arrived. The client notes for each file the revision and the hub's checksum of it, line by line."""
    revision = ""
    for note in sorted((folder / ".cache" / "huggingface" / "download").glob("*.metadata")):
        path = folder / note.name.removesuffix(".metadata")
        revision, checksum = note.read_text("utf-8").split("\n")[:2]
        if path.is_file() and _digest(path, checksum) != checksum:
            path.unlink()
            note.unlink()
            raise ModelError(f"{repository}: {path.name} arrived with the wrong checksum; try again")
    return revision


def _digest(path: Path, like: str) -> str:
    """The sha256 of a large file, or git's name for a small one, whichever ``like`` is."""
    if len(like) == 64:
        return sha256_of(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
