"""Where captions go, and what is finished there: a folder of this machine, or any place that fsspec can write to."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from mmstream.core import MmstreamError
from mmstream.journal import Entries, Input, Journal, entry_line
from mmstream.transcription.pieces import WORK_FOLDER

REMOTE_JOURNAL = ".mmstream-journal"  # folder of journal objects, below the output
LINES_PER_OBJECT = 100  # an object is written whole for every line that joins it


class Output(Protocol):
    """A place for captions and pieces of them, with a journal. Names are relative to it. One thread."""

    folder: Path  # where sinks write; what is finished may move on from there

    def open(self) -> None:
        """Read what is finished; everything below needs it.

        Raises:
            MmstreamError: it cannot be written or read, or is in use by another run.
        """

    def done(self, media: Input, settings: str) -> bool:
        """Whether ``media`` was finished with these settings and all that came of it is still there."""

    def finish(self, media: Input, settings: str, names: Sequence[str]) -> None:
        """Enter ``media`` as finished; ``names`` are whole files in ``folder``.

        Raises:
            MmstreamError: they cannot be put in their place, or the journal cannot be written.
        """

    def bring(self, name: str) -> Path:
        """A finished file, on this machine.

        Raises:
            MmstreamError: it cannot be read.
        """

    def drop(self, session: str) -> None:
        """Remove the pieces of a file, which are of no more use."""

    def close(self) -> None:
        """Let another run write here."""


def output_at(where: str) -> Output:
    """The folder or URL called ``where``; nothing is made or read there yet.

    Raises:
        MmstreamError: it is a file, or a URL of a kind that is not known here.
    """
    if "://" not in where:
        return Folder(Path(where))
    if where.startswith(("file://", "local://")):
        return Folder(Path(where.partition("://")[2]))
    return Remote(where)


class Folder:
    """A folder of this machine: an ``Output``. Its journal is locked, so that a second run is told so."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise MmstreamError(f"--output {folder}: is a file; captions go into a folder")
        self.folder = folder
        self._opened: Journal | None = None

    def open(self) -> None:
        self._opened = Journal(self.folder)

    @property
    def _journal(self) -> Journal:
        assert self._opened is not None
        return self._opened

    def done(self, media: Input, settings: str) -> bool:
        return self._journal.done(media, settings)

    def finish(self, media: Input, settings: str, names: Sequence[str]) -> None:
        self._journal.add(media, settings, [self.folder / name for name in names])

    def bring(self, name: str) -> Path:
        return self.folder / name

    def drop(self, session: str) -> None:
        _remove_pieces(self.folder, session)

    def close(self) -> None:
        folders = [path for path in (self.folder / WORK_FOLDER).rglob("*") if path.is_dir()]
        for path in [*sorted(folders, reverse=True), self.folder / WORK_FOLDER]:
            with contextlib.suppress(OSError):  # it holds pieces, or was never made
                path.rmdir()
        if self._opened is not None:
            self._opened.close()


class Remote:
    """A place behind a URL: an ``Output``. Files are written on this machine and put there whole.

    Its journal is a folder of objects with the lines of ``Journal``, up to ``LINES_PER_OBJECT`` in each, named by the
    time at which they were begun. Nothing there can be locked: two runs at a time do work twice.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        from fsspec.core import url_to_fs  # here: other commands start without it

        with _told(f"--output {url}"):
            self._files, root = url_to_fs(url)
        self._root = str(root).rstrip("/")
        self._names: set[str] = set()  # of everything there but pieces
        self._pieces: set[str] = set()
        self._entries = Entries()
        self._lines: list[str] = []  # of the journal object that is being filled
        self._filling = ""  # its name
        self._temporary = tempfile.TemporaryDirectory(prefix="mmstream-")
        self.folder = Path(self._temporary.name)

    def open(self) -> None:
        with _told(f"--output {self.url}"):
            if self._files.isfile(self._root):
                raise MmstreamError("is a file; captions go into a folder")
            for path in self._files.find(self._root) if self._files.exists(self._root) else []:
                name = str(path).removeprefix(self._root).lstrip("/")
                (self._pieces if name.startswith(f"{WORK_FOLDER}/") else self._names).add(name)
        for name in sorted(self._names):
            if name.startswith(f"{REMOTE_JOURNAL}/"):
                with _told(f"{self.url}: {name}"):
                    self._entries.read(self._files.cat_file(self._path(name)))

    def done(self, media: Input, settings: str) -> bool:
        outputs = self._entries.outputs(media, settings)
        return outputs is not None and all(name in self._names or name in self._pieces for name in outputs)

    def finish(self, media: Input, settings: str, names: Sequence[str]) -> None:
        for name in names:
            with _told(f"{self.url}: {name}"):
                self._files.makedirs(self._path(str(PurePosixPath(name).parent)), exist_ok=True)
                self._files.put_file(str(self.folder / name), self._path(name))
            if name.startswith(f"{WORK_FOLDER}/"):
                self._pieces.add(name)
            else:
                self._names.add(name)
                (self.folder / name).unlink()
        self._note(entry_line(media, settings, names))
        self._entries.enter(media, settings, names)

    def bring(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            with _told(f"{self.url}: {name}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(self._path(name), str(path))
        return path

    def drop(self, session: str) -> None:
        _remove_pieces(self.folder, session)
        there = [name for name in self._pieces if PurePosixPath(name).parent == PurePosixPath(WORK_FOLDER, session)]
        with contextlib.suppress(MmstreamError), _told(self.url):  # what stays is in nobody's way
            for name in there:
                self._files.rm_file(self._path(name))
                self._pieces.discard(name)

    def close(self) -> None:
        self._temporary.cleanup()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _note(self, line: str) -> None:
        if not self._lines or len(self._lines) == LINES_PER_OBJECT:
            self._lines, self._filling = [], f"{REMOTE_JOURNAL}/{time.time_ns():020d}.jsonl"
        with _told(f"{self.url}: {self._filling}"):
            self._files.makedirs(self._path(REMOTE_JOURNAL), exist_ok=True)
            self._files.pipe_file(self._path(self._filling), "".join([*self._lines, line]).encode())
        self._lines.append(line)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever a backend raises as one line about ``what``: each has exceptions of its own."""
    try:
        yield
    except Exception as fault:
        said = str(getattr(fault, "strerror", None) or fault or type(fault).__name__).splitlines()
        raise MmstreamError(f"{what}: {said[0] if said else type(fault).__name__}") from fault


def _remove_pieces(folder: Path, session: str) -> None:
    """What ``Keep`` wrote for a file and its pieces, or began to. What cannot be removed is in nobody's way."""
    work = folder / WORK_FOLDER
    for path in (work / f"{session}.jsonl", *(work / session).glob("*.jsonl"), *(work / session).glob(".*.partial")):
        if path.is_file():
            with contextlib.suppress(OSError):
                path.unlink()
