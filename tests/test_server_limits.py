"""How much a caller may ask for: bodies, messages, pace, duration, and connections that are many, slow or deaf."""

import asyncio
import contextlib
import json
import time
from dataclasses import fields

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mmstream.core import MmstreamError
from mmstream.server.limits import BURST_S, BodyLimit, Limits, Pace, Rate, Seats, SocketLimit, limits, network_of
from mmstream.server.refusal import Refusal
from tests.guarded import WAIT_S, Toy, bearer, call, guarded, layered, serving


class Hand:
    """A clock moved by hand."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


# --- The command line


def test_limits_are_changed_by_name():
    changed = limits(["body_bytes=10k", "idle_s=1.5", "upload_bytes=2G", "connections=7"])
    assert (changed.body_bytes, changed.idle_s, changed.upload_bytes, changed.connections) == (
        10_000,
        1.5,
        2 * 10**9,
        7,
    )
    assert changed.headers == Limits().headers


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("idle=3", "did you mean 'idle_s'"),
        ("", "legal are connections"),
        ("idle_s", "no NAME=VALUE"),
        ("idle_s=0", "above 0"),
        ("idle_s=-1", "above 0"),
        ("idle_s=inf", "above 0"),
        ("idle_s=nan", "above 0"),
        ("connections=1.5", "a whole number above 0"),
        ("connections=many", "a whole number above 0"),
        ("connections=M", "a whole number above 0"),
    ],
)
def test_a_bad_limit_is_one_line(text, says):
    with pytest.raises(MmstreamError, match=says) as refused:
        limits([text])
    assert "\n" not in str(refused.value)


def test_every_limit_is_above_zero():
    assert all(getattr(Limits(), field.name) > 0 for field in fields(Limits))


# --- Rates


def test_a_rate_is_refilled_by_time():
    hand = Hand()
    rate = Rate(60, hand)
    assert [rate.take("a") for _ in range(60)] == [0.0] * 60
    assert rate.take("a") == pytest.approx(1.0)
    assert rate.take("b") == 0.0
    hand.now += 0.5
    assert rate.take("a") == pytest.approx(0.5)
    hand.now += 0.5
    assert rate.take("a") == 0.0
    hand.now += 1e6
    assert [rate.take("a") for _ in range(60)] == [0.0] * 60  # no more than a minute's worth is saved up
    assert rate.take("a") > 0


def test_a_rate_remembers_so_many(monkeypatch):
    monkeypatch.setattr("mmstream.server.limits.MOST_CALLERS", 3)
    rate = Rate(1, Hand())
    for caller in "abcd":
        assert rate.take(caller) == 0.0
    assert rate.take("d") > 0
    assert rate.take("a") == 0.0  # forgotten: it asked longest ago


def test_a_pace_allows_a_burst_and_then_its_rate():
    hand = Hand()
    pace = Pace(Limits(messages_per_s=100, bytes_per_s=1_000), hand)
    assert pace.delay(int(BURST_S * 1_000)) == pytest.approx(0.0)
    assert pace.delay(500) == pytest.approx(0.5)
    hand.now += 0.5
    assert pace.delay(0) == pytest.approx(0.01)  # a message costs something, even an empty one
    hand.now += 100
    assert [pace.delay(0) for _ in range(int(BURST_S * 100) - 1)][-1] == 0.0
    assert pace.delay(100) > 0


def test_seats_are_each_callers_own():
    seats = Seats(2)
    seats.take("a")
    seats.take("a")
    seats.take("b")
    with pytest.raises(Refusal, match="2 sessions at a time"):
        seats.take("a")
    seats.free("a")
    seats.take("a")
    for caller in "aab":
        seats.free(caller)
    assert not vars(seats)["_held"]  # callers that have left are forgotten


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
    ],
)
def test_whom_an_address_counts_for(address, network):
    assert network_of(address) == network


# --- Bodies


def test_an_announced_body_that_is_too_large_is_not_read():
    toy = Toy()
    app = layered(toy, guarded(limits=Limits(body_bytes=100, upload_bytes=1_000)))
    answer = call(app, "POST", "/v1/things", headers=bearer(), content=bytes(101))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert toy.scopes == []
    assert call(app, "POST", "/v1/things", headers=bearer(), content=bytes(100)).json()["size"] == 100
    assert call(app, "POST", "/v1/audio/transcriptions", headers=bearer(), content=bytes(1_000)).status_code == 200
    assert call(app, "POST", "/v1/audio/transcriptions", headers=bearer(), content=bytes(1_001)).status_code == 413


async def chunked(size):
    for _ in range(size // 10):
        yield bytes(10)


def test_a_body_of_unknown_length_is_counted():
    app = layered(Toy(), guarded(limits=Limits(body_bytes=100)))
    assert call(app, "POST", "/x", headers=bearer(), content=chunked(100)).status_code == 200
    assert call(app, "POST", "/x", headers=bearer(), content=chunked(110)).status_code == 413


def test_what_an_application_makes_of_a_broken_body_is_replaced():
    """Frameworks answer a failed read with a status of their own."""

    async def catching(scope, receive, send):
        with contextlib.suppress(Exception):
            while (await receive()).get("more_body"):
                pass
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"broken"})

    answer = call(BodyLimit(catching, Limits(body_bytes=100)), "POST", "/x", content=chunked(200))
    assert answer.status_code == 413


def trickle(per_message_s, count, limits, body=b"x"):
    """The statuses that a client sees that sends a body so slowly, on a clock that is moved by hand."""
    hand, sent, left = Hand(), [], [count]

    async def receive():
        if per_message_s >= 1e6:
            await asyncio.Event().wait()
        hand.now += per_message_s
        await asyncio.sleep(0)
        left[0] -= 1
        return {"type": "http.request", "body": body, "more_body": left[0] > 0}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            hand.now += 1_000.0  # its own time is not the client's
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "path": "/x", "headers": []}
    asyncio.run(BodyLimit(app, limits, hand)(scope, receive, send))
    return [message["status"] for message in sent if "status" in message]


def test_a_body_has_to_keep_coming():
    slow = Limits(body_start_s=2.0, body_rate=10)
    assert trickle(1.0, 50, slow, bytes(20)) == [200]  # 20 bytes a second
    assert trickle(1.0, 50, slow, b"x") == [408]
    assert trickle(1e9, 1, Limits(body_start_s=0.05)) == [408]  # nothing at all, on a real clock


# --- WebSockets


@contextlib.contextmanager
def talking(limits, toy=None, path="/v1/live", **named):
    settings = guarded(limits=limits)
    with (
        serving(layered(toy or Toy(), settings), settings) as (host, port),
        connect(f"ws://{host}:{port}{path}", additional_headers=bearer(), max_size=None, **named) as client,
    ):
        yield client


def last_words(client):
    """The code of the last event, and that of the close."""
    texts = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            texts.append(client.recv(WAIT_S))
    events = [json.loads(text) for text in texts if text.startswith("{")]
    return (events[-1]["code"] if events else None), client.close_code


@pytest.mark.parametrize(("subprotocols", "code"), [(["mmstream.v1"], "too_large"), (None, None)])
@pytest.mark.parametrize("message", [bytes(1001), "x" * 1001, "ü" * 501])
def test_a_message_that_is_too_large(subprotocols, code, message):
    with talking(Limits(message_bytes=1_000), subprotocols=subprotocols) as client:
        client.send("x" * 1000)
        assert client.recv(WAIT_S) == "1000"
        client.send(message)
        assert last_words(client) == (code, 4413)


def test_a_message_far_too_large_is_not_even_gathered():
    toy = Toy()
    with talking(Limits(message_bytes=1_000), toy) as client:
        with contextlib.suppress(ConnectionClosed):
            client.send([bytes(1_000)] * 100)
        assert last_words(client)[1] in (1009, 1006)  # the latter where it was still sending
    assert [message["type"] for message in toy.messages] == ["websocket.disconnect"]


def test_what_comes_after_the_end_is_not_refused_again():
    """The application has closed; a message that is too large was on its way."""
    sent, left = [], []
    coming = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "bytes": bytes(1_001)}])

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        left.append(await receive())

    async def receive():
        return next(coming)

    async def send(message):
        sent.append(message["type"])

    limited = SocketLimit(app, Limits(message_bytes=1_000))
    asyncio.run(limited({"type": "websocket", "subprotocols": ["mmstream.v1"]}, receive, send))
    assert sent == ["websocket.accept", "websocket.close"]
    assert [message["type"] for message in left] == ["websocket.disconnect"]


def test_an_idle_client_is_sent_away():
    with talking(Limits(idle_s=0.3), subprotocols=["mmstream.v1"]) as client:
        client.send("x")
        assert last_words(client) == ("idle", 4408)


def test_a_session_lasts_so_long_however_busy():
    with talking(Limits(session_s=0.5), subprotocols=["mmstream.v1"]) as client:
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.send("x")
                client.recv(WAIT_S)
        assert client.close_code == 4408
        assert client.close_reason == "too_long"


def test_who_sends_too_fast_is_read_more_slowly_and_loses_nothing():
    toy = Toy()
    with talking(Limits(messages_per_s=100, bytes_per_s=10_000), toy) as client:
        began = time.monotonic()
        for _ in range(45):
            client.send(bytes(1_000))
        assert [client.recv(WAIT_S) for _ in range(45)] == ["1000"] * 45
        assert time.monotonic() - began >= 0.4  # 45 kB at 10 kB/s, less the 4 s that may come at once
    assert len(toy.messages) == 46


def test_after_its_end_the_application_may_go_on_talking():
    """Like a server whose client has left: an error for what it sends, and nothing for its close."""
    said = []

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        assert (await receive())["code"] == 4413
        with pytest.raises(OSError, match="too_large"):
            await send({"type": "websocket.send", "text": "x"})
        await send({"type": "websocket.close"})

    async def receive():
        return {"type": "websocket.receive", "bytes": bytes(9)}

    async def send(message):
        said.append(message)

    scope = {"type": "websocket", "subprotocols": []}
    asyncio.run(SocketLimit(app, Limits(message_bytes=8))(scope, receive, send))
    assert [message["type"] for message in said] == ["websocket.accept", "websocket.close"]
