"""Speech and pictures through the server: the same words as in process, by real recognisers, and on Ray."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import av
import pytest

from mmstream.executors.local import LocalExecutor
from mmstream.media import Caption, Gap
from mmstream.recipe import Recipe, SinkNode
from mmstream.registry import resolve
from mmstream.server.lines import CUT, Container, Pcm
from mmstream.server.service import Service
from tests.command_line import BANK, WEATHER, Running, say
from tests.media_samples import ffmpeg, require_data
from tests.serving import live_address, served
from tests.talking import CONTAINER, captions, heard, talking, words
from tests.test_server_live import UNHURRIED

WAIT_S = 60.0
GRID_WORDS = 6  # in every sentence of GRID


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT_S))


@pytest.fixture(scope="module")
def sphinx():
    with served("sphinx", limits=UNHURRIED) as one:
        yield one


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return say(tmp_path_factory.mktemp("media") / "talk.wav", WEATHER, BANK)


def pcm_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in container.decode(audio=0))


def in_process(path: Path, model: str) -> list[list[dict]]:
    """The words of the final captions that `mmstream live` gives for a file, without the wait for its pace."""
    taken = []

    class Outlet:
        ready = True

        def put(self, packet):
            if isinstance(packet.data, Caption) and packet.data.final:
                taken.append([told(word) for word in packet.data.stable])

    recipe = Recipe()
    recipe.recognise_with(resolve(model), watched=True)
    recipe.listen_to("operators.sources:MediaFile", {"path": str(path), "pace": "fast", "chunk_ms": 100}, live=False)
    if "video" in resolve(model).media:
        recipe.look_at_source()
    recipe.write_to([SinkNode("outgoing", "operators.sinks:Outgoing", {})])
    graph = recipe.graph()
    sink = replace(graph.nodes["outgoing"], arguments={"outlets": {"s": Outlet()}})
    executor = LocalExecutor(replace(graph, nodes={**graph.nodes, "outgoing": sink}))
    try:
        executor.start()
        executor.open("s")
        assert executor.wait().error is None
    finally:
        executor.close()
    return taken


def told(word):
    """A word as the server tells of it."""
    confidence = None if word.confidence is None else round(word.confidence, 3)
    times = {"start": round(word.start, 3), "end": round(word.end, 3)}
    return {"word": word.text, **times, "confidence": confidence, "video": round(word.video, 3)}


def spoken_words(events):
    return [caption["stable"] for caption in captions(events)]


def test_pcm_gives_the_words_that_the_same_sound_gives_in_process(sphinx, talk):
    events = run(heard(sphinx.live, pcm_of(talk)))
    assert " ".join(words(events)) == f"{WEATHER} {BANK}"
    assert spoken_words(events) == in_process(talk, "sphinx")


def test_a_container_gives_the_words_that_the_same_file_gives_in_process(sphinx, talk, tmp_path):
    media = tmp_path / "talk.webm"
    ffmpeg("-i", talk, "-c:a", "libopus", media)
    events = run(heard(sphinx.live, media.read_bytes(), CONTAINER, piece=4000))
    assert spoken_words(events) == in_process(media, "sphinx")
    assert " ".join(words(events)) == f"{WEATHER} {BANK}"


def test_what_is_seen_of_a_speaker_is_told(tmp_path):
    """A clip of GRID as a browser sends it: sound and pictures in one WebM."""
    clip, media = require_data("grid/dev_seen/s1/bbal8p.mp4"), tmp_path / "clip.webm"
    fast = ("-deadline", "realtime", "-cpu-used", "8")
    ffmpeg("-i", clip, "-c:v", "libvpx", "-b:v", "2M", *fast, "-c:a", "libopus", "-f", "webm", "-live", "1", media)
    with served("avsr", limits=UNHURRIED) as server:
        events = run(heard(server.live, media.read_bytes(), CONTAINER, piece=4000))
    assert spoken_words(events) == in_process(media, "avsr")
    found = [word for caption in spoken_words(events) for word in caption]
    assert len(found) == GRID_WORDS
    assert all(word["video"] > 0 for word in found)
    sights = [event for event in events if event["type"] == "sight"]
    assert sights
    assert all(0 <= event["time"] <= 3 and event["width"] > 0 < event["height"] for event in sights)
    (left, top, width, height), mouth = sights[-1]["face"], sights[-1]["mouth"]
    assert left <= mouth[0] + mouth[2] / 2 <= left + width
    assert top + height / 2 <= mouth[1] + mouth[3] / 2 <= top + 1.2 * height


# An utterance that is ended on demand, as Deepgram's clients may ask.


@pytest.mark.parametrize("form", ["pcm", "webm"])
def test_an_utterance_can_be_cut(tmp_path, form):
    sentence = say(tmp_path / "sentence.wav", WEATHER)
    media, data = Pcm(), pcm_of(sentence)
    if form == "webm":
        path = tmp_path / "sentence.webm"
        ffmpeg("-i", sentence, "-c:a", "libopus", "-cluster_time_limit", "100", path)
        media, data = Container(), path.read_bytes()
    part = 0.5  # of the whole: amid the sentence

    async def go():
        service = Service(["sphinx"])
        try:
            await asyncio.to_thread(service.start)
            session = await service.open_live(media=media)
            assert not session.cut()  # there is nothing yet
            begun = asyncio.Event()
            reading = asyncio.create_task(all_of(session, begun))
            await session.feed(data[: round(part * len(data)) // 2 * 2])
            await begun.wait()  # the decoder of the container is at work
            assert session.cut()
            await asyncio.sleep(0.1)  # as live: what comes in within a frame of the cut is not told apart
            await session.feed(data[round(part * len(data)) // 2 * 2 :])
            await session.finish()
            assert not session.cut()
            return await reading
        finally:
            await asyncio.to_thread(service.close)

    packets = run(go())
    (place,) = [number for number, one in enumerate(packets) if isinstance(one.data, Gap)]
    cut = packets[place]
    assert cut.data.reason == CUT
    assert cut.start == cut.end
    assert packets[place - 1].data.final
    assert packets[place - 1].end <= cut.start + 1e-6
    assert all(one.start >= cut.start - 1e-6 for one in packets[place + 1 :])
    one, other = [one.data for one in packets if isinstance(one.data, Caption) and one.data.final]
    assert one.stable[0].text == "the"
    assert other.stable[-1].text == "today"


async def all_of(session, begun):
    packets = []
    async for packet in session.packets():
        packets.append(packet)
        begun.set()
    return packets


# The end of the server.


def test_ctrl_c_lets_the_last_words_out(talk):
    async def go(address, server):
        async with talking(address) as one, talking(address) as idle:
            await one.start()
            await idle.start()
            await one.send(pcm_of(talk)[: 2 * 16_000 * 2])  # two seconds of the first sentence
            await one.next("statistics")
            server.send(signal.SIGINT)
            code, idle_code = await one.rest(), await idle.rest()
            return code, idle_code, one.events

    with Running("serve", "--model", "sphinx", "--port", "0") as server:
        address = live_address(server.wait_for("serving on"))
        code, idle_code, events = run(go(address, server))
        done = server.end()
    assert (code, idle_code) == (1012, 1012)
    assert captions(events)
    assert "".join(words(events)).startswith("theweather")
    assert done.code == 0, done
    assert not done.out
    assert sum("Ctrl-C" in line for line in done.err.splitlines()) == 1


# On Ray.


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_replica_changes_no_caption(sphinx, talk):
    data = pcm_of(talk)
    undisturbed = run(heard(sphinx.live, data))

    async def go(server):
        async with talking(server.live) as one:
            await one.start()
            await one.send(data[: len(data) // 2])
            await one.next("caption")
            kill_replica(server.service)
            await one.send(data[len(data) // 2 :])
            await one.finish()
            assert await one.rest() == 1000, one.events[-1]
            return one.events

    with served("sphinx", executor="ray", workers=2, limits=UNHURRIED) as server:
        events = run(go(server))
    assert json.dumps(spoken_words(events)) == json.dumps(spoken_words(undisturbed))


def kill_replica(service):
    """Kill -9 the one that has the session."""
    (stage,) = service._stages.values()
    members = stage._executor.members()
    (busy,) = [one for one in members if stage._executor.sessions_on(one)]
    os.kill(members[busy].pid, signal.SIGKILL)
