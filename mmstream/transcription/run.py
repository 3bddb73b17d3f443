"""One call of ``mmstream transcribe``: what is done, what is under way, and the lines and bar that say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from mmstream.batch import Batch, Done, Job, named
from mmstream.core import MmstreamError
from mmstream.journal import Input
from mmstream.transcription.joining import Joiner
from mmstream.transcription.outputs import Output
from mmstream.transcription.pieces import Piece, in_one
from mmstream.transcription.plan import File, Planner, work_file


@dataclass
class Run:
    """Hears files piece by piece and writes their captions. A piece that fails fails its file, and no other."""

    console: Console
    output: Output
    joiner: Joiner
    settings: str  # fingerprint of all that decides what comes out of a file
    formats: Sequence[str]  # suffixes
    plainly: Callable[[MmstreamError], MmstreamError] = lambda error: error
    done: int = 0  # this and the next two in files
    failed: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    under_way: dict[str, tuple[File, Piece]] = field(default_factory=dict)  # by session
    finished_s: float = 0.0  # media, of pieces that have ended or are not needed
    planned_s: float = 0.0  # media, of the files looked at so far
    planned: int = 0  # files

    def pending(self, jobs: Sequence[Job]) -> list[tuple[Job, Input]]:
        """The jobs still to do, each with its file as it is now; what is done is skipped, what is gone has failed."""
        todo = []
        for job in jobs:
            try:
                media = Input.of(job.media)
            except MmstreamError as error:
                self._fail(job, error)
                continue
            if self.output.done(media, self._settings_of(job)):
                self.skipped += 1
                self.output.drop(job.name)  # of a run that ended between the last two steps
            else:
                todo.append((job, media))
        if self.skipped:
            self.say(f"skipped  {self.skipped} file{'s' * (self.skipped > 1)}, done before")
        return todo

    def work(self, batch: Batch, planner: Planner, files: int) -> None:
        """Hear all ``files`` that the planner gives, with a bar in media seconds."""
        columns = (
            TextColumn("{task.fields[files]} files, {task.fields[media]} s of media"),
            BarColumn(),
            TextColumn("RTF {task.fields[rtf]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        failed_before = self.failed
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("", total=None, rtf="-", files=f"0/{files}", media="0")
            with closing(self._jobs(planner)) as jobs, closing(batch.results(jobs)) as results:
                for done in results:
                    if done is not None:
                        self._settle(batch, done)
                    self._show(bar, task, batch, (self.done + self.failed - failed_before, files))

    def _jobs(self, planner: Planner) -> Generator[Job | None]:
        """The pieces that no earlier run has heard, file by file."""
        with closing(planner.files()) as files:
            for file in files:
                if file is None:
                    yield None
                    continue
                self.planned += 1
                if not isinstance(file, File):
                    self._fail(*file)
                    continue
                self.planned_s += file.seconds
                todo = [piece for piece in file.pieces if not self._heard_before(file, piece)]
                file.left = {piece.session for piece in todo}
                self.finished_s += file.seconds - sum(file.seconds_of(piece) for piece in todo)
                if not todo:
                    self._finish(file)
                for number, piece in enumerate(todo):
                    if file.failed:
                        self.finished_s += sum(file.seconds_of(piece) for piece in todo[number:])
                        break
                    self.under_way[piece.session] = (file, piece)
                    part = {"start_s": piece.start_s, "end_s": piece.end_s} if file.cut else {}
                    yield Job(file.job.media, piece.session, part)

    def _heard_before(self, file: File, piece: Piece) -> bool:
        return file.cut and self.output.done(file.media, self._settings_of(file.job, piece))

    def _settle(self, batch: Batch, done: Done) -> None:
        """Enter a piece that has ended, and its file where that was the last one."""
        file, piece = self.under_way.pop(done.job.name)
        self.finished_s += file.seconds_of(piece)
        if file.failed:
            return
        error = done.error
        if error is None and file.cut:
            try:
                self.output.finish(file.media, self._settings_of(file.job, piece), [work_file(piece)])
            except MmstreamError as fault:
                error = fault
        if error is not None:
            file.failed = True
            for session in [name for name, (other, _) in self.under_way.items() if other is file]:
                batch.executor.abort(session)
            self._fail(file.job, error, piece if file.cut else None)
            return
        file.left.discard(piece.session)
        if not file.left:
            self._finish(file)

    def _finish(self, file: File) -> None:
        """Join the pieces of a file. It is done once it stands in the journal."""
        try:
            kept = [(piece, self.output.bring(work_file(piece))) for piece in file.pieces]
            self.joiner.write(file.job.name, in_one(kept, file.job.name))
            outputs = [f"{file.job.name}.{suffix}" for suffix in self.formats]
            self.output.finish(file.media, self._settings_of(file.job), outputs)
        except MmstreamError as error:
            self._fail(file.job, error)
            if not file.cut:  # no journal says that its one piece is whole
                self.output.drop(file.job.name)
            return
        self.output.drop(file.job.name)
        self.done += 1
        self.audio_s += file.seconds
        rtf = f"RTF {(time.monotonic() - file.began) / file.seconds:.3f}" if file.seconds else ""
        self.say(f"done     {file.job.media}  {file.seconds:.1f} s  {rtf}")

    def _fail(self, job: Job, error: MmstreamError, piece: Piece | None = None) -> None:
        self.failed += 1
        told = named(job, self.plainly(error))
        if piece is not None:
            told = f"{job.media}, {piece.range}: {told.removeprefix(f'{job.media}: ')}"
        self.say(f"failed   {told}", "red")

    def say(self, text: str, style: str = "") -> None:
        """Print one line, whatever names of files are in it."""
        line = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )
        self.console.print(Text(line, style))

    def _show(self, bar: Progress, task: TaskID, batch: Batch, files: tuple[int, int]) -> None:
        """``files``: how many have ended, of how many. One that nobody has looked at is taken to be as long as others.

        What the recogniser has under way counts as far as it has come.
        """
        media_s = self.finished_s
        for session, (file, piece) in self.under_way.items():
            if session in batch.running:
                media_s += min(max(0.0, batch.executor.reached(session) - piece.start_s), file.seconds_of(piece))
        total_s = max(media_s, self.planned_s * files[1] / max(1, self.planned))
        rtf = f"{(time.monotonic() - self.began) / media_s:.3f}" if media_s > 0 else "-"
        media = f"{media_s:.0f}/{total_s:.0f}"
        bar.update(task, completed=media_s, total=total_s, rtf=rtf, media=media, files=f"{files[0]}/{files[1]}")

    def _settings_of(self, job: Job, piece: Piece | None = None) -> str:
        """The run's settings and the outputs' names: a format asked for later is not yet done."""
        if piece is not None:
            return f"{self.settings}:{piece.session}"
        return f"{self.settings}:{job.name}:{','.join(sorted(self.formats))}"

    def summary(self, files: int) -> dict[str, float | int | None]:
        wall_s = time.monotonic() - self.began
        return {
            "files": files,
            "failed": self.failed,
            "skipped": self.skipped,
            "audio_seconds": round(self.audio_s, 3),
            "wall_seconds": round(wall_s, 3),
            "rtf": round(wall_s / self.audio_s, 4) if self.audio_s else None,
        }


def in_words(summary: dict[str, float | int | None]) -> str:
    """A run's summary as one line."""
    done = int(summary["files"] or 0) - int(summary["failed"] or 0) - int(summary["skipped"] or 0)
    parts = [f"{done} done", f"{summary['skipped']} skipped", f"{summary['failed']} failed"]
    rtf = f", RTF {summary['rtf']:.3f}" if summary["rtf"] else ""
    return f"{', '.join(parts)}; {summary['audio_seconds']:.0f} s of media in {summary['wall_seconds']:.0f} s{rtf}"
