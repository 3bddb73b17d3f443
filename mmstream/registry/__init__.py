"""Models by name. ``resolve`` finds one on this machine and says which operator loads it; ``pull`` brings one here.

Nothing is ever fetched but by ``pull``. ``auto`` takes the best recogniser that is here and that this machine can
run in real time.
"""

from __future__ import annotations

import base64
import ctypes
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mmstream import weights
from mmstream.core import Before
from mmstream.pipeline.classes import find as find_class
from mmstream.registry import formats, hub, store
from mmstream.registry.catalogue import ALIASES, AVSR, CATALOGUE, TRANSLATE, WHISPER, Entry, known
from mmstream.registry.store import ModelError, home
from mmstream.spelling import did_you_mean

__all__ = [
    "CATALOGUE",
    "Entry",
    "Model",
    "ModelError",
    "Status",
    "absent",
    "find",
    "gpu_count",
    "home",
    "is_path",
    "pull",
    "pulled_names",
    "resolve",
    "statuses",
    "store",
    "verify",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Whisper encodes a window of 30 s for every step, so a CPU keeps up with small models only.
_CPU_MEGABYTES = 150
_MANY_CORES = 8
_MANY_CORES_MEGABYTES = 500


@dataclass(frozen=True)
class Model:
    """A model that is on this machine, and the node that runs it: ``use`` with ``arguments``."""

    name: str
    use: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    reason: str = ""  # why ``auto`` took it, for people

    @property
    def commit(self) -> Mapping[str, Any]:
        """Arguments of ``operators.policies:Commit`` that suit how the recogniser revises its hypotheses.

        The recogniser's class says so itself, in ``commit``.
        """
        suits: Mapping[str, Any] = getattr(find_class(self.use), "commit", {})
        return suits

    @property
    def before(self) -> Before:
        """The nodes that its operator needs in front of it, where speech alone will not do: the class's ``before``."""
        nodes: Before = getattr(find_class(self.use), "before", {})
        return nodes

    @property
    def media(self) -> tuple[str, ...]:
        """What it recognises from: ``audio``, and ``video`` where it looks."""
        return ("audio", "video") if self.before else ("audio",)

    def arguments_for(self, *, watched: bool) -> Mapping[str, Any]:
        """Arguments of the operator: its class's own for people who watch, or for files at full speed, then these."""
        suits: Mapping[str, Any] = getattr(find_class(self.use), "watched" if watched else "unwatched", {})
        return {**suits, **self.arguments}

    def with_arguments(self, **arguments: Any) -> Model:
        """The same model, its operator built with further arguments."""
        return replace(self, arguments={**self.arguments, **arguments})

    def describe(self) -> str:
        """The model in one line, with why it was taken."""
        return f"{self.name} ({self.reason})" if self.reason else self.name


@dataclass(frozen=True, slots=True)
class Status:
    """A model of the catalogue or the store, and where it is on this machine."""

    name: str
    task: str
    languages: str
    megabytes: int
    licence: str
    where: Literal["wheel", "pulled", "cache", "damaged", ""]  # empty: not on this machine


def resolve(name: str = "auto", language: str | None = None) -> Model:
    """The recogniser of that name, or the one in a folder: ``auto``, ``sphinx``, ``whisper-base.en``, a path.

    ``language`` (BCP-47) keeps ``auto`` from models that do not know it; None means English.

    Raises:
        ModelError: it is unknown, not on this machine, damaged, or needs a package that is not installed.
    """
    if name == "auto":
        return _best(language)
    entry = known(name)
    if entry is None and name not in store.pulled():
        if is_path(name):
            folder = Path(name).expanduser()
            if (folder / "weights.safetensors").is_file():  # what `mmstream export` writes
                return Model(folder.name, AVSR, {"model": str(folder)}, folder)
            if formats.is_translator(folder):
                raise ModelError(f"{folder} holds a model for translation, not for recognition")
            formats.check_whisper(folder)
            _need_whisper(name)
            return Model(folder.name, WHISPER, {"model": str(folder)}, folder)
        names = ["auto", *(one.name for one in CATALOGUE.values() if one.task == "recognition"), *ALIASES]
        near = did_you_mean(name, dict.fromkeys([*names, *store.pulled()]))
        near = near or f"; see mmstream models list, or write a folder as a path: ./{name}"
        raise ModelError(f"there is no model {name!r}{near}")
    if entry is not None and entry.task != "recognition":
        raise ModelError(f"model {name!r} is for {entry.task}, not for recognition")
    found = find(name)
    if found is None:
        raise ModelError(absent(name, entry))
    if found.use == TRANSLATE:
        raise ModelError(f"model {name!r} is for translation, not for recognition")
    if found.use == WHISPER:
        _need_whisper(name)
    return found


def find(name: str) -> Model | None:
    """The model of that name where it is on this machine; pulled ones first, then the hub's cache.

    Raises:
        ModelError: it was pulled and is damaged.
    """
    entry = known(name)
    if entry is not None and entry.comes != "hub":
        folder = _installed_folder(entry)
        return Model(entry.name, entry.use, {}, folder) if folder is not None else None
    stored = entry.name if entry is not None else name
    if stored in store.pulled():
        manifest = store.check(stored, fully=False)
        folder = store.folder_of(stored)
        return Model(stored, manifest.use, {"model": str(folder)}, folder)
    if entry is None:
        return None
    folder = hub.cached(entry.place, formats.of_use(entry.use))
    return Model(stored, entry.use, {"model": str(folder)}, folder) if folder is not None else None


def pull(name: str, source: Path | None = None) -> Model:
    """Bring a model into the store, from the Hugging Face hub or from the folder ``source``; whole or not at all.

    A folder may come under a name of the caller's own.

    Raises:
        ModelError: no such model, no connection, a wrong checksum, a full disk.
    """
    entry = known(name)
    if entry is not None and entry.comes != "hub":
        raise ModelError(f"model {name!r} comes with the package {_distribution(entry)!r}: there is nothing to pull")
    if entry is None and (source is None or not _NAME.fullmatch(name) or name == "auto"):
        pullable = [one.name for one in CATALOGUE.values() if one.comes == "hub"]
        raise ModelError(f"there is no model {name!r} to pull{did_you_mean(name, [*pullable, *ALIASES], 'known are')}")
    stored = entry.name if entry is not None else name
    source = None if source is None else source.expanduser()
    kind = formats.of_use(entry.use) if entry is not None else formats.of_folder(source or Path())
    with store.replacing(stored, resume=source is None) as folder:
        if source is not None:
            kind.copy(source, folder, stored)
            origin = f"folder {source.resolve()}"
        else:
            assert entry is not None
            origin = f"hub {entry.place}@{hub.fetch(entry.place, folder, kind)}"
        kind.check(folder, stored)
        store.write_manifest(folder, stored, kind.use, origin)
    path = store.folder_of(stored)
    store.check(stored, fully=True)
    return Model(stored, kind.use, {"model": str(path)}, path)


def pulled_names() -> list[str]:
    """The models in the store."""
    return store.pulled()


def verify(name: str) -> int:
    """Hash every file of a model that is on this machine; gives how many.

    Raises:
        ModelError: it is not here, or naming the file that is missing or wrong.
    """
    entry = known(name)
    stored = entry.name if entry is not None else name
    if entry is not None and entry.comes == "package":
        return _verify_shipped(entry)
    if entry is not None and entry.comes == "wheel":
        return _verify_wheel(entry)
    if stored in store.pulled():
        return len(store.check(stored, fully=True).files)
    if entry is not None and hub.cached(entry.place, formats.of_use(entry.use)) is not None:
        raise ModelError(
            f"model {name!r} is in the hub's cache, which has no checksums: run mmstream models pull {name}"
        )
    raise ModelError(absent(name, entry))


def statuses() -> list[Status]:
    """Every model of the catalogue, then those that were pulled under names of the user's own."""
    found = [
        Status(one.name, one.task, one.languages, one.megabytes, one.licence, _where(one.name))
        for one in CATALOGUE.values()
    ]
    for name in store.pulled():
        if name not in CATALOGUE:
            where = _where(name)
            manifest = None if where == "damaged" else store.read_manifest(name)
            size = 0 if manifest is None else manifest.size
            task = "translation" if manifest is not None and manifest.use == TRANSLATE else "recognition"
            found.append(Status(name, task, "?", round(size / 1e6), "?", where))
    return found


def _where(name: str) -> Literal["wheel", "pulled", "cache", "damaged", ""]:
    try:
        model = find(name)
    except ModelError:
        return "damaged"
    if model is None:
        return ""
    entry = known(name)
    if entry is not None and entry.comes != "hub":
        return "wheel"
    return "pulled" if name in store.pulled() else "cache"


def gpu_count() -> int:
    """CUDA devices, asked of the driver: importing torch for it would take seconds."""
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        count = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def _best(language: str | None) -> Model:
    """The recogniser of the highest rank that is here, whole, knows the language and keeps up."""
    english = language is None or language.lower().partition("-")[0] == "en"
    ranked = sorted((one for one in CATALOGUE.values() if one.task == "recognition"), key=lambda one: -one.rank)
    bound, machine = _bound()
    passed_over = []
    for entry in ranked:
        if not (english or entry.languages == "many") or (entry.use == WHISPER and not _has_whisper()):
            continue
        found = find(entry.name)
        if found is None:
            continue
        if entry.use == WHISPER and entry.megabytes > bound:
            passed_over.append(entry.name)
            continue
        reason = "the best recogniser on this machine"
        if passed_over:
            reason += f" that keeps up on {machine}; by name there is also {', '.join(passed_over)}"
        return Model(found.name, found.use, found.arguments, found.path, reason)
    if passed_over:
        raise ModelError(f"no model here keeps up on {machine}; ask by name for one of {', '.join(passed_over)}")
    if not english:
        raise ModelError(
            f"no model on this machine knows the language {language!r}: run mmstream models pull whisper-base"
        )
    raise ModelError("no recogniser is on this machine: run python -m pip install pocketsphinx")


def _bound() -> tuple[float, str]:
    """The largest Whisper model that keeps up, in MB, and the machine in words."""
    if gpu_count():
        return float("inf"), "a GPU"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (_MANY_CORES_MEGABYTES if cores >= _MANY_CORES else _CPU_MEGABYTES), f"{cores} CPU cores"


def is_path(name: str) -> bool:
    """Whether a model's name is meant as a folder."""
    return "/" in name or os.sep in name or name.startswith(("~", ".")) or Path(name).is_dir()


def absent(name: str, entry: Entry | None) -> str:
    """Why a model cannot be had, and how it could be."""
    if entry is not None and entry.comes != "hub":
        return f"model {name!r} is not on this machine: run python -m pip install {_distribution(entry)}"
    if entry is None:
        return f"there is no model {name!r}{did_you_mean(name, [*CATALOGUE, *store.pulled()], 'known are')}"
    return f"model {name!r} ({entry.megabytes:,} MB) is not on this machine: run mmstream models pull {entry.name}"


def _has_whisper() -> bool:
    return importlib.util.find_spec("faster_whisper") is not None


def _need_whisper(name: str) -> None:
    if not _has_whisper():
        raise ModelError(f"model {name!r} needs faster-whisper, which is not installed: run {hub.MEND}")


def _distribution(entry: Entry) -> str:
    return "mmstream" if entry.comes == "package" else entry.place.partition(":")[0]


def _installed_folder(entry: Entry) -> Path | None:
    """Where a model lies that came with a package, ours or another."""
    if entry.comes == "package":
        return weights.SHIPPED / entry.place if (weights.SHIPPED / entry.place).is_dir() else None
    distribution, _, inside = entry.place.partition(":")
    try:
        folder = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def _verify_shipped(entry: Entry) -> int:
    """Load the weights that ship, or hash them: checksums are looked at by either."""
    folder = _installed_folder(entry)
    if folder is None:
        raise ModelError(absent(entry.name, entry))
    if entry.use == TRANSLATE:
        formats.check_translator(folder, entry.name)
    else:
        weights.recogniser(entry.place)
    return sum(path.is_file() for path in folder.iterdir())


def _verify_wheel(entry: Entry) -> int:
    """Compare an installed model with the checksums that its wheel was recorded with."""
    distribution, _, inside = entry.place.partition(":")
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(absent(entry.name, entry)) from None
    count = 0
    for file in files:
        if not file.as_posix().startswith(f"{inside}/") or file.hash is None or file.hash.mode != "sha256":
            continue
        path = Path(str(file.locate()))
        if not path.is_file() or _as_recorded(path) != file.hash.value:
            said = "has the wrong checksum" if path.is_file() else "is missing"
            mend = f"python -m pip install --force-reinstall {distribution}"
            raise ModelError(f"model {entry.name!r}: {path} {said}; {mend}")
        count += 1
    return count


def _as_recorded(path: Path) -> str:
    """A sha256 as wheels write it: base64 without padding."""
    return base64.urlsafe_b64encode(bytes.fromhex(store.sha256_of(path))).rstrip(b"=").decode()
