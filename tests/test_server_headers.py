"""What every answer carries, and what a client learns of a fault of ours."""

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mmstream.server.headers import Faults
from mmstream.server.refusal import Refusal
from mmstream.server.settings import Settings
from tests.guarded import TOKEN, WAIT_S, Toy, bearer, call, guarded, layered, logging_lines, serving

EXPECTED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.fixture
def logged():
    """What the server logs meanwhile, as JSON lines."""
    with logging_lines() as lines:
        yield lines


# --- Headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("GET", "/v1/models", 401), ("POST", "/v1/x", 403), ("GET", "/fault", 500)],
)
def test_every_answer_has_the_headers(method, path, status):
    headers = {"origin": "https://evil.test", **(bearer() if status in (403, 500) else {})}
    answer = call(layered(Toy(), guarded()), method, path, headers=headers)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in EXPECTED} == EXPECTED
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers


def test_the_policy_allows_the_page_and_nothing_else():
    policy = call(layered(Toy(), guarded()), "GET", "/health", host="caption.test:8000").headers[
        "content-security-policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["object-src"] == rules["base-uri"] == "'none'"
    assert rules["connect-src"] == "'self' ws://caption.test:8000"
    assert "unsafe" not in policy
    assert "*" not in policy


@pytest.mark.parametrize("host", ["a; script-src *", "a b", "a'b", "x" * 300, "[::1", "a:1:2"])
def test_a_hostile_host_does_not_reach_the_policy(host):
    answer = call(layered(Toy(), guarded()), "GET", "/health", headers={"host": host})
    assert "connect-src 'self';" in answer.headers["content-security-policy"]


def test_camera_and_microphone_are_the_pages_own():
    allowed = call(layered(Toy(), Settings()), "GET", "/health").headers["permissions-policy"]
    assert "camera=(self)" in allowed
    assert "microphone=(self)" in allowed
    assert "geolocation=()" in allowed


@pytest.mark.parametrize(("host", "told"), [("caption.test", True), ("localhost", False), ("127.0.0.1:8000", False)])
def test_with_tls_browsers_are_told_to_stay_with_it(host, told):
    answer = call(layered(Toy(), guarded()), "GET", "/health", host=host, scheme="https")
    assert ("strict-transport-security" in answer.headers) == told
    assert f"wss://{host}" in answer.headers["content-security-policy"]


def test_what_the_application_says_of_itself_stands():
    async def app(scope, receive, send):
        headers = [(b"cache-control", b"max-age=60"), (b"server", b"software/1.2.3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    answer = call(layered(app, guarded()), "GET", "/health")
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert "server" not in answer.headers


def test_a_websocket_that_is_refused_has_them_too():
    settings = guarded()
    with serving(layered(Toy(), settings), settings) as (host, port), pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{host}:{port}/v1/live").__enter__()
    assert refused.value.response.headers["x-content-type-options"] == "nosniff"
    assert "server" not in refused.value.response.headers


# --- Faults


def test_a_fault_is_a_reference_for_the_client_and_a_trace_for_the_log(logged):
    answer = call(layered(Toy(), guarded()), "GET", "/fault", headers=bearer())
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal"
    for inside in ("RuntimeError", "Traceback", "guarded.py", "the inside of the server"):
        assert inside not in answer.text
    (line,) = [line for line in logged() if "trace" in line]
    assert line["reference"] == error["reference"]
    assert line["reference"] in error["message"]
    assert line["request"] == answer.headers["x-request-id"]
    assert "RuntimeError: the inside of the server" in line["trace"]
    assert TOKEN not in json.dumps(line)


@pytest.mark.parametrize("subprotocols", [["mmstream.v1"], None])
def test_a_fault_closes_a_websocket(logged, subprotocols):
    settings = guarded()
    with (
        serving(layered(Toy(), settings), settings) as (host, port),
        connect(f"ws://{host}:{port}/fault", additional_headers=bearer(), subprotocols=subprotocols) as client,
    ):
        if subprotocols:
            error = json.loads(client.recv(WAIT_S))
            assert (error["type"], error["code"]) == ("error", "internal")
        with pytest.raises(ConnectionClosed):
            client.recv(WAIT_S)
        assert client.close_code == 1011
    assert any("the inside of the server" in line.get("trace", "") for line in logged())


def through_faults(raised, kind="http", before=()):
    """What a client sees of an application that raises, and what is raised further."""
    sent = []

    async def app(scope, receive, send):
        for message in before:
            await send(message)
        raise raised

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": f"{kind}.connect"}

    asyncio.run(Faults(app)({"type": kind, "path": "/x", "headers": [], "subprotocols": []}, receive, send))
    return sent


def test_a_refusal_is_answered_as_it_is(logged):
    start, body = through_faults(Refusal("full", "no room", 503, 4429, retry_after_s=5))
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert json.loads(body["body"])["error"]["message"] == "no room"
    assert [line for line in logged() if line["level"] == "error"] == []


@pytest.mark.parametrize("left", [ClientDisconnect(), WebSocketDisconnect(), OSError("gone")])
def test_a_client_that_has_left_is_no_fault(logged, left):
    assert through_faults(left) == []
    assert logged() == []


def test_an_error_of_the_system_is_a_fault(logged):
    start, _ = through_faults(OSError(28, "No space left on device"))
    assert start["status"] == 500
    assert "No space left" in logged()[0]["trace"]


def test_a_fault_in_the_middle_of_an_answer_breaks_it_off(logged):
    with pytest.raises(ConnectionAbortedError):
        through_faults(RuntimeError("late"), before=[{"type": "http.response.start", "status": 200, "headers": []}])
    assert "late" in logged()[0]["trace"]


def test_a_fault_after_the_close_of_a_websocket_is_only_logged(logged):
    before = [{"type": "websocket.accept"}, {"type": "websocket.close"}]
    assert through_faults(RuntimeError("late"), "websocket", before) == before
    assert "late" in logged()[0]["trace"]
