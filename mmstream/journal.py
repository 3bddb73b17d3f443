"""The record of what ``mmstream transcribe`` has finished in a folder, so that a later run goes on from there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mmstream.atomic import sync_folder
from mmstream.core import MmstreamError

JOURNAL_NAME = ".mmstream-journal.jsonl"


@dataclass(frozen=True)
class Input:
    """A media file as it was when work on it began; once it has changed it is another input."""

    path: str  # absolute
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Input:
        """The file at ``path`` as it is now. Take it before work on the file begins."""
        try:
            found = path.stat()
        except OSError as fault:
            raise MmstreamError(f"{path}: {fault.strerror or fault}") from fault
        return cls(str(path.resolve()), found.st_size, found.st_mtime_ns)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short name for the settings of a run (model, formats, options): other settings, other name."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Entries:
    """Finished inputs, each with its settings and outputs, as lines of JSON tell them. The last line wins."""

    def __init__(self) -> None:
        self._outputs: dict[tuple[Input, str], tuple[str, ...]] = {}
        self._made_by: dict[str, tuple[Input, str]] = {}  # output -> what it was made from last

    def outputs(self, media: Input, settings: str) -> tuple[str, ...] | None:
        """What came of ``media`` with these settings; None where that is nothing, or was made anew from another."""
        outputs = self._outputs.get((media, settings))
        if outputs is None or any(self._made_by[output] != (media, settings) for output in outputs):
            return None
        return outputs

    def enter(self, media: Input, settings: str, outputs: Sequence[str]) -> None:
        self._outputs[media, settings] = tuple(outputs)
        for output in outputs:
            self._made_by[output] = (media, settings)

    def read(self, content: bytes) -> None:
        """Enter what ``entry_line`` has written; a line that makes no sense counts for nothing."""
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                fields = entry["input"]
                media = Input(str(fields["path"]), int(fields["size"]), int(fields["mtime_ns"]))
                self.enter(media, str(entry["settings"]), tuple(map(str, entry["outputs"])))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                continue


def entry_line(media: Input, settings: str, outputs: Sequence[str]) -> str:
    """One line of a journal."""
    return json.dumps({"input": asdict(media), "settings": settings, "outputs": outputs}) + "\n"


class Journal:
    """What is done in one output folder: a JSON line per finished input, on the disk before ``add`` returns.

    A folder has one journal open at a time, in whatever process. A line that cannot be read, such as one cut
    short by a kill, counts for nothing: its file is done again. Files that failed are not entered. One thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL_NAME
        self._entries = Entries()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as fault:
            raise MmstreamError(f"{folder}: cannot keep a journal: {fault.strerror or fault}") from fault
        try:
            self._lock()
            self._read()
            sync_folder(folder)
        except BaseException:
            self.close()
            raise

    def done(self, media: Input, settings: str) -> bool:
        """Whether ``media`` was finished with these settings and all that came of it is still there."""
        outputs = self._entries.outputs(media, settings)
        return outputs is not None and all((self.folder / output).is_file() for output in outputs)

    def add(self, media: Input, settings: str, outputs: Sequence[Path]) -> None:
        """Enter ``media`` as finished. ``outputs`` are complete files."""
        names = tuple(os.path.relpath(output, self.folder) for output in outputs)
        before = os.fstat(self._descriptor).st_size
        try:
            _write_all(self._descriptor, entry_line(media, settings, names).encode())
            os.fsync(self._descriptor)
        except OSError as fault:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)  # the next line must not join half a one
            raise MmstreamError(f"{self.path}: cannot be written: {fault.strerror or fault}") from fault
        self._entries.enter(media, settings, names)

    def close(self) -> None:
        """Let another run have the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            raise MmstreamError(
                f"{self.folder}: another run is writing here; wait for its end or choose another output folder"
            ) from fault
        except OSError as fault:
            raise MmstreamError(f"{self.path}: cannot be locked: {fault.strerror or fault}") from fault

    def _read(self) -> None:
        try:
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):  # cut short: what is added must not join it
                os.ftruncate(self._descriptor, whole)
        except OSError as fault:
            raise MmstreamError(f"{self.path}: cannot be read: {fault.strerror or fault}") from fault
        self._entries.read(content[:whole])


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
