"""What processes use, read from Linux's /proc: CPU time of a whole tree; memory, threads and files of this one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mmstream.core import MmstreamError

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Vitals:
    """This process at one moment."""

    resident_mb: float  # megabytes of 10^6 bytes
    threads: int
    files: int  # open file descriptors

    @classmethod
    def now(cls) -> Vitals:
        check_proc()
        pages = int((PROC / "self" / "statm").read_text(encoding="ascii").split()[1])
        threads = sum(1 for _ in (PROC / "self" / "task").iterdir())
        files = sum(1 for _ in (PROC / "self" / "fd").iterdir()) - 1  # less the one that listing them opens
        return cls(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, threads, files)


def tree_cpu_s() -> float:
    """CPU seconds, of user and system, that this process and all its descendants have used, dead ones included.

    Exact to a clock tick (10 ms) for each process. A child counts as long as it has not been adopted by another
    process.
    """
    check_proc()
    found = _all_processes()
    children: dict[int, list[int]] = {}
    for process, (parent, _) in found.items():
        children.setdefault(parent, []).append(process)
    ticks, waiting = 0, [os.getpid()]
    while waiting:
        process = waiting.pop()
        ticks += found[process][1]
        waiting.extend(children.get(process, ()))
    return ticks / os.sysconf("SC_CLK_TCK")


def check_proc() -> None:
    """Refuse to measure where there is no /proc."""
    if not (PROC / "self" / "statm").exists():
        raise MmstreamError("this benchmark reads /proc, which only Linux has")


def _all_processes() -> dict[int, tuple[int, int]]:
    """Process -> its parent, and the clock ticks of itself and of its children that have been waited for."""
    found = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        fields = line.rpartition(")")[2].split()  # the name before it may hold anything; fields[0] is the state
        found[int(entry.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return found
