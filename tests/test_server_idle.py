"""Sessions that only wait: what each of them costs the server, in memory of its process."""

import asyncio
import contextlib
from pathlib import Path

from tests.command_line import Running
from tests.serving import live_address
from tests.talking import talking

WARM, IDLE = 50, 500  # sessions before the first look, and between the two
MOST_KB = 50
WAIT_S = 120


def memory_kb(pid):
    """Of the process, resident."""
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS:")]
    return int(line.split()[1])


async def wait(address, stack, count):
    for _ in range(count):
        talk = await stack.enter_async_context(talking(address, ping_interval=None, max_queue=1))
        await talk.start()


def test_500_idle_sessions_cost_50_kb_each_at_most():
    async def go(address, pid):
        async with contextlib.AsyncExitStack() as stack:
            await wait(address, stack, WARM)
            before = memory_kb(pid)
            await wait(address, stack, IDLE)
            return (memory_kb(pid) - before) / IDLE

    with Running("serve", "--model", "sphinx", "--port", "0", "--sessions", WARM + IDLE) as server:
        address = live_address(server.wait_for("serving on"))
        each_kb = asyncio.run(asyncio.wait_for(go(address, server.process.pid), WAIT_S))
    print(f"an idle session: {each_kb:.1f} KB")
    assert each_kb <= MOST_KB
