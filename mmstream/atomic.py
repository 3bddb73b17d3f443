"""Text files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

from mmstream.core import MmstreamError


class AtomicFile:
    """A UTF-8 text file that takes its name only in ``commit``. For one thread.

    It grows as ``.NAME.partial`` in the same folder, locked, so that a second writer of the same file is told so,
    in whatever process it runs, and what a killed process left behind is taken over. Parent folders are made.
    Every fault is a ``MmstreamError`` that names the file, and leaves nothing half-written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self._stream: TextIO | None = None
        try:
            if path.exists() and not path.is_file():
                raise MmstreamError(f"{path}: cannot be written: it is a folder or a device")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = _open_locked(self.partial)
        except BlockingIOError as fault:
            raise MmstreamError(f"{path}: is being written by another session or process") from fault
        except OSError as fault:
            raise self._cannot_write(fault) from fault

    def write(self, text: str) -> None:
        """Add text. After a fault nothing of the file is left, and further writes raise ValueError."""
        try:
            self._open_stream().write(text)
        except OSError as fault:
            self.discard()
            raise self._cannot_write(fault) from fault

    def commit(self) -> None:
        """Put the file in place of what stood there before, safe against loss of power."""
        stream = self._open_stream()
        try:
            stream.flush()
            os.fsync(stream.fileno())
            self.partial.replace(self.path)  # before closing: the lock keeps other writers away until then
            sync_folder(self.path.parent)
        except OSError as fault:
            self.discard()
            raise self._cannot_write(fault) from fault
        self._stream = None
        stream.close()

    def discard(self) -> None:
        """Leave nothing. Does nothing once the file is committed or discarded."""
        if self._stream is None:
            return
        with contextlib.suppress(OSError):
            self.partial.unlink()
        with contextlib.suppress(OSError):  # a full disk: what is still buffered cannot be written either
            self._stream.close()
        self._stream = None

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _open_stream(self) -> TextIO:
        if self._stream is None:
            raise ValueError(f"{self.path}: already committed or discarded")
        return self._stream

    def _cannot_write(self, fault: OSError) -> MmstreamError:
        elsewhere = fault.filename is not None and Path(fault.filename) not in (self.path, self.partial)
        where = f"{fault.filename}: " if elsewhere else ""
        return MmstreamError(f"{self.path}: cannot be written: {where}{fault.strerror or fault}")


def sync_folder(folder: Path) -> None:
    """Make names that were added to ``folder`` safe against loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> TextIO:
    """``path`` made or emptied, and locked; BlockingIOError where another open file holds the lock.

    The holder of the lock may have renamed the file between our opening and our locking it: then what we hold
    is no longer ``path``, and we begin again.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                os.ftruncate(descriptor, 0)
                # A name that is not valid Unicode (an undecodable file name) comes out escaped, as JSON allows.
                return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
