"""docs/protocol.md is what the server does: its examples are messages of the server, and it names every code."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from mmstream.core import Packet
from mmstream.media import Gap, Sight
from mmstream.server.events import event_of
from mmstream.server.protocol import Finish, Ping, Resume, Start, read_first, read_later
from tests.serving import served
from tests.stub import spoken
from tests.talking import talking

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "protocol.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", TEXT, re.DOTALL)]
FROM_CLIENT = {"start": Start, "resume": Resume, "finish": Finish, "ping": Ping}
BOX = (1.0, 2.0, 3.0, 4.0)


def shape(value):
    """The names of all fields, and what kind of thing each holds; null and a number are both a number."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "text" if isinstance(value, str) else "flag" if isinstance(value, bool) else "number"


@pytest.fixture(scope="module")
def events():
    async def go(address):
        async with talking(address) as talk:
            token = (await talk.start(translate=["de"]))["token"]
            await talk.say(type="ping", id=7)
            await talk.send(spoken(0, 7))
            while not any(one["type"] == "translation" and one["stable"] for one in talk.events):
                await talk.next()
            await talk.next("statistics")
            async with talking(address) as other:
                await other.resume(token, talk.seq)
                await other.finish()
                assert await other.rest() == 1000
                assert await talk.rest() == 4409
                return talk.events + other.events

    with served(translate=["de"]) as server:
        real = asyncio.run(go(server.live))
    sight = event_of(Packet("s", 0.0, 0.04, Sight(640, 360, BOX, BOX, 0.9, 0.8), 0.0), 0.0)
    gap = event_of(Packet("s", 0.0, 1.0, Gap("audio", "lost"), 0.0), 0.0)
    return [*real, sight, gap]


def test_every_example_is_what_the_server_says_or_takes(events):
    kinds = {event["type"] for event in events}
    examples = {example["type"]: example for example in EXAMPLES}
    assert set(examples) == kinds | set(FROM_CLIENT)
    for kind, example in examples.items():
        if kind in FROM_CLIENT:
            read = read_first if kind in ("start", "resume") else read_later
            assert isinstance(read(json.dumps(example)), FROM_CLIENT[kind])
            assert set(example) == set(FROM_CLIENT[kind].model_fields)
            continue
        for event in (one for one in events if one["type"] == kind):
            assert set(event) == set(example)
        fullest = max((one for one in events if one["type"] == kind), key=lambda one: len(json.dumps(one)))
        if kind in ("caption", "translation"):
            fullest = next(one for one in events if one["type"] == kind and one["stable"])
            fullest = {**fullest, "unstable": fullest["stable"]}  # of the same shape
        assert shape(fullest) == shape(example)


def test_the_exchange_is_made_of_such_messages():
    lines = re.findall(r"^([<>]) (\{.*\})$", TEXT, re.MULTILINE)
    known = {example["type"]: example for example in EXAMPLES}
    assert len(lines) > 8
    for way, line in lines:
        message = json.loads(line)
        assert (way == ">") == (message["type"] in FROM_CLIENT)
        assert set(message) <= set(known[message["type"]])


def test_every_code_is_explained():
    said = set()
    for path in (ROOT / "mmstream" / "server").glob("*.py"):
        source = path.read_text()
        found = re.findall(r'(?:Refusal|super\(\).__init__)\(\s*"(\w+)",.*?\b(4\d{3}|10\d\d)\b', source, re.DOTALL)
        said |= {(code, number) for code, number in found}
    rows = re.findall(r"^\| (\d{4}) \| `?(\w*)`? \|", TEXT, re.MULTILINE)
    explained = {(code, number) for number, code in rows}
    unheard = {("too_slow", "4408"), ("shutting_down", "1012")}  # of request bodies; closed without a word
    assert len(said) > 12
    assert said - unheard <= explained
