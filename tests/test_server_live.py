"""The live protocol over a real connection: sessions, resumed ones, refused ones, slow, vanished and many clients."""

import asyncio
import contextlib
import json
import socket
from itertools import pairwise

import pytest
import websockets

from mmstream.server.limits import Limits
from tests.serving import served
from tests.stub import WORD_S, WORDS, spoken
from tests.talking import CONTAINER, PCM, captions, heard, numbered, talking, words

WAIT_S = 30.0
UNHURRIED = Limits(bytes_per_s=1_000_000_000, messages_per_s=1_000_000, requests_per_minute=100_000)


@pytest.fixture(scope="module")
def server():
    with served(limits=UNHURRIED) as one:
        yield one


@pytest.fixture(scope="module")
def impatient():
    """A server that soon forgets a client that is gone, and has room for few."""
    with served(limits=UNHURRIED, sessions=4, resume_s=0.3, first_message_s=0.5) as one:
        yield one


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT_S))


def numbers(first, last):
    return [str(number) for number in range(first, last)]


# What a session gives.


@pytest.mark.parametrize("piece", [3200, 777, 100_000])
def test_sound_in_pieces_of_any_size_gives_the_same_captions(server, piece):
    events = run(heard(server.live, spoken(0, 30), piece=piece))
    assert events[0]["type"] == "started"
    assert (events[0]["model"], events[0]["language"], events[0]["protocol"]) == ("stub", "en", 1)
    assert words(events) == numbers(0, 30)
    assert [event["seq"] for event in numbered(events)] == list(range(1, len(numbered(events)) + 1))
    assert events[-1]["type"] == "finished"
    assert [caption["index"] for caption in captions(events)] == list(range(8))


def test_captions_grow_and_what_is_stable_stays(server):
    events = [event for event in run(heard(server.live, spoken(7, 15))) if event["type"] == "caption"]
    assert len(events) == 8
    for before, after in pairwise(events):
        if before["index"] == after["index"]:
            assert after["stable"][: len(before["stable"])] == before["stable"]
    first = events[1]
    assert first == {
        "type": "caption",
        "seq": 2,
        "index": 0,
        "final": False,
        "start": 0.0,
        "end": 2 * WORD_S,
        "language": "en",
        "stable": [{"word": "7", "start": 0.0, "end": WORD_S, "confidence": 0.9, "video": 0.0}],
        "unstable": [{"word": "8", "start": WORD_S, "end": 2 * WORD_S, "confidence": 0.9, "video": 0.0}],
    }


def test_two_channels_at_another_rate_are_heard_as_one(server):
    samples = spoken(0, 8)  # each sample twice, side by side, is the same sound in two channels
    stereo = b"".join(samples[at : at + 2] * 2 for at in range(0, len(samples), 2))
    assert words(run(heard(server.live, stereo, PCM | {"channels": 2}))) == numbers(0, 8)


def test_times_begin_where_the_client_says(server):
    events = run(heard(server.live, spoken(0, 4), offset_s=100.5))
    assert (captions(events)[0]["start"], captions(events)[0]["end"]) == (100.5, 100.5 + WORDS * WORD_S)


def test_a_session_without_media_ends_well(server):
    events = run(heard(server.live, b""))
    assert [event["type"] for event in events] == ["started", "finished"]


def test_pings_are_answered_and_figures_come_each_second(server):
    async def go():
        async with talking(server.live) as talk:
            await talk.start()
            await talk.say(type="ping", id={"any": [1, "thing"]})
            assert (await talk.next("pong"))["id"] == {"any": [1, "thing"]}
            await talk.send(spoken(0, 10))
            return await talk.next("statistics")

    figures = run(go())
    assert (figures["received_bytes"], figures["received_s"]) == (len(spoken(0, 10)), 10 * WORD_S)
    assert figures["reached_s"] == 10 * WORD_S
    assert figures["dropped_s"] == 0
    assert 0 <= figures["emission_ms"]["p50"] <= figures["emission_ms"]["p95"] < 5000
    assert set(figures["commit_ms"]) == {"p50", "p95"}


# Connections that break.


def test_a_session_is_resumed_and_nothing_is_lost_or_comes_twice(server):
    media = spoken(0, 60)

    async def go():
        events, sent, token = [], 0, None
        for stop in (20_000, 100_001, 260_000, len(media)):
            async with talking(server.live) as talk:
                if token is None:
                    token = (await talk.start())["token"]
                else:
                    after = max(event["seq"] for event in numbered(events))
                    sent = (await talk.resume(token, after))["received_bytes"]
                await talk.send(media[sent:stop])
                if stop == len(media):
                    await talk.finish()
                    assert await talk.rest() == 1000
                else:
                    await talk.next("caption")
                    talk.abort()
                events += talk.events
        return events

    events = run(go())
    assert words(events) == numbers(0, 60)
    seqs = [event["seq"] for event in numbered(events)]
    assert seqs == sorted(set(seqs))


def test_the_last_words_can_be_fetched_after_the_end(server):
    async def go():
        async with talking(server.live) as talk:
            token = (await talk.start())["token"]
            await talk.send(spoken(0, 10))
            await talk.finish()
            await talk.next("caption")
            talk.abort()
        server.until(lambda service: not service.open_sessions, "it goes on to its end without a client")
        async with talking(server.live) as again:
            await again.resume(token, talk.seq)
            assert await again.rest() == 1000
            return talk.events + again.events

    events = run(go())
    assert words(events) == numbers(0, 10)
    assert events[-1]["type"] == "finished"


def test_whoever_resumes_takes_the_session_over(server):
    async def go():
        async with talking(server.live) as old, talking(server.live) as new:
            token = (await old.start())["token"]
            await old.send(spoken(0, 5))
            await old.next("caption")
            received = (await new.resume(token, 0))["received_bytes"]
            assert await old.rest() == 4409
            assert old.events[-1]["code"] == "already_connected"
            await new.send(spoken(0, 12)[received:])
            await new.finish()
            assert await new.rest() == 1000
            return new.events

    assert words(run(go())) == numbers(0, 12)


@pytest.mark.parametrize(("token", "after"), [("nobody's", 0), (None, 7), (None, 10**12)])
def test_what_is_not_there_cannot_be_resumed(server, token, after):
    async def go():
        async with talking(server.live) as talk:
            known = (await talk.start())["token"]
            async with talking(server.live) as other:
                await other.say(type="resume", protocol=1, token=token or known, after=after)
                assert await other.rest() == 4404
                return other.events

    assert run(go())[-1]["code"] == "unknown_session"


def test_a_client_that_vanishes_leaves_no_session(impatient):
    async def go():
        async with talking(impatient.live) as talk:
            token = (await talk.start())["token"]
            await talk.send(spoken(0, 5))
            await talk.next("caption")
            assert impatient.service.open_sessions == 1
            talk.abort()
        return token

    token = run(go())
    impatient.until(lambda service: not service.open_sessions and not service.table(), "the session goes")

    async def back():
        async with talking(impatient.live) as talk:
            await talk.say(type="resume", protocol=1, token=token, after=0)
            return await talk.rest()

    assert run(back()) == 4404


def test_one_that_says_goodbye_is_not_waited_for(server):
    async def go():
        async with talking(server.live) as talk:
            await talk.start()
            await talk.send(spoken(0, 5))
            await talk.next("caption")

    run(go())
    server.until(lambda service: not service.open_sessions and not service.table(), "the session goes", 10)


# Clients that are told no.


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 4400),
        ("[]", 4400),
        ('{"type":"start"}', 4400),
        ('{"type":"start","protocol":2}', 4400),
        ('{"type":"finish"}', 4400),
        ('{"type":"start","protocol":1,"media":{"kind":"pcm","sample_rate":7999}}', 4400),
        ('{"type":"start","protocol":1,"media":{"kind":"pcm","sample_rate":"16000"}}', 4400),
        ('{"type":"start","protocol":1,"media":{"kind":"pcm","channels":0}}', 4400),
        ('{"type":"start","protocol":1,"media":{"kind":"mp3"}}', 4400),
        ('{"type":"start","protocol":1,"offset_s":NaN}', 4400),
        ('{"type":"start","protocol":1,"offset_s":-1}', 4400),
        ('{"type":"start","protocol":1,"language":"de"}', 4400),
        ('{"type":"start","protocol":1,"model":"nobody"}', 4404),
        ('{"type":"resume","protocol":1}', 4400),
        ('{"type":"resume","protocol":1,"token":"x","after":"0"}', 4400),
        ("x" * 5000, 4400),
        ("[" * 4000, 4400),
        (b"\0\0", 4400),
    ],
)
def test_a_wrong_first_message_is_told_so(server, message, code):
    async def go():
        async with talking(server.live) as talk:
            await talk.socket.send(message)
            assert await talk.rest() == code
            return talk.events

    (error,) = run(go())
    assert error["type"] == "error"
    assert error["code"] == {4400: "bad_message", 4404: "unknown_model"}[code] or error["code"] == "unknown_language"
    assert error["message"]
    assert "Traceback" not in error["message"]


@pytest.mark.parametrize("message", ["{", '{"type":"start","protocol":1}', '{"type":"halt"}', "null"])
def test_a_wrong_message_ends_the_session(server, message):
    async def go():
        async with talking(server.live) as talk:
            await talk.start()
            await talk.socket.send(message)
            assert await talk.rest() == 4400

    run(go())
    server.until(lambda service: not service.open_sessions, "the session goes")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_what_is_not_json_does_not_come_back_in_a_pong(server, number):
    async def go():
        async with talking(server.live) as talk:
            await talk.start()
            await talk.socket.send(f'{{"type": "ping", "id": [{number}]}}')
            return await talk.rest()

    assert run(go()) == 4400


def test_media_after_finish_is_a_mistake(server):
    async def go():
        async with talking(server.live) as talk:
            await talk.start()
            await talk.send(spoken(0, 400))
            await talk.finish()
            await talk.send(spoken(0, 1))
            return await talk.rest(), talk.events[-1]

    code, last = run(go())
    assert (code, last.get("code")) in ((4400, "bad_message"), (1000, None))  # the latter: it was done before


def test_who_says_nothing_is_sent_away(impatient):
    async def go():
        async with talking(impatient.live) as talk:
            return await talk.rest(), talk.events[-1]["code"]

    assert run(go()) == (4408, "idle")


def test_what_is_no_container_is_told_so(server):
    async def go():
        async with talking(server.live) as talk:
            await talk.start(CONTAINER)
            await talk.send(b"no container at all, but text " * 1000)
            await talk.finish()
            return await talk.rest(), talk.events[-1]

    code, last = run(go())
    assert (code, last["code"]) == (4415, "bad_media")
    assert last["message"]


def test_a_full_server_says_so_and_takes_the_next_once_there_is_room(impatient):
    async def go():
        async with contextlib.AsyncExitStack() as stack:
            inside = [await stack.enter_async_context(talking(impatient.live)) for _ in range(4)]
            for one in inside:
                await one.start()
            async with talking(impatient.live) as refused:
                await refused.say(type="start", protocol=1)
                assert await refused.rest() == 4429
                assert refused.events[-1]["code"] == "full"
            await inside[0].socket.close()
            impatient.until(lambda service: service.open_sessions < 4, "a place is free")
            async with talking(impatient.live) as late:
                await late.start()

    run(go())
    impatient.until(lambda service: not service.open_sessions, "all are gone")


def test_a_flood_of_connections_is_outlived(impatient):
    async def one(number):
        try:
            async with talking(impatient.live, open_timeout=WAIT_S) as talk:
                await talk.say(type="start", protocol=1)
                first = await talk.next()
                if first["type"] == "error":
                    return first["code"]
                await talk.send(spoken(0, 8))
                await talk.finish()
                await talk.rest()
                assert words(talk.events) == numbers(0, 8)
                if number % 2:
                    talk.abort()
                return "served"
        except (websockets.WebSocketException, OSError):
            return "broken"

    async def go():
        return await asyncio.gather(*(one(number) for number in range(150)))

    outcomes = run(go())
    assert set(outcomes) <= {"served", "full", "idle"}  # the last: on a machine so busy that it said start too late
    assert outcomes.count("served") >= 4
    impatient.until(lambda service: not service.open_sessions and not service.table(), "no session is left")
    assert words(run(heard(impatient.live, spoken(0, 8)))) == numbers(0, 8)


# Clients that read slowly.


def test_a_slow_reader_delays_only_itself(server):
    count = 8000  # words, whose captions are more than the connection holds
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect((server.host, server.port))

    async def go():
        async with talking(server.live, sock=small, max_queue=1, ping_interval=None) as slow:
            await slow.start()
            sending = asyncio.create_task(slow.send(spoken(0, count), 100_000))
            for _ in range(5):
                assert words(await heard(server.live, spoken(0, 40))) == numbers(0, 40)
            assert not sending.done()  # its own media has to wait
            await asyncio.sleep(0)

            async def finish():
                await sending
                await slow.finish()

            finishing = asyncio.create_task(finish())
            assert await slow.rest() == 1000
            await finishing
            return slow.events

    events = asyncio.run(asyncio.wait_for(go(), 2 * WAIT_S))
    assert words(events) == numbers(0, count)
    assert max(len(json.dumps(event)) for event in events) < 4096
