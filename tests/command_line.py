"""The ``mmstream`` command as a user runs it: in a process of its own, or in this one where no process matters."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.cli import main
from tests.media_samples import ffmpeg, require, write_wav

COMMAND = str(Path(sys.executable).with_name("mmstream"))
TIMEOUT_S = 90.0
TRANSCRIBE = ("transcribe", "--model", "sphinx")  # auto may find a better one on this machine

# What pocketsphinx understands word for word when flite's voice slt says it, wherever its frames happen to begin.
WEATHER = "the weather is very nice today"
COUNTING = "one two three four five six seven"
BANK = "the company said it will buy the bank"
STATES = "the president of the united states"

SAMPLE_RATE = 16_000  # Hz, of flite's voice
BEFORE_S, AFTER_S = 0.4, 0.7  # silence round every sentence


def say(path: Path, *sentences: str, options: Iterable[object] = ()) -> Path:
    """A file in which the sentences are said: 16 kHz, mono, unless ffmpeg's ``options`` for the output change it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "sentence.wav"
        parts = []
        for sentence in sentences:
            subprocess.run([require("flite"), "-voice", "slt", "-t", sentence, "-o", spoken], check=True, timeout=60)
            with wave.open(str(spoken), "rb") as file:
                said = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            parts += [_silence(BEFORE_S), said, _silence(AFTER_S)]
        write_wav(spoken, np.concatenate(parts)[:, None], SAMPLE_RATE)
        ffmpeg("-i", spoken, *options, path)
    return path


def _silence(seconds: float) -> NDArray[np.int16]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


@dataclass(frozen=True)
class Finished:
    """A command that has ended, and all that it said."""

    code: int
    out: str
    err: str

    @property
    def last_json(self) -> Any:
        """The last line of standard output, which is one JSON value."""
        return json.loads(self.out.splitlines()[-1])

    def lines(self, beginning: str) -> list[str]:
        """The lines of standard error that begin so."""
        return [line for line in self.err.splitlines() if line.startswith(beginning)]

    def the_line(self, *parts: str, code: int = 1) -> str:
        """The one line on standard error beside that about the model. It must hold ``parts`` and be no traceback."""
        said = [line for line in self.err.splitlines() if line.strip() and not line.startswith("mmstream: model:")]
        assert self.code == code, self
        assert len(said) == 1, self
        assert "Traceback" not in self.out + self.err, self
        for part in parts:
            assert part in said[0], (part, said[0])
        return said[0]


def mmstream(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Finished:
    """Run the command to its end, in a process of its own."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def call(*arguments: object) -> Finished:
    """Run the command to its end in this process: quicker by the time that imports take. What it sets up is undone."""
    out, err = io.StringIO(), io.StringIO()
    logger = logging.getLogger("mmstream")
    logging_before = logger.handlers, logger.level, logger.propagate
    arguments_before, on_sigterm = sys.argv, signal.getsignal(signal.SIGTERM)
    code: Any = 0
    try:
        sys.argv = ["mmstream", *map(str, arguments)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = arguments_before
        signal.signal(signal.SIGTERM, on_sigterm)
        logger.handlers, logger.level, logger.propagate = logging_before
    return Finished(int(code or 0), out.getvalue(), err.getvalue())


class Running:
    """A command under way, whose lines are read as they come. The end of a ``with`` block kills what still runs."""

    def __init__(self, *arguments: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._ended = 0  # streams
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._changed:
                lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wait_for(self, text: str, timeout_s: float = TIMEOUT_S) -> str:
        """The first line, of either stream, that holds ``text``."""

        def found() -> str | None:
            return next((line for line in [*self.out, *self.err] if text in line), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended == 2, timeout_s)
            line = found()
        assert line is not None, (text, self.out, self.err)
        return line

    def wait_for_file(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        """Return once the file is there."""
        give_up_at = time.monotonic() + timeout_s
        while not path.exists():
            if self._ended == 2 or time.monotonic() > give_up_at:
                raise AssertionError(f"{path} did not appear", self.out, self.err)
            time.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = TIMEOUT_S) -> Finished:
        """Wait for its end."""
        self.process.wait(timeout_s)
        for reader in self._readers:
            reader.join(TIMEOUT_S)
        return Finished(self.process.returncode, "\n".join(self.out), "\n".join(self.err))

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *fault: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def leftovers(folder: Path) -> list[Path]:
    """Files that a writer has begun and not finished."""
    return sorted(folder.rglob("*.partial"))
