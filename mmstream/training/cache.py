"""Manifests -> cached corpora, made once by the very operators that run live, so that training sees what they give.

A cache is a folder named after its manifest and a fingerprint of all that decides what is in it: change a clip, a
text or a setting, and another one is made. It appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError
from mmstream.evaluation.manifest import Entry, read_manifest
from mmstream.evaluation.normalise import normalise
from mmstream.training.corpus import Corpus
from mmstream.training.features import Clipped, check_operators, read_clip

FORMAT = 1  # goes into the fingerprint: raise it when what operators give changes
AHEAD = 8  # clips that each process may be ahead of the writer

Advance = Callable[[int, int], None]  # clips done, clips in all
Warn = Callable[[str], None]


class Wanted(NamedTuple):
    """Which clips of a manifest to cache, and how."""

    name: str  # in messages
    label: str  # begins the folder's name
    entries: Sequence[Entry]
    video: bool
    skip_unreadable: bool
    characters: str  # that texts may hold; empty: texts do not matter


@dataclass(frozen=True, slots=True)
class _Read:
    """One clip, or why there is none."""

    clip: Clipped | None
    fault: str = ""


def selected(manifest: Path, select: str, limit: int | None) -> list[Entry]:
    """The entries of a manifest whose media, relative to it, matches ``select``; the first ``limit`` of them.

    Raises:
        MmstreamError: the manifest is missing, empty or wrong, or nothing in it matches.
    """
    entries = read_manifest(manifest)
    if select:
        folder = manifest.parent
        entries = [one for one in entries if fnmatch(one.media.relative_to(folder).as_posix(), select)]
        if not entries:
            raise MmstreamError(f"{manifest}: no media in it matches {select!r}")
    return entries[:limit]


def recordings(folder: Path, select: str) -> list[Entry]:
    """Every file of ``folder`` whose name matches ``select``, as entries without text.

    Raises:
        MmstreamError: none does.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file() and fnmatch(path.name, select))
    if not paths:
        raise MmstreamError(f"{folder}: no file in it matches {select!r}")
    return [Entry(media=path, text="") for path in paths]


def cached(wanted: Wanted, folder: Path, *, processes: int, advance: Advance, warn: Warn) -> Corpus:
    """The corpus of ``wanted``, made below ``folder`` where it is not there yet.

    Raises:
        MmstreamError: media cannot be used, and is not to be skipped; the disk is full; another process makes it.
    """
    target = folder / f"{wanted.label}-{fingerprint(wanted)}"
    if not target.is_dir():
        try:
            with _locked(target):
                if not target.is_dir():  # another process may just have made it
                    _make(wanted, target, processes, advance, warn)
        except OSError as fault:
            raise MmstreamError(f"{target}: cannot be written: {fault.strerror or fault}") from fault
    corpus = Corpus(target)
    if not corpus.clips:
        raise MmstreamError(f"{wanted.name}: none of its {len(wanted.entries)} clips could be used")
    return corpus


def fingerprint(wanted: Wanted) -> str:
    """Twelve hexadecimal digits of everything that decides what is in a cache."""
    digest = hashlib.sha256()
    settings = {"format": FORMAT, "video": wanted.video, "skip": wanted.skip_unreadable, "of": wanted.characters}
    digest.update(json.dumps(settings).encode())
    for entry in wanted.entries:
        try:
            stat = entry.media.stat()
        except OSError as fault:
            raise MmstreamError(f"{entry.media}: {fault.strerror}") from fault
        words = [[word.text, word.start, word.end] for word in entry.words or ()]
        line = [str(entry.media.resolve()), stat.st_size, stat.st_mtime_ns, entry.text, words]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    """No other process makes ``target`` meanwhile. The lock ends with this process, however it ends."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise MmstreamError(f"{target}: is being made by another process; wait until it has ended") from fault
        yield


def _make(wanted: Wanted, target: Path, processes: int, advance: Advance, warn: Warn) -> None:
    check_operators(video=wanted.video)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        with contextlib.closing(_read_all(wanted, processes)) as clips:
            _write(wanted, clips, partial, advance, warn)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_all(wanted: Wanted, processes: int) -> Generator[_Read, None, None]:
    """Every clip, in order, read by several processes that never run far ahead."""
    jobs = [(str(entry.media), wanted.video) for entry in wanted.entries]
    if processes <= 1:
        yield from map(_read, jobs)
        return
    # Forked processes would inherit torch's threads, which do not survive it.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        waiting = iter(jobs)
        pending = deque(pool.submit(_read, job) for job in itertools.islice(waiting, processes * AHEAD))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(_read, job) for job in itertools.islice(waiting, 1))
    except BrokenProcessPool as fault:
        raise MmstreamError("a process that read clips was killed, perhaps for want of memory") from fault
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(job: tuple[str, bool]) -> _Read:
    path, video = job
    try:
        return _Read(read_clip(path, video=video))
    except MmstreamError as fault:
        return _Read(None, str(fault))


def _write(wanted: Wanted, clips: Iterable[_Read], folder: Path, advance: Advance, warn: Warn) -> None:
    audio_at = video_at = skipped = 0
    with contextlib.ExitStack() as stack:
        sound, crops, quality = (
            stack.enter_context((folder / name).open("wb")) for name in ("audio.i16", "crops.u8", "quality.f32")
        )
        index = stack.enter_context((folder / "index.jsonl").open("w", encoding="utf-8"))
        for done, (entry, read) in enumerate(zip(wanted.entries, clips, strict=True), start=1):
            advance(done, len(wanted.entries))
            fault = read.fault or _unwritable(entry.text, wanted.characters)
            if fault:
                if not wanted.skip_unreadable:
                    raise MmstreamError(f"{_naming(entry.media, fault)}; skip_unreadable: true leaves it out")
                warn(f"left out: {_naming(entry.media, fault)}")
                skipped += 1
                continue
            assert read.clip is not None
            index.write(json.dumps(_line(entry, read.clip, audio_at, video_at)) + "\n")
            _append(sound, read.clip.sound)
            _append(crops, read.clip.crops)
            _append(quality, read.clip.quality)
            audio_at, video_at = audio_at + len(read.clip.sound), video_at + len(read.clip.crops)
        for file in (sound, crops, quality, index):
            file.flush()
            os.fsync(file.fileno())
    if skipped:
        warn(f"{wanted.name}: {skipped} of {len(wanted.entries)} clips left out")


def _line(entry: Entry, clip: Clipped, audio_at: int, video_at: int) -> dict[str, Any]:
    return {
        "text": normalise(entry.text),
        "words": [[normalise(word.text), word.start, word.end] for word in entry.words or ()],
        "audio_at": audio_at,
        "samples": len(clip.sound),
        "video_at": video_at,
        "crops": len(clip.crops),
    }


def _append(file: BinaryIO, values: NDArray[Any]) -> None:
    file.write(np.ascontiguousarray(values).tobytes())


def _unwritable(text: str, characters: str) -> str:
    if not characters:
        return ""
    strange = sorted(set(normalise(text)) - set(characters))
    if strange:
        return f"its text holds {strange[0]!r}, which the net has no character for: {text[:60]!r}"
    return "" if normalise(text) else "its text holds no word"


def _naming(media: Path, fault: str) -> str:
    return fault if str(media) in fault else f"{media}: {fault}"
