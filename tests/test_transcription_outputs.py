"""Captions in a folder or behind a URL: whole, in a journal, and pieces that wait to be joined."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mmstream.core import MmstreamError
from mmstream.journal import JOURNAL_NAME, Input
from mmstream.transcription import outputs
from mmstream.transcription.outputs import Folder, Output, Remote, output_at
from mmstream.transcription.pieces import WORK_FOLDER

MEDIA = Input("/talks/a.wav", 100, 5)
OTHER = Input("/talks/b.wav", 100, 5)
URL = "memory://captions/en"


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def opened(where: object) -> Output:
    output = output_at(str(where))
    output.open()
    return output


def finish(output: Output, name: str, media: Input = MEDIA, settings: str = "one", text: str = "words") -> None:
    path = output.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    output.finish(media, settings, [name])


def journal_objects(files: Any) -> list[str]:
    return sorted(path for path in files.find("/captions/en/.mmstream-journal"))


@pytest.fixture(params=["folder", "url"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return URL if request.param == "url" else str(tmp_path / "out")


def test_what_is_finished_is_done_in_the_next_run(where: str) -> None:
    first = opened(where)
    assert not first.done(MEDIA, "one")
    finish(first, "deep/a.srt")
    assert first.done(MEDIA, "one")
    first.close()
    second = opened(where)
    assert second.done(MEDIA, "one")
    assert not second.done(MEDIA, "two")
    assert not second.done(OTHER, "one")
    finish(second, "deep/a.srt", OTHER)
    assert not second.done(MEDIA, "one")  # its captions are those of another file now
    second.close()
    third = opened(where)
    assert third.done(OTHER, "one")
    assert not third.done(MEDIA, "one")
    third.close()


def test_pieces_outlive_a_run_until_their_file_is_done(where: str) -> None:
    first = opened(where)
    finish(first, f"{WORK_FOLDER}/talk/0.000-5.000.jsonl", settings="piece", text="heard")
    finish(first, f"{WORK_FOLDER}/talk/deeper/0.000-5.000.jsonl", OTHER, settings="piece", text="other")
    first.close()
    second = opened(where)
    assert second.done(MEDIA, "piece")
    assert second.bring(f"{WORK_FOLDER}/talk/0.000-5.000.jsonl").read_text() == "heard"
    second.drop("talk")
    assert second.done(OTHER, "piece")
    second.close()
    third = opened(where)
    assert not third.done(MEDIA, "piece")
    assert third.bring(f"{WORK_FOLDER}/talk/deeper/0.000-5.000.jsonl").read_text() == "other"
    third.drop("talk/deeper")
    third.close()


def test_a_folder_keeps_nothing_hidden_but_its_journal(tmp_path: Path) -> None:
    output = opened(tmp_path)
    finish(output, f"{WORK_FOLDER}/deep/talk/0.000-5.000.jsonl")
    (tmp_path / f"{WORK_FOLDER}/deep/talk/.5.000-end.jsonl.partial").write_text("half")  # of a run that was killed
    (tmp_path / f"{WORK_FOLDER}/deep/talk.jsonl").write_text("of one piece")
    output.drop("deep/talk")
    output.close()
    assert [path.name for path in tmp_path.rglob("*")] == [JOURNAL_NAME]


def test_a_url_of_this_machine_is_a_folder(tmp_path: Path) -> None:
    output = output_at(f"file://{tmp_path}/my captions")
    assert isinstance(output, Folder)
    assert output.folder == tmp_path / "my captions"
    assert isinstance(output_at(URL), Remote)


def test_captions_behind_a_url_are_whole_objects_and_leave_nothing_here(memory: Any) -> None:
    output = opened(URL)
    finish(output, "deep/a.srt", text="words")
    assert memory.cat("/captions/en/deep/a.srt") == b"words"
    assert [path for path in output.folder.rglob("*") if path.is_file()] == []
    output.close()
    assert not output.folder.exists()


def test_the_journal_behind_a_url_is_a_few_objects(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "LINES_PER_OBJECT", 3)
    output = opened(URL)
    inputs = [Input(f"/talks/{number}.wav", 1, 1) for number in range(7)]
    for number, media in enumerate(inputs):
        finish(output, f"{number}.srt", media)
    assert [len(memory.cat(path).splitlines()) for path in journal_objects(memory)] == [3, 3, 1]
    assert json.loads(memory.cat(journal_objects(memory)[2]))["outputs"] == ["6.srt"]
    again = opened(URL)
    assert all(again.done(media, "one") for media in inputs)
    memory.rm("/captions/en/3.srt")
    assert [opened(URL).done(media, "one") for media in inputs] == [number != 3 for number in range(7)]


def test_a_caption_that_cannot_be_put_is_not_done(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class BackendError(Exception):
        pass

    def broken(*_: object, **__: object) -> None:
        raise BackendError("AccessDenied: no\nrequest 17")

    output = opened(URL)
    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "put_file", broken)
        with pytest.raises(MmstreamError) as caught:
            finish(output, "a.srt")
    assert str(caught.value) == f"{URL}: a.srt: AccessDenied: no"
    assert not output.done(MEDIA, "one")
    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "pipe_file", broken)
        with pytest.raises(MmstreamError, match=r"\.mmstream-journal/\d+\.jsonl: AccessDenied"):
            finish(output, "a.srt")
    assert not output.done(MEDIA, "one")
    finish(output, "a.srt")
    assert opened(URL).done(MEDIA, "one")


@pytest.mark.parametrize(
    ("url", "why"), [("nowhere://x/y", "Protocol not known: nowhere"), ("s3://b/x", "Install s3fs")]
)
def test_a_url_that_cannot_be_written_is_one_line(url: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if url.startswith("s3"):
        monkeypatch.setitem(sys.modules, "s3fs", None)  # whether it is installed here or not
    with pytest.raises(MmstreamError) as caught:
        output_at(url)
    assert str(caught.value).startswith(f"--output {url}: {why}")


def test_a_url_of_a_file(memory: Any) -> None:
    memory.pipe_file("/captions/en", b"mine")
    with pytest.raises(MmstreamError) as caught:
        opened(URL)
    assert str(caught.value) == f"--output {URL}: is a file; captions go into a folder"


def test_a_backend_that_has_real_folders(tmp_path: Path) -> None:
    output = Remote(f"file://{tmp_path}/there")
    output.open()
    finish(output, "deep/a.srt")
    output.close()
    assert (tmp_path / "there/deep/a.srt").read_text() == "words"
    again = Remote(f"file://{tmp_path}/there")
    again.open()
    assert again.done(MEDIA, "one")
    again.close()
