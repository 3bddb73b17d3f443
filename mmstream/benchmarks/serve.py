"""``mmstream bench serve``: what a server adds to live captions, what waiting sessions cost it, how many may speak."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mmstream.benchmarks import serve_stub
from mmstream.benchmarks.processes import check_proc, tree_cpu_s
from mmstream.benchmarks.serve_client import PACKET_S, SAMPLE_RATE, Event, Pace, ServerProcess, connected, server, speak
from mmstream.benchmarks.serve_overhead import compare
from mmstream.benchmarks.table import Figure, Report, percentile
from mmstream.clock import SYSTEM_CLOCK

Part = Literal["overhead", "idle", "sessions"]
PARTS: tuple[Part, ...] = ("overhead", "idle", "sessions")
Say = Callable[[str], None]

IDLE, IDLE_KB = 500, 50.0
LIVE = 100
BOUNDS = {95: 200.0}  # of the echo, by percentile, ms
WARM_IDLE = 50  # sessions that wait before the first look at the memory
LEAD_S = 0.5  # wall-clock seconds between the last session's start and the first packet
SETTLE_S = 2.0  # media seconds of sessions that speak, at their beginning, that are not measured


@dataclass(frozen=True)
class Plan:
    """What is measured, and how."""

    parts: Sequence[Part] = PARTS
    model: str = "sphinx"  # of the overhead, and of the server whose sessions wait
    seconds: float = 30.0  # of speech, in each round
    idle: int = IDLE
    sessions: int = LIVE


def measure_serve(plan: Plan, rounds: int, speech: Path | None, say: Say) -> Report:
    """Every part of the plan, in so many rounds.

    Raises:
        MmstreamError: a session failed, or the speech or the model cannot be had.
    """
    check_proc()
    figures: list[Figure] = []
    if "overhead" in plan.parts:
        figures += compare(plan.model, plan.seconds, rounds, speech, say)
    if "idle" in plan.parts:
        figures += _idle(plan, rounds, say)
    if "sessions" in plan.parts:
        figures += _speaking(plan, rounds, say)
    settings = {"rounds": rounds, **asdict(plan), "parts": ", ".join(plan.parts)}
    settings["speech"] = speech.name if speech is not None else "the sample video"
    return Report("serve", "The server", settings, figures, NOTES)


NOTES = (
    "Overhead: one file at 1.0x, in this process as `mmstream live FILE` runs it, and through `mmstream serve` in "
    "another, in turn, both warm. From capture, which is media time on the pacing clock, until the words are here.",
    f"Waiting sessions: started, without media; growth of the server's memory, {WARM_IDLE} being there before.",
    "Speaking sessions: messages of 100 ms at 1.0x, spread evenly, from this process; the stub sleeps 5 ms a batch. "
    "Echo: from the sending of the message that completes a word to the caption that first shows it.",
)


# Sessions that wait.


def _idle(plan: Plan, rounds: int, say: Say) -> list[Figure]:
    """A new server for each round: what it once took, Python does not give back."""
    costs = []
    for number in range(rounds):
        total = plan.idle + WARM_IDLE
        with server(["serve", "--model", plan.model, "--port", "0", "--sessions", str(total)]) as process:
            costs.append(asyncio.run(_wait(process, plan.idle)))
        say(f"{plan.idle} waiting sessions, round {number + 1} of {rounds}: {costs[-1]:.1f} KB each")
    return [
        Figure("waiting sessions held", "", (float(plan.idle),) * rounds, at_least=float(min(plan.idle, IDLE))),
        Figure("memory of a waiting session", "KB", tuple(costs), at_most=IDLE_KB),
    ]


async def _wait(process: ServerProcess, sessions: int) -> float:
    """Kilobytes for each of so many sessions that have been started and send nothing."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(WARM_IDLE):
            await stack.enter_async_context(connected(process.live))
        before = process.memory_kb()
        sockets = [await stack.enter_async_context(connected(process.live)) for _ in range(sessions)]
        found = (process.memory_kb() - before) / sessions
        for socket in sockets:  # each is still there
            await (await socket.ping())
        return found


# Sessions that speak.


@dataclass(frozen=True)
class Spoken:
    """What came of many sessions that spoke at once."""

    echo_s: list[float]  # of every word after the beginning; wall-clock seconds
    missing: int  # words that never came
    gaps: int
    server_cores: float  # CPU seconds for each second
    client_cores: float

    def ms(self, percent: float) -> float:
        return 1000 * percentile(self.echo_s, percent) if self.echo_s else float("inf")


def _speaking(plan: Plan, rounds: int, say: Say) -> list[Figure]:
    found = []
    with server_of_stub(plan.sessions) as process:
        asyncio.run(speaking(process, plan.sessions, SETTLE_S + 1))  # what starts late is not measured
        for number in range(rounds):
            found.append(asyncio.run(speaking(process, plan.sessions, plan.seconds)))
            one = found[-1]
            say(
                f"{plan.sessions} speaking sessions, round {number + 1} of {rounds}: echo p50 {one.ms(50):.1f} ms, "
                f"p95 {one.ms(95):.1f} ms, {one.missing} words missing, server {one.server_cores:.2f} cores"
            )
    return figures_of(plan.sessions, found)


def figures_of(sessions: int, found: Sequence[Spoken]) -> list[Figure]:
    """Of so many sessions at once, in every round."""
    name = f"{sessions} speaking sessions"
    return [
        *(Figure(f"{name}: echo p{q}", "ms", tuple(one.ms(q) for one in found), BOUNDS.get(q)) for q in (50, 95, 99)),
        Figure(f"{name}: words missing", "", tuple(float(one.missing) for one in found), at_most=0.0),
        Figure(f"{name}: gaps", "", tuple(float(one.gaps) for one in found), at_most=0.0),
        Figure(f"{name}: CPU of the server", "cores", tuple(one.server_cores for one in found)),
        Figure(f"{name}: CPU of the client", "cores", tuple(one.client_cores for one in found)),
    ]


def server_of_stub(sessions: int) -> contextlib.AbstractContextManager[ServerProcess]:
    """A server whose recogniser is the stub."""
    return server([str(sessions)], module=serve_stub.HERE)


async def speaking(process: ServerProcess, sessions: int, seconds: float) -> Spoken:
    """So many sessions at once, each for so many seconds, spread evenly over a packet.

    Raises:
        MmstreamError: one of them failed.
    """
    pcm = bytes(2 * round(seconds * SAMPLE_RATE))
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(process.live)) for _ in range(sessions)]
        begin = SYSTEM_CLOCK.now() + LEAD_S
        ears = [Ear(Pace(pcm, begin + PACKET_S * number / sessions)) for number in range(sessions)]
        before = process.cpu_s(), tree_cpu_s()
        async with asyncio.TaskGroup() as group:
            for socket, ear in zip(sockets, ears, strict=True):
                group.create_task(speak(socket, ear.pace, ear.hear))
        took_s = SYSTEM_CLOCK.now() - begin
        in_server = process.cpu_s() - before[0]
        in_all = tree_cpu_s() - before[1]
    words = int(seconds / serve_stub.WORD_S)
    echo_s = [echo for ear in ears for end, echo in ear.echo_s.items() if end > SETTLE_S]
    missing = sum(words - len(ear.echo_s) for ear in ears)
    gaps = sum(ear.gaps for ear in ears)
    return Spoken(echo_s, missing, gaps, in_server / took_s, (in_all - in_server) / took_s)


class Ear:
    """Hears a session's words come back."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.echo_s: dict[float, float] = {}  # by end of the word, from the sending of the packet that completed it
        self.gaps = 0

    def hear(self, event: Event, now: float) -> None:
        if event["type"] == "gap":
            self.gaps += 1
        elif event["type"] == "caption":
            words: list[dict[str, Any]] = [*event["stable"], *event["unstable"]]
            for word in words:
                end: float = word["end"]
                if end not in self.echo_s:
                    self.echo_s[end] = now - self.pace.sent[round(end / PACKET_S) - 1]
