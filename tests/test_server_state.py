"""What a server says of itself: health, readiness, metrics, and its API's description."""

import asyncio

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mmstream import __version__
from mmstream.observe.metrics import METRICS
from mmstream.server.tokens import Tokens
from tests.serving import served
from tests.stub import spoken
from tests.talking import heard, talking

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def server():
    with served(sessions=8) as one:
        yield one


def metrics(server):
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def test_it_says_that_it_lives_and_what_it_has(server):
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok", "version": __version__}
    ready = httpx.get(f"{server.url}/ready")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "models": ["stub"], "sessions": 0, "sessions_at_most": 8}


def test_strangers_learn_no_more_than_that_it_is_ready():
    with served(tokens=Tokens([TOKEN])) as guarded:
        assert httpx.get(f"{guarded.url}/ready").json() == {"ready": True}
        assert httpx.get(f"{guarded.url}/metrics").status_code == 401
        known = httpx.get(f"{guarded.url}/ready", headers={"Authorization": f"Bearer {TOKEN}"})
        assert known.json()["models"] == ["stub"]


def test_metrics_count_sessions_and_latencies(server):
    async def go():
        async with talking(server.live) as idle, talking(server.live) as busy:
            await idle.start()
            await busy.start()
            await busy.send(spoken(0, 3))
            await busy.next("caption")
            return await asyncio.to_thread(metrics, server)

    asyncio.run(heard(server.live, spoken(0, 8)))
    found = asyncio.run(go())
    (running,) = [one for one in found["mmstream_sessions"].samples if one.labels == {"state": "running"}]
    assert running.value == 2
    for name in ("mmstream_emission_latency_seconds", "mmstream_commit_latency_seconds"):
        (count,) = [one for one in found[name].samples if one.name.endswith("_count")]
        assert count.value >= 8
    names = {f"{name}_total" if family.type == "counter" else name for name, family in found.items()}
    assert names <= set(METRICS)


def test_one_that_ends_is_not_ready():
    with served() as ending:
        asyncio.run_coroutine_threadsafe(ending.service.drain(5.0), ending.loop).result(10)
        ready = httpx.get(f"{ending.url}/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)

        async def go():
            async with talking(ending.live) as talk:
                await talk.say(type="start", protocol=1)
                return await talk.rest()

        assert asyncio.run(go()) == 1012


def test_its_api_is_described(server):
    described = httpx.get(f"{server.url}/openapi.json").json()
    assert {"/health", "/ready", "/metrics"} <= set(described["paths"])
    assert "reference.js" in httpx.get(f"{server.url}/reference.html").text
