"""The server as an application of Ray Serve, in a Ray of this machine: its words, its doors, its end."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from ray import serve

from mmstream.core import MmstreamError
from mmstream.server.deployment import NAME, Options, app
from mmstream.server.models import graph_for, offered
from tests.command_line import BANK, WEATHER, say
from tests.talking import talking, words
from tests.test_server_live_media import in_process, pcm_of, spoken_words

DEPLOY = Path(__file__).parent.parent / "deploy"
TOKEN = "0123456789abcdef0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
WAIT_S = 60.0


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT_S))


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return say(tmp_path_factory.mktemp("media") / "talk.wav", WEATHER, BANK)


@pytest.fixture(scope="module")
def address(ray_cluster, tmp_path_factory):
    """Host and port of the application, served by Ray."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    application = app({"token_file": str(tokens), "models": "sphinx", "sessions": "8"})
    serve.run(application, name=NAME, route_prefix="/")
    yield f"127.0.0.1:{port}"
    serve.shutdown()


def test_it_is_ready_and_asks_for_a_token(address):
    assert httpx.get(f"http://{address}/health").json()["status"] == "ok"
    ready = httpx.get(f"http://{address}/ready", headers=HEADERS)
    assert (ready.status_code, ready.json()["models"], ready.json()["sessions_at_most"]) == (200, ["sphinx"], 8)
    assert "<!doctype html>" in httpx.get(f"http://{address}/").text.lower()
    assert httpx.get(f"http://{address}/v1/models").status_code == 401

    async def knock():
        async with talking(f"ws://{address}/v1/live") as one:
            return await one.rest(), one.events[-1]["code"]

    assert run(knock()) == (4401, "unauthorized")


def test_a_live_session_gives_the_words_that_it_gives_in_process(address, talk):
    async def go():
        async with talking(f"ws://{address}/v1/live", additional_headers=HEADERS) as one:
            await one.start()
            await one.send(pcm_of(talk))
            await one.finish()
            assert await one.rest() == 1000
            return one.events

    assert spoken_words(run(go())) == in_process(talk, "sphinx")


def test_a_broken_connection_comes_back_to_its_session(address, talk):
    media = pcm_of(talk)

    async def go():
        async with talking(f"ws://{address}/v1/live", additional_headers=HEADERS) as one:
            token = (await one.start())["token"]
            await one.send(media[: len(media) // 2])
            await one.next("caption")
            one.abort()
        async with talking(f"ws://{address}/v1/live", additional_headers=HEADERS) as other:
            resumed = await other.resume(token, one.seq)
            await other.send(media[resumed["received_bytes"] :])
            await other.finish()
            assert await other.rest() == 1000
            return [*one.events, *other.events]

    assert words(run(go())) == f"{WEATHER} {BANK}".split()


def test_a_file_is_transcribed(address, talk):
    files = {"file": ("talk.wav", talk.read_bytes())}
    answer = httpx.post(
        f"http://{address}/v1/audio/transcriptions",
        headers=HEADERS,
        files=files,
        data={"model": "auto"},
        timeout=WAIT_S,
    )
    assert answer.json()["text"].split() == f"{WEATHER} {BANK}".split()


@pytest.mark.parametrize("name", ["pipeline.cluster.yaml", "pipeline.gpu.yaml"])
@pytest.mark.parametrize("kind", ["live", "file"])
def test_what_a_client_sends_comes_in_here_wherever_a_pipeline_reads_its_media(name, kind):
    graph, source = graph_for(offered(["sphinx"])["sphinx"], kind, DEPLOY / name, (), (), 1)
    driver = next(worker for worker in graph.workers.values() if worker.place == "driver")
    assert set(driver.nodes) == {source, "outgoing"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "token_file: Field required"),
        ({"token_file": "t", "tokenfile": "t"}, "tokenfile: Extra inputs are not permitted"),
        ({"token_file": "t", "sessions": 0}, "sessions: .*greater than or equal to 1"),
        ({"token_file": "t", "executor": "rya"}, "executor: Input should be 'local' or 'ray'"),
    ],
)
def test_arguments_are_checked_before_anything_is_deployed(arguments, said):
    with pytest.raises(MmstreamError, match=said):
        app(arguments)


def test_a_list_may_be_a_text_as_a_command_line_has_it():
    options = Options.model_validate({"token_file": "t", "models": "avsr, sphinx", "origins": ["https://a.example"]})
    assert (options.models, options.origins) == (["avsr", "sphinx"], ["https://a.example"])


def test_sessions_end_by_themselves_when_the_application_goes(address, talk):
    """The last test of this module: it takes the application away."""
    media = pcm_of(talk)

    async def go():
        async with talking(f"ws://{address}/v1/live", additional_headers=HEADERS) as one:
            await one.start()
            await one.send(media[: len(media) // 2])
            await one.next("caption")
            going.start()
            await asyncio.to_thread(until_gone, address)
            await one.send(media[len(media) // 2 :])
            await one.finish()
            assert await one.rest() == 1000
            return one.events

    going = threading.Thread(target=serve.delete, args=[NAME])
    events = run(go())
    going.join(WAIT_S)
    assert not going.is_alive()
    assert words(events) == f"{WEATHER} {BANK}".split()


def until_gone(address):
    """No new session would find the application; Serve tells of that in no other way."""
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://{address}/health").status_code == 404:
                return
        time.sleep(0.05)
    raise AssertionError("the application is still there")
