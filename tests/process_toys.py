"""Operators for tests of actors: they kill or freeze their process, or leave files that tell what became of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmstream.core import Operator, Packet
from mmstream.media import AudioChunk, Features
from tests.toys import Add, Lines, Sum, Tone, Write


class Mark(Add):
    """Leaves a file named after its process in ``folder``, and writes into it when it discards and when it closes."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.file = Path(folder, str(os.getpid()))
        self.file.touch()

    def discard(self, state: Sum) -> None:
        self._write("discarded")

    def close(self) -> None:
        self._write("closed")

    def _write(self, word: str) -> None:
        self.file.write_text(f"{self.file.read_text()}{word}\n")


class Doom(Mark):
    """Ends or freezes its whole process at the chunk ``at`` of a session whose name begins with "doomed"."""

    def __init__(self, folder: str, at: int = 3, way: Literal["exit", "freeze"] = "exit") -> None:
        super().__init__(folder)
        self.at, self.way = at, way

    def process(self, packet: Packet[Any], state: Sum) -> Iterable[Packet[Any]]:
        if state.session.startswith("doomed") and state.seen == self.at:
            if self.way == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGSTOP)
        yield from super().process(packet, state)


class Hang(Add):
    """Never returns from the chunk ``at``, in the first process that comes there; the file ``told`` says so."""

    def __init__(self, told: str, at: int = 3) -> None:
        super().__init__()
        self.told, self.at = Path(told), at

    def process(self, packet: Packet[Any], state: Sum) -> Iterable[Packet[Any]]:
        if state.seen == self.at and not self.told.exists():
            self.told.touch()
            threading.Event().wait()
        yield from super().process(packet, state)


class Slow(Add):
    """Takes ``pause_s`` for every chunk."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__()
        self.pause_s = pause_s

    def process(self, packet: Packet[Any], state: Sum) -> Iterable[Packet[Any]]:
        time.sleep(self.pause_s)
        yield from super().process(packet, state)


class Again(Tone):
    """A tone that can be had again from its beginning, as a file can, unless it is ``live``."""

    def __init__(self, count: int = 10, pause_s: float = 0.0, live: bool = False) -> None:
        super().__init__(count, pause_s=pause_s)
        self.repeats = not live


class Falls(Tone):
    """A tone that falls silent and ends only when it is stopped."""

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        yield from super().packets(session)
        self.stopping.wait()


class Whole(Operator[None]):
    """The number that a chunk holds, how many samples, and whether all of them hold it."""

    accepts = (AudioChunk,)
    emits = (Features,)

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        samples = packet.data.samples
        same = bool((samples == samples[0]).all())
        yield packet.derive(Features(np.array([[float(samples[0, 0]), samples.size, same]], np.float32), 10.0))


class Unsendable(Operator[str]):
    """Passes audio on, with a payload that no other process can take at 0.3 s of sessions named "odd"."""

    accepts = (AudioChunk,)
    emits = (AudioChunk,)

    def open(self, session: str) -> str:
        return session

    def process(self, packet: Packet[Any], state: str) -> Iterable[Packet[Any]]:
        odd = state.startswith("odd") and packet.start >= 0.3
        yield packet.derive(AudioChunk(threading.Lock(), 16000)) if odd else packet  # type: ignore[arg-type]


class WriteLag(Write):
    """Writes with each line how many seconds after its capture a packet arrived."""

    def process(self, packet: Packet[Any], state: Lines) -> Iterable[Packet[Any]]:
        super().process(packet, state)
        state.lines[-1] = f"{self.clock.now() - packet.captured_at:.3f} {state.lines[-1]}"
        return ()
