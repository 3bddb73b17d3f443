"""Files that appear whole or not at all, on a disk that is full as well."""

import os
import stat
import subprocess
import sys

import pytest

from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Word
from mmstream.testing import run_operator
from operators.sinks import JsonLines, PlainText, Srt, WebVtt


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        reason = f"needs to mount a tmpfs: {mounted.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("MMSTREAM_REQUIRE_ALL") == "1" else pytest.skip(reason)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_nothing_has_the_name_until_commit(tmp_path):
    file = AtomicFile(tmp_path / "deep" / "a.txt")
    file.write("one\n")
    assert names(tmp_path / "deep") == [".a.txt.partial"]
    file.write("two\n")
    file.commit()
    assert names(tmp_path / "deep") == ["a.txt"]
    assert (tmp_path / "deep" / "a.txt").read_text() == "one\ntwo\n"


def test_the_old_file_stands_until_commit_and_after_discard(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    file = AtomicFile(path)
    file.write("new")
    file.discard()
    file.discard()  # as often as one likes
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"
    with AtomicFile(path) as file:
        file.write("new")
    assert path.read_text() == "new"


def test_an_exception_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), AtomicFile(tmp_path / "a.txt") as file:
        file.write("x" * (1 // 0))
    assert names(tmp_path) == []


def test_writing_after_the_end_is_a_mistake(tmp_path):
    with AtomicFile(tmp_path / "a.txt") as file:
        pass
    with pytest.raises(ValueError, match="already committed"):
        file.write("x")


def test_the_file_has_the_permissions_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        with AtomicFile(tmp_path / "a.txt"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_two_writers_of_one_file(tmp_path):
    first = AtomicFile(tmp_path / "a.txt")
    with pytest.raises(MmstreamError, match=r"a\.txt: is being written by another session or process"):
        AtomicFile(tmp_path / "a.txt")
    first.write("first")
    first.commit()
    assert (tmp_path / "a.txt").read_text() == "first"
    AtomicFile(tmp_path / "a.txt").discard()


def test_a_killed_process_leaves_no_obstacle(tmp_path):
    script = (
        "import os, pathlib, sys; from mmstream.atomic import AtomicFile\n"
        "file = AtomicFile(pathlib.Path(sys.argv[1])); file.write('half' * 9000); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path / "a.txt"])
    assert killed.returncode == -9
    assert names(tmp_path) == [".a.txt.partial"]
    with AtomicFile(tmp_path / "a.txt") as file:
        file.write("whole")
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_undecodable_names_are_written_escaped(tmp_path):
    with AtomicFile(tmp_path / "a.txt") as file:
        file.write("caf\udce9")
    assert (tmp_path / "a.txt").read_bytes() == rb"caf\udce9"


@pytest.mark.parametrize("target", [".", "/dev/null"])
def test_a_folder_or_a_device_is_refused_at_once(tmp_path, target):
    with pytest.raises(MmstreamError, match="is a folder or a device"):
        AtomicFile(tmp_path / target)


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MmstreamError, match=r"a\.txt: cannot be written: .*out: ") as caught:
        AtomicFile(tmp_path / "out" / "a.txt")
    assert "\n" not in str(caught.value)


def test_full_disk(small_disk):
    (small_disk / "a.txt").write_text("old")
    file = AtomicFile(small_disk / "a.txt")
    with pytest.raises(MmstreamError) as caught:
        file.write("x" * 100_000)
    assert str(caught.value) == f"{small_disk}/a.txt: cannot be written: No space left on device"
    assert names(small_disk) == ["a.txt"]
    assert (small_disk / "a.txt").read_text() == "old"


def test_full_disk_at_the_last_moment(small_disk):
    file = AtomicFile(small_disk / "a.txt")
    file.write("still buffered")
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(100_000))
    with pytest.raises(MmstreamError, match="No space left on device"):
        file.commit()
    assert names(small_disk) == ["filler"]


@pytest.mark.parametrize("kind", [Srt, WebVtt, JsonLines, PlainText])
def test_a_sink_on_a_full_disk(small_disk, kind):
    words = tuple(Word(f"word{i}", 0.1 * i, 0.1 * i + 0.1) for i in range(20))
    captions = [Packet("s", 0.0, 2.0, Caption(i, words, (), final=True), 0.0) for i in range(2000)]
    with pytest.raises(MmstreamError, match=r"s\.out: cannot be written: No space left on device"):
        run_operator(kind(path=str(small_disk / "{session}.out")), captions, session="s")
    assert names(small_disk) == []
