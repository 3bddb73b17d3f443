"""A run of one word through three workers, told to watches and recorders as workers would, by a manual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmstream.core import Packet
from mmstream.graph import Edge, Graph, WorkerSpec
from mmstream.media import Caption, Hypothesis, Word
from mmstream.observe.metrics import Metrics
from mmstream.observe.reading import read
from mmstream.observe.spans import Recorder, Tracing
from mmstream.observe.watch import Watch
from mmstream.observe.waterfall import waterfalls
from mmstream.testing import ManualClock
from tests.toys import chunk

ORIGIN = 1_000_000.0  # wall-clock second of media second 0

# What every step of the run below takes, in milliseconds.
SENT, TO_MEL, MEL_WAIT, MEL, TO_DECODE, DECODE_WAIT, DECODE, COMMIT, TO_TERMINAL, TERMINAL_WAIT = range(1, 11)
AFTER = 40  # what decode still does once it has given its hypothesis

WORKERS = {
    "driver": WorkerSpec("driver", ("mic", "terminal"), "driver"),
    "sound": WorkerSpec("sound", ("mel",)),
    "decode": WorkerSpec("decode", ("decode", "commit")),
}


def graph(*edges: tuple[str, str]) -> Graph:
    made = edges or (("mic", "mel"), ("mel", "decode"), ("decode", "commit"), ("commit", "terminal"))
    return Graph("<test>", {}, tuple(Edge(*ends, (), 8, "block") for ends in made), WORKERS)


class Run:
    """A session through mic -> mel | decode -> commit | terminal, told to watches and recorders as workers would.

    A word "one", from 0.1 s to 0.25 s, is shown with the third chunk of 100 ms and stable with the fifth.
    """

    def __init__(self, folder: Path, session: str = "talk", run: float = 1.0) -> None:
        self.session = session
        self.clock = ManualClock(ORIGIN)
        tracing = Tracing(folder, run)
        self.recorders = {name: Recorder(tracing, graph(), spec, 0) for name, spec in WORKERS.items()}
        self.watches = {
            name: Watch(Metrics(), {"terminal"}, recorder, self.clock) for name, recorder in self.recorders.items()
        }

    def chunk(self, number: int, late_ms: float = 0.0) -> None:
        """One chunk of 100 ms and all that comes of it; ``late_ms`` lie between the source and the mel node."""
        end = (number + 1) / 10
        sound = Packet(self.session, number / 10, end, chunk(number), ORIGIN + end)
        self.clock.advance(max(0.0, ORIGIN + end - self.clock.now()))
        began = self.clock.now()
        self.wait(SENT)
        self.recorders["driver"].worked(
            self.session, "mic", sound, began, self.clock.now(), gave=(sound.start, sound.end)
        )
        self.wait(TO_MEL + late_ms)
        self.wait(MEL_WAIT)
        self.work("sound", "mel", sound, MEL_WAIT, MEL, sound)
        self.wait(TO_DECODE)
        self.wait(DECODE_WAIT)
        watch = self.watches["decode"]
        watch.begin("decode", sound, DECODE_WAIT / 1000)
        self.wait(DECODE)
        caption = self.caption(number, sound)
        if caption is not None:
            hypothesis = caption.derive(Hypothesis(caption.data.words, caption.data.final))
            watch.gave("decode", hypothesis)
            self.work("decode", "commit", hypothesis, 0.0, COMMIT, caption)
            at = self.clock.now()
            self.wait(AFTER)
        watch.end()
        if caption is not None:
            self.clock._now = at  # the driver goes on while decode is still at it
            self.wait(TO_TERMINAL + TERMINAL_WAIT)
            self.work("driver", "terminal", caption, TERMINAL_WAIT, 0.0, None)

    def caption(self, number: int, sound: Packet[Any]) -> Packet[Caption] | None:
        words = (Word("one", 0.1, 0.25),)
        if number not in (2, 4):
            return None
        made = Caption(0, words, (), True) if number == 4 else Caption(0, (), words, False)
        return sound.derive(made, 0.1, 0.25)

    def work(self, worker: str, node: str, packet: Packet[Any], waited: float, lasts: float, gives: Any) -> None:
        watch = self.watches[worker]
        watch.begin(node, packet, waited / 1000)
        self.wait(lasts)
        if gives is not None:
            watch.gave(node, gives)
        watch.end()

    def wait(self, milliseconds: float) -> None:
        self.clock.advance(milliseconds / 1000)

    def to_its_end(self) -> Run:
        for number in range(6):
            self.chunk(number)
        self.close()
        return self

    def close(self) -> None:
        for recorder in self.recorders.values():
            recorder.session_ended(self.session)


EXPECTED = {
    "later media": 250.0,  # until the fifth chunk was captured
    "mic": SENT,
    "to mel": TO_MEL,
    "queue mel": MEL_WAIT,
    "mel": MEL,
    "to decode": TO_DECODE,
    "queue decode": DECODE_WAIT,
    "decode": DECODE,
    "commit": COMMIT,
    "to terminal": TO_TERMINAL,
    "queue terminal": TERMINAL_WAIT,
    "terminal": 0.0,
}


def stages_ms(folder: Path, session: str = "talk") -> dict[str, float]:
    (fall,) = waterfalls(read(folder, session))
    return {stage.name: 1000 * (stage.ended - stage.began) for stage in fall.stages}


def close_to(expected: dict[str, float]) -> Any:
    """To a hundredth of a millisecond: files hold microseconds."""
    return pytest.approx(expected, abs=0.01)
