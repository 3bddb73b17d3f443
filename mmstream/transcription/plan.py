"""Which pieces are still to be heard: files looked at a little ahead of their turn, in threads of their own."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from mmstream.batch import Job
from mmstream.core import MmstreamError
from mmstream.journal import Input
from mmstream.transcription.cuts import find_cuts
from mmstream.transcription.pieces import WORK_FOLDER, Piece
from operators.audio import Vad
from operators.sources import probe
from operators.sources.container import Streams

AHEAD = 4  # files that are ready before their turn, beside those that are looked at
THREADS = min(4, os.cpu_count() or 1)
WAIT_S = 0.05  # for a file that is not ready at its turn
SHORTEST_S = 5.0  # a split below it would cut sentences


@dataclass(eq=False)
class File:
    """One media file under way."""

    job: Job
    media: Input  # as it was when work on it began
    seconds: float  # media; 0 where nobody knows
    pieces: Sequence[Piece]
    left: set[str] = field(default_factory=set)  # sessions of the pieces that are still to be heard
    began: float = field(default_factory=time.monotonic)
    failed: bool = False

    @property
    def cut(self) -> bool:
        return len(self.pieces) > 1

    def seconds_of(self, piece: Piece) -> float:
        """Length of a piece, media seconds."""
        return max(0.0, (self.seconds if piece.end_s is None else piece.end_s) - piece.start_s)


def work_file(piece: Piece) -> str:
    """Where a piece waits to be joined, below the output."""
    return f"{WORK_FOLDER}/{piece.session}.jsonl"


class Planner:
    """Gives files in order, each with its pieces. Memory does not grow with their number."""

    def __init__(self, jobs: Sequence[tuple[Job, Input]], split_s: float | None, streams: Streams) -> None:
        """``split_s``: the longest piece, or little less than it; None: files stay whole. ``streams``: what is read."""
        self._jobs = jobs
        self._split_s = split_s
        self._streams: Streams = streams
        self._stopping = threading.Event()
        self._vad = Vad() if split_s is not None else None  # its model may be called in several threads

    def files(self) -> Generator[File | tuple[Job, MmstreamError] | None]:
        """Each file, or why it cannot be read; None where the next one is not ready yet."""
        waiting = iter(self._jobs)
        plans: deque[tuple[Job, Future[File]]] = deque()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mmstream-plan")
        try:
            while True:
                while len(plans) < AHEAD + THREADS and (upcoming := next(waiting, None)) is not None:
                    plans.append((upcoming[0], pool.submit(self._plan, *upcoming)))
                if not plans:
                    return
                job, plan = plans[0]
                if not wait([plan], WAIT_S).done:
                    yield None
                    continue
                plans.popleft()
                try:
                    file = plan.result()
                except MmstreamError as error:
                    yield job, error
                    continue
                file.began = time.monotonic()
                yield file
        finally:
            self._stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _plan(self, job: Job, media: Input) -> File:
        """Raises MmstreamError: it cannot be read as media."""
        seconds = probe(str(job.media)).duration_s or 0.0
        pieces = [Piece(job.name, 0.0, None)]
        if self._vad is not None and self._split_s is not None:
            cuts = find_cuts(Path(job.media), seconds, self._split_s, self._streams, self._vad, self._stopping)
            if cuts:
                pieces = [_piece(job, start, end) for start, end in pairwise([0.0, *cuts, None])]
        return File(job, media, seconds, pieces, {piece.session for piece in pieces})


def _piece(job: Job, start: float | None, end: float | None) -> Piece:
    """Times to the millisecond, so that the name says exactly what was heard."""
    start_s, end_s = round(start or 0.0, 3), None if end is None else round(end, 3)
    return Piece(f"{job.name}/{start_s:.3f}-{'end' if end_s is None else f'{end_s:.3f}'}", start_s, end_s)
