"""Clients of the live protocol for ``bench serve``, and the process of the server that they talk to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError

SUBPROTOCOL = Subprotocol("mmstream.v1")
SAMPLE_RATE = 16_000  # Hz, mono, 16 bits
PACKET_S = 0.1  # media seconds of a message
PACKET = 2 * round(PACKET_S * SAMPLE_RATE)  # bytes
START = json.dumps(
    {"type": "start", "protocol": 1, "media": {"kind": "pcm", "sample_rate": SAMPLE_RATE, "channels": 1}}
)
FINISHED = 1000  # close code
ENTRY = "from mmstream.cli import main; main()"
READY_S = 120.0  # for the server to load its models
END_S = 30.0  # for its last words, and for its process to end
LAST_LINES = 20  # of its log, told where it fails

Event = dict[str, Any]


@dataclass
class ServerProcess:
    """A server in a process of its own."""

    live: str  # address of the live protocol
    pid: int

    def memory_kb(self) -> int:
        """Resident."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def cpu_s(self) -> float:
        """CPU seconds of user and system so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(arguments: Sequence[str], module: str | None = None) -> Iterator[ServerProcess]:
    """``mmstream`` with these arguments, or a module of its own, which says "serving on ADDRESS" once it does.

    Raises:
        MmstreamError: it does not.
    """
    command = [sys.executable, *(["-c", ENTRY] if module is None else ["-m", module]), *arguments]
    log: deque[str] = deque(maxlen=LAST_LINES)
    told = threading.Event()
    found: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:

        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                log.append(line.rstrip())
                if "serving on " in line:
                    found.append(line.split()[-1])
                    told.set()
            told.set()

        reader = threading.Thread(target=read, name="mmstream-bench-log", daemon=True)
        reader.start()
        try:
            told.wait(READY_S)
            if not found:
                raise MmstreamError(f"the server did not start: {' / '.join(log) or 'it said nothing'}")
            yield ServerProcess(f"{found[0].replace('http', 'ws', 1).rstrip('/')}/v1/live", process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.asynccontextmanager
async def connected(address: str) -> Any:
    """A started session."""
    async with connect(address, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None) as socket:
        await socket.send(START)
        event = json.loads(await socket.recv())
        if event["type"] != "started":
            raise MmstreamError(f"the server said: {event.get('message', event)}")
        yield socket


@dataclass
class Pace:
    """What a session sends, and when."""

    pcm: bytes
    origin: float  # wall-clock second of media second 0

    def __post_init__(self) -> None:
        self.sent: list[float] = []  # wall-clock second of each packet

    async def send(self, socket: ClientConnection) -> None:
        """Each packet at the moment at which its end would have been captured, then finish."""
        for number in range(-(-len(self.pcm) // PACKET)):
            end = min((number + 1) * PACKET, len(self.pcm)) / PACKET * PACKET_S
            await asyncio.sleep(max(0.0, self.origin + end - SYSTEM_CLOCK.now()))
            self.sent.append(SYSTEM_CLOCK.now())
            await socket.send(self.pcm[number * PACKET : (number + 1) * PACKET])
        await socket.send(json.dumps({"type": "finish"}))


async def speak(socket: ClientConnection, pace: Pace, hear: Callable[[Event, float], None]) -> None:
    """A whole session of a started connection; ``hear`` is given each event, and when it came.

    Raises:
        MmstreamError: the server ended it before its time.
    """
    sending = asyncio.create_task(pace.send(socket))
    try:
        async for text in socket:
            hear(json.loads(text), SYSTEM_CLOCK.now())
        if not sending.done():
            raise MmstreamError("the server closed a session that still spoke")
        await sending
    except ConnectionClosed as closed:
        raise MmstreamError(f"the server closed a session: {closed}") from closed
    finally:
        sending.cancel()
    if socket.close_code != FINISHED:
        raise MmstreamError(f"the server closed a session with {socket.close_code}")
