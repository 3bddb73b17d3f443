"""The table of a process's sessions, put where `mmstream sessions` finds it from another shell or another machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import os
import secrets
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError
from mmstream.sessions import SessionRow

log = logging.getLogger(__name__)

PUBLISH_S = 1.0
JOIN_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Table:
    """What one process has published of its sessions."""

    host: str
    pid: int
    at: float  # wall-clock seconds
    rows: tuple[SessionRow, ...]

    def as_json(self) -> str:
        rows = tuple(replace(row, replicas=dict(row.replicas)) for row in self.rows)
        return json.dumps(asdict(replace(self, rows=rows)))

    @classmethod
    def of_json(cls, text: str) -> Table:
        """The table that ``as_json`` gave.

        Raises:
            ValueError: it is none, or one of another version.
        """
        content = json.loads(text)
        try:
            rows = tuple(SessionRow(**row) for row in content.pop("rows"))
            return cls(**content, rows=rows)
        except (AttributeError, KeyError, TypeError) as fault:
            raise ValueError(f"not a table of sessions: {fault}") from fault


class Shelf(Protocol):
    """Where processes put their tables. Every method raises MmstreamError where the shelf cannot be reached."""

    lasts_s: float  # a table that was put there longer ago is of a process that has gone

    def put(self, key: str, text: str) -> None:
        """Keep ``text`` in place of what was there."""

    def drop(self, key: str) -> None:
        """Keep it no longer."""

    def texts(self) -> dict[str, str]:
        """All that is kept, by key."""


class Folder:
    """A shelf for the processes of one user on one machine. Tables of processes that have gone are removed.

    Beside every table lies a file that its process keeps locked: so one that was killed is told from one that runs,
    even where another has its number by now.
    """

    lasts_s = math.inf

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or runtime_folder()
        self._locks: dict[str, int] = {}  # key -> file descriptor

    def put(self, key: str, text: str) -> None:
        try:
            _make_private(self.path)
            if key not in self._locks:
                self._locks[key] = os.open(self._lock(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._locks[key], fcntl.LOCK_EX)
            partial = self.path / f"{key}.partial"
            partial.write_text(text)
            partial.replace(self.path / f"{key}.json")
        except OSError as fault:
            raise MmstreamError(f"{self.path}: cannot be written: {fault.strerror or fault}") from fault

    def drop(self, key: str) -> None:
        self._remove(key)
        if key in self._locks:
            os.close(self._locks.pop(key))

    def texts(self) -> dict[str, str]:
        found = {}
        try:
            if self.path.is_dir():
                _make_private(self.path)
            for path in sorted(self.path.glob("*.json")):
                if self._is_held(path.stem):
                    with contextlib.suppress(FileNotFoundError):  # its process has ended just now
                        found[path.stem] = path.read_text()
                else:
                    self._remove(path.stem)
        except OSError as fault:
            raise MmstreamError(f"{self.path}: cannot be read: {fault.strerror or fault}") from fault
        return found

    def _lock(self, key: str) -> Path:
        return self.path / f"{key}.lock"

    def _is_held(self, key: str) -> bool:
        """Whether the process that put it there still runs."""
        try:
            descriptor = os.open(self._lock(key), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _remove(self, key: str) -> None:
        for path in (self.path / f"{key}.json", self.path / f"{key}.partial", self._lock(key)):
            with contextlib.suppress(OSError):
                path.unlink()


def runtime_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the processes of this user meet."""
    given = environment.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():  # after `su` it may name a folder that was never made
        return Path(given, "mmstream")
    return Path(tempfile.gettempdir(), f"mmstream-{os.getuid()}")


def _make_private(folder: Path) -> None:
    """Make a folder for this user alone.

    Raises:
        MmstreamError: others may get at what stands there.
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise MmstreamError(f"{folder}: is not a folder of this user alone; remove it, or set XDG_RUNTIME_DIR")


def cluster_is_named(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether RAY_ADDRESS names a cluster to join, rather than nothing or one of its own."""
    return environment.get("RAY_ADDRESS", "local") not in ("", "local")


class Board:
    """Publishes the sessions of this process once a second, from a thread of its own, while a ``with`` block runs.

    A shelf that fails is told once, and stops nothing.
    """

    def __init__(
        self, rows: Callable[[], Sequence[SessionRow]], shelves: Sequence[Shelf], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._rows = rows
        self._shelves = list(shelves)
        self._clock = clock
        self._host = socket.gethostname()
        self._key = f"{self._host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mmstream-board", daemon=True)

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._closing.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._publish()
            while not self._clock.wait(PUBLISH_S, self._closing):
                self._publish()
        finally:
            self._each(lambda shelf: shelf.drop(self._key))

    def _publish(self) -> None:
        text = Table(self._host, os.getpid(), self._clock.now(), tuple(self._rows())).as_json()
        self._each(lambda shelf: shelf.put(self._key, text))

    def _each(self, act: Callable[[Shelf], None]) -> None:
        for shelf in tuple(self._shelves):
            try:
                act(shelf)
            except MmstreamError as error:
                self._shelves.remove(shelf)
                log.warning("`mmstream sessions` will not show this process: %s", error)


def published(shelves: Iterable[Shelf], clock: Clock = SYSTEM_CLOCK) -> list[Table]:
    """The tables of all processes that run, each once; those that are stale are removed.

    Raises:
        MmstreamError: a shelf cannot be read.
    """
    found: dict[str, Table] = {}
    for shelf in shelves:
        for key, text in shelf.texts().items():
            try:
                table = Table.of_json(text)
            except ValueError as fault:
                log.warning("%s: %s", key, fault)
                continue
            if clock.now() - table.at > shelf.lasts_s:
                shelf.drop(key)  # a process that was only late puts it there again
            else:
                found.setdefault(key, table)
    return list(found.values())


def plain(table: Table, row: SessionRow) -> dict[str, Any]:
    """A row with its process, for machines."""
    return {"host": table.host, "pid": table.pid, **asdict(row)}
