"""Deepgram's own client against a running server: what it is told live, and what it can ask for on the way."""

import asyncio
import contextlib
import hashlib
import json

import pytest
import websockets
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.environment import DeepgramClientEnvironment
from deepgram.listen.v1.types import (
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mmstream.server.limits import Limits
from mmstream.server.tokens import Tokens
from tests.command_line import BANK, WEATHER, say
from tests.guarded import OTHER, TOKEN
from tests.media_samples import ffmpeg, require_data
from tests.serving import served
from tests.stub import RATE, WORD_SAMPLES, spoken
from tests.test_server_live import UNHURRIED
from tests.test_server_live_media import pcm_of

# Of Deepgram's client, which is written for older websockets.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:deepgram", "ignore::DeprecationWarning:websockets")

WAIT_S = 60.0
LINEAR = {"encoding": "linear16", "sample_rate": RATE}
MODELS = {one.__name__.removeprefix("ListenV1"): one for one in (ListenV1Metadata, ListenV1Results)} | {
    "SpeechStarted": ListenV1SpeechStarted,
    "UtteranceEnd": ListenV1UtteranceEnd,
}


@pytest.fixture(scope="module")
def server():
    with served(limits=UNHURRIED) as one:
        yield one


@pytest.fixture(scope="module")
def sphinx():
    with served("sphinx", "avsr", limits=UNHURRIED) as one:
        yield one


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT_S))


def place(server):
    address = f"{server.host}:{server.port}"
    return DeepgramClientEnvironment(
        base=f"http://{address}", production=f"ws://{address}", agent=f"ws://{address}", agent_rest=f"http://{address}"
    )


def listening(server, key="nobody-asks", **asked):
    """A connection of Deepgram's client."""
    client = AsyncDeepgramClient(api_key=key, environment=place(server))
    return client.listen.v1.connect(**{"model": "nova-3", **asked})


async def rest(socket):
    """All messages until the server closes."""
    return [message async for message in socket]


async def heard(server, media, piece=3200, **asked):
    async with listening(server, **asked) as socket:
        for begin in range(0, len(media), piece):
            await socket.send_media(media[begin : begin + piece])
        await socket.send_close_stream()
        return await rest(socket)


def said(messages, final=True):
    pieces = [one for one in of_type(messages, "Results") if one.is_final is final]
    texts = [piece.channel.alternatives[0].transcript for piece in pieces]
    return " ".join(text for text in texts if text)


def of_type(messages, kind):
    return [one for one in messages if one.type == kind]


def numbers(first, last):
    return " ".join(str(number) for number in range(first, last))


# What is told.


def test_sound_without_a_container(sphinx, tmp_path):
    pcm = pcm_of(say(tmp_path / "talk.wav", WEATHER, BANK))
    messages = run(heard(sphinx, pcm, interim_results=True, punctuate=True, **LINEAR))
    assert said(messages) == f"{WEATHER} {BANK}"
    finals = [one for one in of_type(messages, "Results") if one.is_final]
    assert sum(one.speech_final for one in finals) == 2
    assert [one for one in of_type(messages, "Results") if not one.is_final]
    words = [word for one in finals for word in one.channel.alternatives[0].words]
    assert [word.punctuated_word for word in words] == f"{WEATHER} {BANK}".split()
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    metadata = messages[-1]
    assert metadata.type == "Metadata"
    assert metadata.sha256 == hashlib.sha256(pcm).hexdigest()
    assert metadata.duration == pytest.approx(len(pcm) / 2 / RATE, abs=0.001)
    assert metadata.request_id == finals[0].metadata.request_id
    assert finals[0].metadata.model_info.name == "sphinx"


@pytest.mark.parametrize(("name", "options"), [("webm", ("-c:a", "libopus")), ("wav", ()), ("flac", ())])
def test_containers_say_themselves_what_they_are(sphinx, tmp_path, name, options):
    media = tmp_path / f"talk.{name}"
    ffmpeg("-i", say(tmp_path / "spoken.wav", WEATHER), *options, media)
    assert said(run(heard(sphinx, media.read_bytes(), 4000))) == WEATHER


def test_a_clip_is_seen_too(sphinx, tmp_path):
    clip, media = require_data("grid/dev_seen/s1/bbal8p.mp4"), tmp_path / "clip.ts"
    ffmpeg("-i", clip, "-c:v", "mpeg2video", "-q:v", "3", "-c:a", "aac", "-f", "mpegts", media)
    messages = run(heard(sphinx, media.read_bytes(), 40_000, model="avsr"))
    words = [word for one in of_type(messages, "Results") for word in one.channel.alternatives[0].words]
    assert len(words) == 6
    assert all(word.video > 0 for word in words)


@pytest.mark.parametrize("interim", [True, False])
def test_interim_results_come_where_they_are_asked_for(server, interim):
    messages = run(heard(server, spoken(1, 10), interim_results=interim, **LINEAR))
    finals = [one for one in of_type(messages, "Results") if one.is_final]
    assert said(messages) == numbers(1, 10)
    assert bool(said(messages, final=False)) is interim
    assert [one.start for one in finals] == [0, *(round(one.start + one.duration, 3) for one in finals[:-1])]


def test_every_message_is_as_the_client_declares_it(server):
    """The client takes what it does not know as well; its types say what it means to get."""

    async def go():
        address = f"ws://{server.host}:{server.port}/v1/listen?model=nova-3&encoding=linear16&sample_rate={RATE}"
        more = "&interim_results=true&punctuate=true&vad_events=true&utterance_end_ms=1000"
        async with connect(address + more) as socket:
            await socket.send(spoken(1, 6))
            await socket.send(json.dumps({"type": "CloseStream"}))
            texts = [text async for text in socket]
            assert socket.close_code == 1000
            assert socket.response.headers["dg-request-id"] == json.loads(texts[-1])["request_id"]
            return texts

    kinds = set()
    for text in run(go()):
        message = json.loads(text)
        kinds.add(message["type"])
        MODELS[message["type"]].model_validate(message, strict=True)
    assert kinds == set(MODELS)


def test_beginnings_and_ends_of_utterances_are_told_where_they_are_asked_for(server):
    messages = run(heard(server, spoken(1, 6), vad_events=True, utterance_end_ms=1000, **LINEAR))
    assert [one.timestamp for one in of_type(messages, "SpeechStarted")] == [0.0, 1.0]
    assert [one.last_word_end for one in of_type(messages, "UtteranceEnd")] == [1.0, 1.25]
    plain = run(heard(server, spoken(1, 6), **LINEAR))
    assert {one.type for one in plain} == {"Results", "Metadata"}


def test_telephone_sound_and_several_channels(server):
    for law, code, sample in (
        ("mulaw", 0x80, 32124),
        ("mulaw", 0x00, -32124),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x55, -8),
    ):
        asked = {"encoding": law, "sample_rate": RATE, "punctuate": True}  # else words go without their signs
        assert said(run(heard(server, bytes([code]) * WORD_SAMPLES, **asked))) == str(sample)
    pcm = spoken(1, 4)
    stereo = b"".join(pcm[at : at + 2] * 2 for at in range(0, len(pcm), 2))
    assert said(run(heard(server, stereo, channels=2, **LINEAR))) == "1 2 3"


def test_the_client_that_is_not_asynchronous(server):
    client = DeepgramClient(api_key="nobody-asks", environment=place(server))
    with client.listen.v1.connect(model="stub", **LINEAR) as socket:
        socket.send_media(spoken(1, 4))
        socket.send_close_stream()
        assert said(list(socket)) == "1 2 3"


# What can be asked for on the way.


def test_finalize_gives_what_was_heard_so_far_and_the_session_goes_on(server):
    async def go():
        async with listening(server, interim_results=True, **LINEAR) as socket:
            await socket.send_media(spoken(1, 3))
            await socket.send_finalize()
            before = await until(socket, lambda one: one.type == "Results" and one.from_finalize)
            await socket.send_media(spoken(7, 9))
            await socket.send_close_stream()
            return before, await rest(socket)

    before, after = run(go())
    assert said(before) == "1 2"
    assert before[-1].speech_final
    assert said(after) == "7 8"
    assert not any(one.from_finalize for one in of_type(after, "Results"))


def test_finalize_is_answered_where_there_is_nothing(server):
    async def go():
        async with listening(server, **LINEAR) as socket:
            await socket.send_finalize()
            (before,) = await until(socket, lambda one: one.type == "Results" and one.from_finalize)
            await socket.send_media(spoken(1, 5))
            await socket.send_finalize()
            await until(socket, lambda one: one.type == "Results" and one.from_finalize)
            await socket.send_finalize()  # again, at the same place
            (again,) = await until(socket, lambda one: one.type == "Results" and one.from_finalize)
            return before, again

    for one in run(go()):
        assert one.channel.alternatives[0].transcript == ""
        assert one.is_final


async def until(socket, holds):
    """The messages up to the one that is waited for."""
    messages = []
    while not messages or not holds(messages[-1]):
        messages.append(await socket.recv())
    return messages


def test_keep_alive_keeps_alive(tmp_path):
    idle_s = 0.6

    async def go(server, keeps):
        async with listening(server, **LINEAR) as socket:
            await socket.send_media(spoken(1, 3))
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 2 * idle_s:
                await asyncio.sleep(idle_s / 4)
                if keeps:
                    await socket.send_keep_alive()
            await socket.send_close_stream()
            return said(await rest(socket))

    with served(limits=Limits(idle_s=idle_s)) as server:
        assert run(go(server, True)) == "1 2"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            run(go(server, False))
        assert closed.value.rcvd.code == 4408


def test_close_stream_without_media(server):
    (metadata,) = run(heard(server, b"", **LINEAR))
    assert (metadata.type, metadata.duration) == ("Metadata", 0)


def test_an_empty_message_ends_the_stream_as_older_clients_do(server):
    async def go():
        async with listening(server, **LINEAR) as socket:
            await socket.send_media(spoken(1, 4))
            await socket.send_media(b"")
            return await rest(socket)

    assert said(run(go())) == "1 2 3"


def test_a_message_that_is_none_is_told_and_the_session_goes_on(server):
    async def go():
        address = f"ws://{server.host}:{server.port}/v1/listen?encoding=linear16&sample_rate={RATE}"
        async with connect(address) as socket:
            told = []
            for text in ("no json", "[]", "null", '{"type": 7}', '{"type": "Dance"}', "[" * 100_000):
                await socket.send(text)
                told.append(json.loads(await socket.recv()))
            await socket.send(json.dumps({"type": "Configure"}))
            failure = json.loads(await socket.recv())
            await socket.send(spoken(1, 4))
            await socket.send(json.dumps({"type": "CloseStream"}))
            return told, failure, [json.loads(text) async for text in socket]

    told, failure, after = run(go())
    assert {one["type"] for one in told} == {"Error"}
    assert all(len(json.dumps(one)) < 1000 for one in told)
    assert failure["type"] == "ConfigureFailure"
    assert [one["type"] for one in after][-1] == "Metadata"


# What cannot be.


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        ("encoding=linear16", 400, "needs sample_rate"),
        ("encoding=speex&sample_rate=16000", 400, "encoding=speex is not served"),
        ("model=parrot", 404, "there is no model 'parrot' here"),
        ("language=de", 400, "knows 'en' only, not 'de'"),
        ("model=%0d%0ax:%20y", 404, "there is no model"),
    ],
)
def test_a_query_that_cannot_be_met_is_answered_before_the_connection(server, asked, status, told):
    async def go():
        async with connect(f"ws://{server.host}:{server.port}/v1/listen?{asked}"):
            pass

    with pytest.raises(InvalidStatus) as refused:
        run(go())
    response = refused.value.response
    assert response.status_code == status
    assert told in json.loads(response.body)["err_msg"]
    assert told in response.headers["dg-error"]
    assert "x" not in response.headers


def test_a_token_is_needed():
    with served(limits=UNHURRIED, tokens=Tokens([TOKEN])) as server:
        with pytest.raises(Exception, match="401"):  # its own ApiError, which says no more
            run(heard(server, b"", key=OTHER, **LINEAR))
        assert said(run(heard(server, spoken(1, 4), key=TOKEN, **LINEAR))) == "1 2 3"

        async def as_a_browser():
            address = f"ws://{server.host}:{server.port}/v1/listen?encoding=linear16&sample_rate={RATE}"
            async with connect(address, subprotocols=["token", TOKEN]) as socket:
                return socket.subprotocol

        assert run(as_a_browser()) == "token"


def test_media_that_is_none(server):
    async def go():
        address = f"ws://{server.host}:{server.port}/v1/listen"
        async with connect(address) as socket:
            messages = []
            with contextlib.suppress(websockets.ConnectionClosed):
                await socket.send(b"this is no media" * 10_000)
                await socket.send(json.dumps({"type": "CloseStream"}))
                while True:
                    messages.append(json.loads(await socket.recv()))
            return messages, socket.close_code

    (error,), code = run(go())
    assert (error["type"], error["variant"], code) == ("Error", "DATA-0000", 1008)


def test_a_client_that_vanishes_leaves_no_session(server):
    async def go():
        address = f"ws://{server.host}:{server.port}/v1/listen?encoding=linear16&sample_rate={RATE}"
        async with connect(address) as socket:
            await socket.send(spoken(1, 6))
            await socket.recv()
            socket.transport.abort()

    run(go())
    server.until(lambda service: not service.open_sessions and not service.table(), "the session is still there")
