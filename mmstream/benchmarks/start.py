"""``mmstream bench start``: from the start of ``mmstream live`` until it listens, as the user waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError

ENTRY = "from mmstream.cli import main; main()"  # what the installed script does
LISTENING = "listening"  # in the line on standard error that says so
LIMIT_S = 4.0  # the target; above it the imports are told
GIVE_UP_S = 60.0
STOP_S = 15.0
PACKAGES_TOLD = 10


def measure_start(rounds: int, device: str | None, say: Callable[[str], None]) -> Report:
    """Start ``mmstream live --model sphinx`` on an input device, ``rounds`` times.

    Raises:
        MmstreamError: it ended without listening, as it does without a device, or did not get there.
    """
    times = []
    for number in range(rounds):
        say(f"start {number + 1} of {rounds}")
        times.append(_start(device)[0])
    figure = Figure("start of mmstream live to listening", "s", tuple(times), at_most=LIMIT_S)
    notes = ["From the start of the interpreter to the line that says so. A first start reads files from the disk."]
    details = {}
    if not figure.met:
        say("slower than it must be: once more, timing the imports")
        imports = _imports(_start(device, "-X", "importtime")[1])
        notes.append("Imports: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in imports.items()))
        details["imports_s"] = imports
    settings = {"rounds": rounds, "model": "sphinx", "device": device or "default"}
    return Report("start", "Start of the live view", settings, [figure], notes, details)


def _start(device: str | None, *options: str) -> tuple[float, list[str]]:
    """Seconds until the line, and what was said on standard error until then."""
    arguments = ["live", "--model", "sphinx", *(["--device", device] if device is not None else [])]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *options, "-c", ENTRY, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        limit = threading.Timer(GIVE_UP_S, process.kill)
        limit.start()
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                if LISTENING in line:
                    return time.monotonic() - began, said
                said.append(line.rstrip())
        finally:
            limit.cancel()
            _end(process)
    reason = "ended before it listened" if process.returncode != -signal.SIGKILL else f"took over {GIVE_UP_S:.0f} s"
    spoken = [line for line in said if line and not line.startswith("import time:")] or ["it said nothing"]
    raise MmstreamError(f"mmstream {' '.join(arguments)} {reason}: {spoken[-1].removeprefix('mmstream: ')}")


def _end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C, as the user would end it; what it still says has to be read, so that it never waits for us."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _imports(lines: list[str]) -> dict[str, float]:
    """Seconds spent importing each top-level package, the slowest first, from ``-X importtime``."""
    spent: Counter[str] = Counter()
    for line in lines:
        own, _, rest = line.removeprefix("import time:").partition("|")
        if line.startswith("import time:") and own.strip().isdigit():
            name = rest.partition("|")[2].strip()
            spent[name.partition(".")[0]] += int(own)
    return {name: round(microseconds / 1e6, 3) for name, microseconds in spent.most_common(PACKAGES_TOLD)}
