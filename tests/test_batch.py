"""Which files a batch takes, what their outputs are called, and how one failure leaves the rest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mmstream.batch import Batch, Job, find_jobs
from mmstream.core import MmstreamError
from mmstream.executors import Result


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_folder_gives_its_media_files_named_after_their_place_in_it(tmp_path: Path) -> None:
    touch(tmp_path / "talks/b/two.MP4")
    touch(tmp_path / "talks/one.flac")
    touch(tmp_path / "talks/notes.txt")
    jobs, faults = find_jobs([tmp_path / "talks"])
    assert [(job.media.name, job.name) for job in jobs] == [("two.MP4", "b/two"), ("one.flac", "one")]
    assert not faults


def test_a_file_named_outright_may_end_in_anything_and_counts_once(tmp_path: Path) -> None:
    odd = touch(tmp_path / "talk.dat")
    jobs, _ = find_jobs([odd, odd])
    assert jobs == [Job(odd, "talk")]


def test_files_that_differ_only_in_suffix_keep_it(tmp_path: Path) -> None:
    jobs, _ = find_jobs([touch(tmp_path / "talk.wav"), touch(tmp_path / "talk.mp4"), touch(tmp_path / "other.mp4")])
    assert [job.name for job in jobs] == ["talk.wav", "talk.mp4", "other"]


def test_two_files_for_one_caption_are_refused_by_name(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "a/talk.wav"), touch(tmp_path / "b/talk.wav")
    with pytest.raises(MmstreamError, match=f"{first} and {second} would both write 'talk.wav'"):
        find_jobs([first, second])


def test_what_is_missing_or_empty_is_a_fault_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    jobs, faults = find_jobs([tmp_path / "nowhere.mp4", tmp_path / "empty", touch(tmp_path / "talk.wav")])
    assert [job.name for job in jobs] == ["talk"]
    assert [str(fault) for fault in faults] == [
        f"{tmp_path}/nowhere.mp4: there is no such file or folder",
        f"{tmp_path}/empty: the folder holds no media files",
    ]


class Recorded:
    """An executor that ends sessions in the order in which they were opened, the named ones with an error."""

    def __init__(self, failing: set[str]) -> None:
        self.failing = failing
        self.open_now: list[str] = []
        self.most_open = 0
        self.aborted: list[str] = []

    def open(self, session: str, arguments: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        if session == "refused":
            raise MmstreamError("no room")
        assert arguments == {"file": {"pace": "fast", "path": f"/{session}.wav"}}
        self.open_now.append(session)
        self.most_open = max(self.most_open, len(self.open_now))

    def wait(self, timeout_s: float | None = None) -> Result:
        session = self.open_now.pop(0)
        return Result(session, MmstreamError("broken") if session in self.failing else None, ())

    def abort(self, session: str) -> None:
        self.aborted.append(session)


def run(executor: Any, names: list[str], at_once: int = 2) -> list[tuple[str, str | None]]:
    batch = Batch(executor, "file", at_once, {"pace": "fast"})
    jobs = [Job(Path(f"/{name}.wav"), name) for name in names]
    ended = [done for done in batch.results(jobs) if done is not None]
    return [(done.job.name, str(done.error) if done.error else None) for done in ended]


def test_one_failed_file_stops_nothing() -> None:
    executor = Recorded(failing={"b"})
    assert run(executor, ["a", "b", "refused", "c"]) == [
        ("a", None),
        ("refused", "no room"),
        ("b", "broken"),
        ("c", None),
    ]
    assert executor.most_open == 2


def test_leaving_early_aborts_what_is_open() -> None:
    executor = Recorded(failing=set())
    batch = Batch(executor, "file", 3, {"pace": "fast"})  # type: ignore[arg-type]
    results = batch.results([Job(Path(f"/{name}.wav"), name) for name in "abcd"])
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert executor.aborted == ["b", "c"]


def test_jobs_are_asked_for_when_there_is_room_for_them() -> None:
    executor = Recorded(failing=set())
    given: list[str] = []

    def jobs() -> Iterator[Job | None]:
        for name in "abcde":
            assert len(executor.open_now) < 2
            given.append(name)
            yield Job(Path(f"/{name}.wav"), name)
            yield None  # the next one is never ready at once

    batch = Batch(executor, "file", 2, {"pace": "fast"})  # type: ignore[arg-type]
    ended = [done.job.name for done in batch.results(jobs()) if done is not None]
    assert ended == given == list("abcde")


def test_nothing_ready_is_no_end() -> None:
    executor = Recorded(failing=set())
    batch = Batch(executor, "file", 2, {"pace": "fast"})  # type: ignore[arg-type]
    results = list(batch.results(iter([None, None, Job(Path("/a.wav"), "a")])))
    assert [done.job.name for done in results if done is not None] == ["a"]


def test_a_job_has_arguments_of_its_own() -> None:
    executor = Recorded(failing=set())
    batch = Batch(executor, "file", 1, {"pace": "realtime"})  # type: ignore[arg-type]
    assert [done for done in batch.results([Job(Path("/a.wav"), "a", {"pace": "fast"})]) if done]
