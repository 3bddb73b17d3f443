"""Many files through one graph: which files, under which names, a few sessions at a time, one result each."""

from __future__ import annotations

import stat
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError
from mmstream.executors import Executor

# What ffmpeg commonly reads and people keep speech in; a file named on the command line may end in anything.
MEDIA_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3gp aac ac3 aif aiff amr asf au avi caf flac flv m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg mts "
        "m2ts mxf oga ogg ogv opus ra spx ts vob wav webm wma wmv wv"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Job:
    """One media file and the name of its session, which its outputs are named after."""

    media: Path
    name: str  # may hold folders: "s11/bbae2n"
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the source, beside its path


@dataclass(frozen=True, slots=True)
class Done:
    """How one job ended."""

    job: Job
    error: MmstreamError | None
    wall_s: float


def find_jobs(paths: Iterable[Path]) -> tuple[list[Job], list[MmstreamError]]:
    """The media files among ``paths`` and in folders among them, in order of name, and what cannot be used.

    A file is named after itself, one found in a folder after its place in that folder, without suffix where that
    stays unique.

    Raises:
        MmstreamError: two files would write the same captions.
    """
    found: dict[Path, Path] = {}  # file -> name with suffix
    faults: list[MmstreamError] = []
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as fault:
            absent = isinstance(fault, FileNotFoundError)
            faults.append(MmstreamError(f"{path}: {'there is no such file or folder' if absent else fault.strerror}"))
            continue
        if stat.S_ISDIR(mode):
            inside = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in MEDIA_SUFFIXES and file.is_file()
            )
            for file in inside:
                found.setdefault(file, file.relative_to(path))
            if not inside:
                faults.append(MmstreamError(f"{path}: the folder holds no media files"))
        elif stat.S_ISREG(mode):
            found.setdefault(path, Path(path.name))
        else:
            faults.append(MmstreamError(f"{path}: neither a file nor a folder"))
    return [Job(file, name) for file, name in zip(found, _unique(found), strict=True)], faults


def _unique(found: dict[Path, Path]) -> list[str]:
    """Names without suffix, or with it where two files differ in nothing else."""
    stems = Counter(name.with_suffix("") for name in found.values())
    names = [str(name.with_suffix("") if stems[name.with_suffix("")] == 1 else name) for name in found.values()]
    for name, count in Counter(names).items():
        if count > 1:
            first, second, *_ = (str(file) for file, taken in zip(found, names, strict=True) if taken == name)
            raise MmstreamError(f"{first} and {second} would both write {name!r}: give them different output folders")
    return names


def named(job: Job, error: MmstreamError) -> str:
    """Why the job failed, with the name of its file."""
    text = str(error)
    return text if str(job.media) in text else f"{job.media}: {text}"


@dataclass
class Batch:
    """Runs jobs, at most ``at_once`` at a time. ``results`` may be iterated once; leaving it early aborts the rest."""

    executor: Executor
    source: str  # the node that reads the file
    at_once: int
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the source, beside its path
    running: dict[str, tuple[Job, float]] = field(default_factory=dict)  # session -> job, monotonic start

    def results(self, jobs: Iterable[Job | None], poll_s: float = 0.25) -> Generator[Done | None]:
        """Each job's end, in the order in which they end; None every ``poll_s`` meanwhile, for a progress bar.

        ``jobs`` is asked for the next one when there is room for it. It may give None, after a short wait of its own:
        nothing is ready yet.
        """
        waiting, more = iter(jobs), True
        try:
            while more or self.running:
                while more and len(self.running) < self.at_once:
                    try:
                        job = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    if job is None:
                        break
                    failed = self._begin(job)
                    if failed is not None:
                        yield failed
                result = self.executor.wait(poll_s) if self.running else None
                if result is None:
                    yield None
                    continue
                job, began = self.running.pop(result.session)
                yield Done(job, result.error, time.monotonic() - began)
        finally:
            for session in self.running:
                self.executor.abort(session)

    def _begin(self, job: Job) -> Done | None:
        try:
            self.executor.open(job.name, {self.source: {**self.arguments, **job.arguments, "path": str(job.media)}})
        except MmstreamError as error:
            return Done(job, error, 0.0)
        self.running[job.name] = (job, time.monotonic())
        return None
