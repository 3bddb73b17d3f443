"""Files that clients send: streamed to disk under a quota, in a private folder, and gone with their request.

A form is taken apart as it comes, so that nothing of it lies anywhere else and nothing counts twice.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from mmstream.core import MmstreamError
from mmstream.server.forms import FormTooLarge, MalformedForm, PartData, PartEnd, Parts, PartStart

_PREFIX = "mmstream-uploads-"
_WRITE_BYTES = 1 << 18  # gathered before the disk is asked
FIELD_BYTES = 64_000  # of all fields of a form but the file


class UploadRefused(MmstreamError):  # noqa: N818 - an answer
    """The upload goes no further. The message is one line for the client; ``status`` is that of the answer."""

    status: ClassVar[int] = 400


class BadForm(UploadRefused):
    """The body is no form with one file in it."""


class TooLarge(UploadRefused):
    """The file is larger than one may be."""

    status = 413


class QuotaFull(UploadRefused):
    """There is no room for it now: other uploads, or the disk."""

    status = 507


@dataclass
class Form:
    """What came in a ``multipart/form-data`` body."""

    file: Path
    file_name: str  # as the client calls it: never a path of ours
    file_bytes: int
    fields: dict[str, list[str]] = field(default_factory=dict)


class Uploads:
    """A folder of uploads and their quota. Use it as a context, or call ``open`` and ``close``; any event loop."""

    def __init__(
        self,
        file_bytes: int = 512_000_000,
        total_bytes: int = 4_000_000_000,
        spare_bytes: int = 500_000_000,
        parent: Path | None = None,
    ) -> None:
        """``file_bytes``: of one upload. ``total_bytes``: of all that are there at a time. ``spare_bytes``: what stays
        free on the disk. ``parent``: where the private folder is made; None is the system's place for such files.
        """
        for name, value in (("file_bytes", file_bytes), ("total_bytes", total_bytes)):
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
        if spare_bytes < 0:
            raise ValueError(f"spare_bytes must be at least 0, not {spare_bytes}")
        self.file_bytes = file_bytes
        self.total_bytes = total_bytes
        self.spare_bytes = spare_bytes
        self._parent = parent or Path(tempfile.gettempdir())
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._guard: int | None = None  # the folder, locked as long as its server lives
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where uploads lie, mode 0700.

        Raises:
            ValueError: it is not open.
        """
        if self._folder is None:
            raise ValueError("uploads are not open")
        return self._folder

    @property
    def held_bytes(self) -> int:
        """What lies there now."""
        return self._held_bytes

    def open(self) -> None:
        """Make the folder; what a server that was killed has left behind is removed.

        Raises:
            MmstreamError: it cannot be made.
        """
        if self._folder is not None:
            return
        _remove_orphans(self._parent)
        try:
            while self._folder is None:
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))  # mode 0700
                guard = _open_folder(folder)
                fcntl.flock(guard, fcntl.LOCK_EX)
                if folder.exists():
                    self._folder, self._guard = folder, guard
                else:  # another server that starts just now took it for an orphan
                    os.close(guard)
        except OSError as error:
            raise MmstreamError(f"{self._parent}: uploads cannot be kept there: {error.strerror}") from error

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        folder, guard = self._folder, self._guard
        self._folder = self._guard = None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if guard is not None:
            os.close(guard)

    @asynccontextmanager
    async def receive(
        self, content_type: str, chunks: AsyncIterable[bytes], announced: int | None = None, name: str = "file"
    ) -> AsyncIterator[Form]:
        """A ``multipart/form-data`` body with one file, in the field ``name``; it is there until the context ends.

        ``announced``: how many bytes there will be, if the client says; what is too much is then refused at once.

        Raises:
            BadForm: it is none, or holds no file, or several.
            TooLarge, QuotaFull: as the names say; nothing is left behind.
        """
        if announced is not None:
            self._expect(announced - FIELD_BYTES)
        with self._file() as upload:
            try:
                yield await _take_form(Parts(content_type, FIELD_BYTES), chunks, name, upload)
            except MalformedForm as error:
                raise BadForm(str(error)) from None
            except FormTooLarge as error:
                raise TooLarge(str(error)) from None

    def _expect(self, announced: int) -> None:
        if announced > self.file_bytes:
            raise TooLarge(f"the file is larger than {_megabytes(self.file_bytes)}")
        if announced > self.total_bytes - self._held_bytes:
            raise QuotaFull("there is no room for another file now; try again later")

    @contextmanager
    def _file(self) -> Iterator[_Upload]:
        upload = _Upload(self, self.folder / secrets.token_hex(16))
        try:
            yield upload
        finally:
            upload.discard()

    def hold(self, count: int, file_bytes: int) -> None:
        """Make ``count`` more bytes of a file, that will have ``file_bytes`` with them, count.

        Raises:
            TooLarge, QuotaFull: they must not be written.
        """
        if file_bytes > self.file_bytes:
            raise TooLarge(f"the file is larger than {_megabytes(self.file_bytes)}")
        with self._lock:
            if self._held_bytes + count > self.total_bytes:
                raise QuotaFull("there is no room for another file now; try again later")
            self._held_bytes += count

    def release(self, count: int) -> None:
        """They are gone from the disk."""
        with self._lock:
            self._held_bytes -= count


class _Upload:
    """One file on its way to the disk."""

    def __init__(self, uploads: Uploads, path: Path) -> None:
        self.path = path
        self.size = 0
        self._uploads = uploads
        self._gathered = bytearray()
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    async def add(self, data: bytes) -> None:
        self._uploads.hold(len(data), self.size + len(data))
        self.size += len(data)
        self._gathered += data
        if len(self._gathered) >= _WRITE_BYTES:
            await self._write()

    async def finish(self) -> None:
        """The file is whole."""
        await self._write()
        self._close()

    async def _write(self) -> None:
        data, self._gathered = self._gathered, bytearray()
        try:
            # To the end: a thread that still writes must not find its descriptor closed, or given to somebody else.
            await _finished(asyncio.ensure_future(asyncio.to_thread(self._write_now, data)))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise QuotaFull("there is no room on the server's disk now; try again later") from error

    def _write_now(self, data: bytearray) -> None:
        assert self._descriptor is not None
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < self._uploads.spare_bytes + len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def discard(self) -> None:
        self._close()
        self.path.unlink(missing_ok=True)
        self._uploads.release(self.size)


async def _take_form(parts: Parts, chunks: AsyncIterable[bytes], name: str, upload: _Upload) -> Form:
    form = Form(upload.path, "", 0)
    there, key, text = False, "", bytearray()
    async for chunk in chunks:
        for event in parts.feed(chunk):
            match event:
                case PartStart(key, file_name):
                    text = bytearray()
                    if file_name is None:
                        continue
                    if key != name or there:
                        raise MalformedForm(f"the form must hold one file, in the field {name!r}")
                    there, form.file_name = True, file_name
                case PartData(data, True):
                    await upload.add(data)
                case PartData(data, False):
                    text += data
                case PartEnd(False):
                    form.fields.setdefault(key, []).append(text.decode("utf-8", "replace"))
    parts.end()
    if not there:
        raise MalformedForm(f"the form holds no file in the field {name!r}")
    await upload.finish()
    form.file_bytes = upload.size
    return form


async def _finished(work: asyncio.Future[None]) -> None:
    """Await ``work``; a task that is cancelled meanwhile waits for it all the same."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    work.result()
    if cancelled is not None:
        raise cancelled


def _remove_orphans(parent: Path) -> None:
    """Remove the folders of servers that were killed: those of ours whose lock nobody holds."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            guard = _open_folder(folder)
        except OSError:
            continue  # gone by now, or no folder
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(guard).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # its server lives
        finally:
            os.close(guard)


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:g} MB"
