"""Uploads: on disk under a quota while they come, and gone in every case: success, refusal, a client or server gone."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys

import pytest

from mmstream.core import MmstreamError
from mmstream.server.uploads import FIELD_BYTES, BadForm, QuotaFull, TooLarge, Uploads
from tests.decoding import open_files

SIZE = 1_000_000  # bytes of a usual upload here
BOUNDARY = "xyz"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture
def uploads(tmp_path):
    files = open_files()
    with Uploads(file_bytes=2 * SIZE, total_bytes=3 * SIZE, spare_bytes=0, parent=tmp_path) as made:
        yield made
        assert lying(made) == []
        assert made.held_bytes == 0
    assert list(tmp_path.iterdir()) == []
    assert open_files() == files


def lying(uploads):
    return list(uploads.folder.iterdir())


def part(name, content, file_name=None):
    named = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form_of(content):
    return part("file", content, "a.wav") + END


async def sent(data, piece=100_000):
    for begin in range(0, len(data), piece):
        yield data[begin : begin + piece]


def receiving(uploads, content, announced=None):
    """A form with one file is received; ``announced``: how long the client says that the file is."""
    return uploads.receive(FORM, sent(form_of(content)), None if announced is None else announced + FIELD_BYTES)


# What is received


def test_an_upload_is_a_private_file_as_long_as_it_is_used(uploads):
    data = os.urandom(SIZE)

    async def receive():
        async with receiving(uploads, data, len(data)) as form:
            assert form.file.read_bytes() == data
            assert stat.S_IMODE(form.file.stat().st_mode) == 0o600
            assert stat.S_IMODE(form.file.parent.stat().st_mode) == 0o700
            assert uploads.held_bytes == SIZE

    asyncio.run(receive())


def test_it_is_on_disk_while_it_still_comes(uploads):
    on_disk = []

    async def coming():
        async for chunk in sent(form_of(bytes(SIZE))):
            yield chunk
            on_disk.append(lying(uploads)[0].stat().st_size)

    async def receive():
        async with uploads.receive(FORM, coming()):
            pass

    asyncio.run(receive())
    assert all(100_000 * place - size < 400_000 for place, size in enumerate(on_disk))


@pytest.mark.parametrize("piece", [1, 7, 1_000, 100_000])
def test_a_form_is_taken_apart_however_it_is_cut(uploads, piece):
    content = b"sound\r\n--xy" * 300
    fields = part("model", b"auto"), part("file", content, "../../etc/passwd"), part("a[]", b"1"), part("a[]", b"2")

    async def receive():
        async with uploads.receive(FORM, sent(b"".join(fields) + END, piece)) as form:
            assert form.file.read_bytes() == content
            assert form.file.parent == uploads.folder
            assert (form.file_name, form.file_bytes) == ("../../etc/passwd", len(content))
            assert form.fields == {"model": ["auto"], "a[]": ["1", "2"]}

    asyncio.run(receive())


# What is refused


async def refused(receiving, error, match):
    with pytest.raises(error, match=match):
        async with receiving:
            pytest.fail("it was taken")


FILE = part("file", b"sound", "a.wav")
BAD = {
    "another type": ("application/json", b"{}", "must be multipart/form-data"),
    "no type": ("", FILE + END, "must be multipart/form-data"),
    "no boundary": ("multipart/form-data", FILE + END, "with a boundary"),
    "a huge boundary": ("multipart/form-data; boundary=" + "x" * 1_000, FILE + END, "boundary is too long"),
    "another boundary": (FORM, (FILE + END).replace(b"xyz", b"abc"), "well-formed"),
    "nothing": (FORM, b"", "breaks off"),
    "no end": (FORM, FILE, "breaks off"),
    "no file": (FORM, part("model", b"auto") + END, "holds no file"),
    "a file of another name": (FORM, part("other", b"sound", "a.wav") + END, "one file, in the field 'file'"),
    "two files": (FORM, FILE + FILE + END, "one file, in the field 'file'"),
    "no name": (FORM, FILE.replace(b'; name="file"', b"") + END, "has no name"),
    "no form data": (FORM, FILE.replace(b"form-data", b"attachment") + END, "has no name"),
    "an endless header": (FORM, FILE[:20] + b"x" * 100_000, "well-formed"),
    "very many headers": (FORM, FILE[:7] + b"a: b\r\n" * 10_000, "well-formed"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_form_with_one_file_is_refused(uploads, kind):
    content_type, body, says = BAD[kind]
    asyncio.run(refused(uploads.receive(content_type, sent(body)), BadForm, says))


def test_a_form_whose_fields_are_too_large_or_too_many_is_refused(uploads):
    asyncio.run(refused(uploads.receive(FORM, sent(part("a", bytes(70_000)))), TooLarge, "fields of the form"))
    asyncio.run(refused(uploads.receive(FORM, sent(part("a", b"") * 101)), TooLarge, "more than 100 fields"))


@pytest.mark.parametrize("announced", [2 * SIZE + FIELD_BYTES + 1, None])
def test_a_file_larger_than_allowed_is_refused_whether_announced_or_not(uploads, announced):
    seen = []

    async def coming():
        async for chunk in sent(form_of(bytes(3 * SIZE))):
            seen.append(chunk)
            yield chunk

    asyncio.run(refused(uploads.receive(FORM, coming(), announced), TooLarge, "larger than 2 MB"))
    assert len(seen) == (21 if announced is None else 0)


@pytest.mark.parametrize("announced", [2 * SIZE, None])
def test_all_uploads_together_keep_to_the_quota_and_their_room_comes_back(uploads, announced):
    async def receive():
        async with receiving(uploads, bytes(2 * SIZE)):
            await refused(receiving(uploads, bytes(2 * SIZE), announced), QuotaFull, "try again later")
            async with receiving(uploads, bytes(SIZE)):
                assert uploads.held_bytes == 3 * SIZE
        async with receiving(uploads, bytes(2 * SIZE), announced):
            pass

    asyncio.run(receive())


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path):
    with Uploads(spare_bytes=1 << 60, parent=tmp_path) as uploads:
        asyncio.run(refused(receiving(uploads, bytes(SIZE)), QuotaFull, "server's disk"))
        assert lying(uploads) == []
        assert uploads.held_bytes == 0


# Who leaves


def test_a_client_that_leaves_in_the_middle_leaves_nothing(uploads):
    async def coming():
        async for chunk in sent(form_of(bytes(SIZE))):
            yield chunk
        assert lying(uploads)
        raise ConnectionError("gone")

    asyncio.run(refused(uploads.receive(FORM, coming()), ConnectionError, "gone"))


def test_a_request_that_is_cancelled_leaves_nothing(uploads):
    async def receive():
        here = asyncio.Event()

        async def coming():
            async for chunk in sent(form_of(bytes(SIZE))[: -len(END)]):
                yield chunk
            here.set()
            await asyncio.Event().wait()

        async def take():
            async with uploads.receive(FORM, coming()):
                pytest.fail("it has no end")

        taking = asyncio.create_task(take())
        await here.wait()
        assert lying(uploads)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(receive())


def test_a_request_that_fails_leaves_nothing(uploads):
    async def receive():
        async with receiving(uploads, bytes(SIZE)):
            raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        asyncio.run(receive())


KILLED = """
import asyncio, pathlib, sys
from mmstream.server.uploads import Uploads

async def receive():
    async def coming():
        yield b'--x\\r\\ncontent-disposition: form-data; name="file"; filename="a"\\r\\n\\r\\n' + bytes(1_000_000)
        print(uploads.folder, flush=True)
        await asyncio.Event().wait()

    async with uploads.receive("multipart/form-data; boundary=x", coming()):
        pass

with Uploads(parent=pathlib.Path(sys.argv[1])) as uploads:
    asyncio.run(receive())
"""


def test_what_a_killed_server_leaves_is_removed_at_the_next_start_and_what_others_hold_is_not(tmp_path):
    def serve():
        return subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)

    with serve() as killed, serve() as living:
        left, kept = killed.stdout.readline().strip(), living.stdout.readline().strip()
        killed.kill()
        killed.wait()
        assert len(os.listdir(left)) == 1  # noqa: PTH208
        with Uploads(parent=tmp_path) as uploads:
            assert {str(folder) for folder in tmp_path.iterdir()} == {kept, str(uploads.folder)}
            assert len(os.listdir(kept)) == 1  # noqa: PTH208
        living.send_signal(signal.SIGKILL)


def test_a_link_that_looks_like_an_orphan_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "mmstream-uploads-x").symlink_to(tmp_path / "mine")
    with Uploads(parent=tmp_path):
        assert (tmp_path / "mine" / "file").exists()


def test_a_place_where_nothing_can_be_kept_is_one_line(tmp_path):
    with pytest.raises(MmstreamError, match="uploads cannot be kept there: No such file"):
        Uploads(parent=tmp_path / "absent").open()
    with pytest.raises(ValueError, match="not open"):
        Uploads(parent=tmp_path).folder  # noqa: B018
    with pytest.raises(ValueError, match="file_bytes must be more than 0, not 0"):
        Uploads(file_bytes=0)
