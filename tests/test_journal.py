"""What is done stays done, whatever kills the run."""

import os
import resource
import subprocess
import sys

import pytest

from mmstream.core import MmstreamError
from mmstream.journal import JOURNAL_NAME, Input, Journal, fingerprint

SETTINGS = fingerprint({"model": "sphinx", "formats": ["srt"]})


@pytest.fixture
def media(tmp_path):
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    return path


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def finish(journal, media, settings=SETTINGS, name="talk.srt"):
    output = journal.folder / name
    output.write_text("1")
    journal.add(Input.of(media), settings, [output])


def test_done_survives_the_run(media, out):
    with Journal(out) as journal:
        assert not journal.done(Input.of(media), SETTINGS)
        finish(journal, media)
        assert journal.done(Input.of(media), SETTINGS)
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)


def test_other_settings_are_not_done(media, out):
    with Journal(out) as journal:
        finish(journal, media)
        assert not journal.done(Input.of(media), fingerprint({"model": "whisper", "formats": ["srt"]}))


def test_a_changed_input_is_not_done(media, out):
    with Journal(out) as journal:
        finish(journal, media)
        media.write_bytes(b"other")
        os.utime(media, ns=(1, 1))
        assert not journal.done(Input.of(media), SETTINGS)


def test_a_missing_output_is_not_done(media, out):
    with Journal(out) as journal:
        finish(journal, media)
        (out / "talk.srt").unlink()
        assert not journal.done(Input.of(media), SETTINGS)


def test_an_output_that_was_made_anew_with_other_settings_is_not_done(media, out):
    other = fingerprint({"model": "whisper"})
    with Journal(out) as journal:
        finish(journal, media)
        finish(journal, media, other)
        assert not journal.done(Input.of(media), SETTINGS)
        assert journal.done(Input.of(media), other)


def test_other_formats_beside_the_first_leave_them_done(media, out):
    vtt = fingerprint({"formats": ["vtt"]})
    with Journal(out) as journal:
        finish(journal, media)
        finish(journal, media, vtt, "talk.vtt")
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)
        assert journal.done(Input.of(media), vtt)


def test_the_folder_can_be_moved(media, out, tmp_path):
    with Journal(out) as journal:
        finish(journal, media)
    moved = out.rename(tmp_path / "moved")
    with Journal(moved) as journal:
        assert journal.done(Input.of(media), SETTINGS)


@pytest.mark.parametrize("keep", [1, 20, -2])
def test_a_torn_last_line_costs_only_its_own_file(media, out, keep, tmp_path):
    second = tmp_path / "second.wav"
    second.write_bytes(b"sound")
    with Journal(out) as journal:
        finish(journal, media)
        whole = journal.path.stat().st_size
        finish(journal, second, name="second.srt")
    content = (out / JOURNAL_NAME).read_bytes()
    (out / JOURNAL_NAME).write_bytes(content[:whole] + content[whole:][:keep])
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)
        assert not journal.done(Input.of(second), SETTINGS)
        finish(journal, second, name="second.srt")
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)
        assert journal.done(Input.of(second), SETTINGS)


@pytest.mark.parametrize("line", ["", "[]", "null", '{"input": {}}', "\x00\x00", '{"input": 1}', "[" * 100_000])
def test_a_line_that_makes_no_sense_counts_for_nothing(media, out, line):
    with Journal(out) as journal:
        finish(journal, media)
    with (out / JOURNAL_NAME).open("a") as file:
        file.write(line + "\n")
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)


def test_each_line_is_on_the_disk_when_add_returns(media, out):
    script = (
        "import os, pathlib, sys; from mmstream.journal import *\n"
        "media, out = map(pathlib.Path, sys.argv[1:3]); journal = Journal(out)\n"
        "(out / 'talk.srt').write_text('1')\n"
        "journal.add(Input.of(media), sys.argv[3], [out / 'talk.srt']); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, media, out, SETTINGS]).returncode == -9
    with Journal(out) as journal:  # and the lock died with its process
        assert journal.done(Input.of(media), SETTINGS)


def test_a_full_disk_leaves_no_half_line(media, out):
    with Journal(out) as journal:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))  # the nearest to a full disk that needs no root
        try:
            with pytest.raises(MmstreamError, match=r"journal\.jsonl: cannot be written: File too large"):
                finish(journal, media)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not journal.done(Input.of(media), SETTINGS)
        assert journal.path.read_bytes() == b""
        finish(journal, media)
    with Journal(out) as journal:
        assert journal.done(Input.of(media), SETTINGS)


def test_two_runs_in_one_folder(out):
    first = Journal(out)
    with pytest.raises(MmstreamError) as caught:
        Journal(out)
    assert str(caught.value) == (
        f"{out}: another run is writing here; wait for its end or choose another output folder"
    )
    first.close()
    Journal(out).close()


def test_the_folder_cannot_be_made(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(MmstreamError, match="out: cannot keep a journal: "):
        Journal(tmp_path / "out")


def test_no_such_input(tmp_path):
    with pytest.raises(MmstreamError, match=r"gone\.wav: No such file"):
        Input.of(tmp_path / "gone.wav")


def test_fingerprints_differ_where_settings_differ():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
