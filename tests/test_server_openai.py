"""OpenAI's own client, and curl, against a running server that hears with real models."""

import asyncio
import concurrent.futures
import json
import subprocess

import httpx
import openai
import pysubs2
import pytest

from mmstream.registry import resolve
from mmstream.server.limits import Limits
from mmstream.server.models import Model
from mmstream.server.service import Service
from mmstream.server.tokens import Tokens
from tests.command_line import BANK, WEATHER, say
from tests.guarded import OTHER, TOKEN
from tests.media_samples import require, require_data
from tests.serving import STUB, served
from tests.stub import RATE, spoken
from tests.test_server_live import UNHURRIED

CLIP = "grid/dev_seen/s1/bbal8p.mp4"
CLIP_WORDS = 6  # in every sentence of GRID
LENGTH_S = 6.575  # of the talk: both sentences with the silence round them
WAIT_S = 60.0
TEXT = f"{WEATHER} {BANK}"


pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture(scope="module")
def server(place):
    with served("sphinx", "avsr", limits=UNHURRIED) as one:
        yield one


@pytest.fixture(scope="module")
def client(server):
    return client_of(server)


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return say(tmp_path_factory.mktemp("media") / "talk.wav", WEATHER, BANK)


def client_of(server, key="nobody-asks"):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=WAIT_S)


def uploads(place):
    assert list(place.glob("mmstream-uploads-*"))  # the folder of a server
    return list(place.glob("mmstream-uploads-*/*"))


# Transcriptions, in all formats.


def test_json(client, talk):
    heard = client.audio.transcriptions.create(model="auto", file=talk)
    assert heard.text == TEXT
    assert heard.usage.type == "duration"
    assert heard.usage.seconds == 7  # begun ones count whole


def test_text(client, talk):
    assert client.audio.transcriptions.create(model="sphinx", file=talk, response_format="text") == f"{TEXT}\n"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles(client, talk, form):
    text = client.audio.transcriptions.create(model="sphinx", file=talk, response_format=form)
    assert text.startswith("WEBVTT\n" if form == "vtt" else "1\n")
    cues = pysubs2.SSAFile.from_string(text, format_=form)
    assert [cue.plaintext.replace("\n", " ") for cue in cues] == [WEATHER, BANK]
    assert all(0 <= cue.start < cue.end <= 1000 * LENGTH_S for cue in cues)


@pytest.mark.parametrize("wanted", [[], ["word"], ["word", "segment"]])
def test_verbose_json(client, talk, wanted):
    asked = {"timestamp_granularities": wanted} if wanted else {}
    heard = client.audio.transcriptions.create(model="sphinx", file=talk, response_format="verbose_json", **asked)
    assert (heard.text, heard.language) == (TEXT, "english")
    assert heard.duration == pytest.approx(LENGTH_S, abs=0.05)
    if "word" in wanted:
        assert [word.word for word in heard.words] == TEXT.split()
        times = [time for word in heard.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[0] >= 0.3
        assert times[-1] <= LENGTH_S
    else:
        assert heard.words is None
    if wanted == ["word"]:
        assert heard.segments is None
    else:
        assert [segment.text for segment in heard.segments] == [WEATHER, BANK]
        assert [segment.id for segment in heard.segments] == [0, 1]


@pytest.mark.parametrize("form", ["json", "text"])
def test_stream(client, talk, form):
    with client.audio.transcriptions.create(model="sphinx", file=talk, response_format=form, stream=True) as stream:
        events = list(stream)
    deltas = [event for event in events if event.type == "transcript.text.delta"]
    assert len(deltas) == 2  # an utterance each
    assert "".join(event.delta for event in deltas) == TEXT
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert events[-1].text == TEXT


def test_a_stream_is_server_sent_events(server, talk):
    with httpx.stream(
        "POST",
        f"{server.url}/v1/audio/transcriptions",
        data={"stream": "true"},
        files={"file": talk.read_bytes()},
        timeout=WAIT_S,
    ) as answer:
        lines = list(answer.iter_lines())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert lines[1::2] == [""] * 3
    assert all(json.loads(line.removeprefix("data: "))["type"].startswith("transcript.text.") for line in lines[::2])


def test_openai_names_of_models_are_taken_for_the_default(client, talk):
    assert client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=talk).text == TEXT


def test_a_clip_is_heard_and_seen(client):
    heard = client.audio.transcriptions.create(
        model="avsr", file=require_data(CLIP), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert len(heard.words) == CLIP_WORDS
    assert all(0 < word.video <= 1 and 0 < word.confidence <= 1 for word in heard.words)


def test_curl(server):
    """The line of the documents."""
    asked = ["-sS", "--fail-with-body", "-F", f"file=@{require_data(CLIP)}", "-F", "model=auto"]
    address = f"{server.url}/v1/audio/transcriptions"
    done = subprocess.run([require("curl"), *asked, address], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["text"]


def test_many_at_a_time_get_their_own(client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    files = {WEATHER: say(folder / "weather.wav", WEATHER), BANK: say(folder / "bank.wav", BANK)}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [*files] * 2
        heard = pool.map(lambda text: client.audio.transcriptions.create(model="sphinx", file=files[text]).text, asked)
        assert list(heard) == asked


def test_what_was_never_said_is_no_words(client, tmp_path):
    silence = tmp_path / "silence.wav"
    silence.write_bytes(wav_of(bytes(2 * RATE)))
    assert client.audio.transcriptions.create(model="sphinx", file=silence).text == ""
    heard = client.audio.transcriptions.create(model="sphinx", file=silence, response_format="verbose_json")
    assert (heard.text, heard.segments, heard.duration) == ("", [], 1.0)


# Translations. The client warns of them: OpenAI gives them up.

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


def test_english_is_translated_as_it_is(client, talk):
    assert client.audio.translations.create(model="sphinx", file=talk).text == TEXT
    heard = client.audio.translations.create(model="sphinx", file=talk, response_format="verbose_json")
    assert (heard.language, heard.text) == ("english", TEXT)


def test_a_model_that_can_translate_does(talk, tmp_path):
    pytest.importorskip("faster_whisper")
    from tests.tiny_whisper import build_tiny_whisper

    with served(str(build_tiny_whisper(tmp_path / "tiny")), limits=UNHURRIED) as server:
        client = client_of(server)
        heard = client.audio.translations.create(model="auto", file=talk, response_format="verbose_json")
        assert heard.text
        assert heard.task == "translate"
        assert heard.language == "english"
        spoken_in = client.audio.transcriptions.create(
            model="auto", file=talk, language="de", response_format="verbose_json"
        )
        assert spoken_in.language == "german"


def test_a_model_that_cannot_translate_says_so(talk):
    with served(Model("sphinx", "de", resolve("sphinx")), limits=UNHURRIED) as server:
        with pytest.raises(openai.BadRequestError, match="model 'sphinx' does not translate") as refused:
            client_of(server).audio.translations.create(model="auto", file=talk)
        assert refused.value.code == "unknown_language"
        assert refused.value.type == "invalid_request_error"


# Models.


def test_models(client):
    listed = list(client.models.list())
    assert [(model.id, model.object, model.owned_by) for model in listed] == [
        ("sphinx", "model", "mmstream"),
        ("avsr", "model", "mmstream"),
    ]
    assert listed[1].media == ["audio", "video"]
    assert client.models.retrieve("avsr") == listed[1]
    assert client.models.retrieve("whisper-1") == listed[0]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nova")


# What cannot be.


def test_no_such_model(client, talk):
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(model="parrot", file=talk)
    error = refused.value
    assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")
    assert "the model 'parrot' does not exist; this server has auto, sphinx, avsr" in str(error)


@pytest.mark.parametrize(
    ("asked", "param", "told"),
    [
        ({"language": "de"}, None, "knows 'en' only, not 'de'"),
        ({"response_format": "yaml"}, "response_format", "json, text, srt, verbose_json or vtt, not 'yaml'"),
        ({"temperature": 3.0}, "temperature", "a number from 0 to 1"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]", "needs response_format verbose_json"),
        ({"stream": True, "response_format": "srt"}, "stream", "goes with response_format json or text"),
        ({"file": ("a.wav", b"this is no sound" * 100)}, "file", "the file cannot be heard"),
        ({"file": ("a.wav", b"this is no sound" * 100), "stream": True}, "file", "the file cannot be heard"),
        ({"file": ("a.wav", b"")}, "file", "file is empty"),
    ],
)
def test_bad_requests(client, talk, place, asked, param, told):
    with pytest.raises(openai.BadRequestError, match=told) as refused:
        client.audio.transcriptions.create(**{"model": "auto", "file": talk, **asked})
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert not uploads(place)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"json": {"model": "auto"}}, "multipart/form-data"),
        ({"data": {"model": "auto"}, "files": {"other": b"x"}}, "one file, in the field 'file'"),
        ({"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "breaks off"),
    ],
)
def test_bodies_that_are_no_such_form(server, body, told):
    answer = httpx.post(f"{server.url}/v1/audio/transcriptions", **body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert told in error["message"]
    assert (error["code"], error["type"]) == ("invalid_form", "invalid_request_error")


def test_a_token_is_needed(talk):
    with served(limits=UNHURRIED, tokens=Tokens([TOKEN])) as server:
        for key in (OTHER, "wrong"):
            with pytest.raises(openai.AuthenticationError) as refused:
                client_of(server, key).audio.transcriptions.create(model="auto", file=talk)
            assert refused.value.code == "unauthorized"
        with pytest.raises(openai.AuthenticationError):
            client_of(server, OTHER).models.list()
        assert [model.id for model in client_of(server, TOKEN).models.list()] == ["stub"]


def test_a_file_that_is_too_large(talk):
    limits = Limits(upload_bytes=100_000)
    with served(limits=limits) as server:
        with pytest.raises(openai.APIStatusError) as refused:
            client_of(server).audio.transcriptions.create(model="auto", file=talk)
        assert refused.value.status_code == 413
        assert refused.value.code == "too_large"


# Clients that leave, and a server that is full.


def wav_of(pcm):
    """PCM at ``RATE`` as a WAV file."""
    head = b"RIFF" + (36 + len(pcm)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = b"\1\0\1\0" + RATE.to_bytes(4, "little") + (2 * RATE).to_bytes(4, "little") + b"\2\0\x10\0"
    return head + form + b"data" + len(pcm).to_bytes(4, "little") + pcm


@pytest.fixture
def hour():
    """Sound that even the stub does not hear at once."""
    return wav_of(spoken(1, 14_400))


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_client_that_leaves_leaves_nothing_behind(hour, place, stream):
    with served(limits=UNHURRIED, sessions=1) as server:

        async def leave():
            async with httpx.AsyncClient(timeout=WAIT_S) as client:
                address = f"{server.url}/v1/audio/transcriptions"
                asking = client.stream("POST", address, data={"stream": stream}, files={"file": hour})
                if stream == "true":
                    async with asking as answer:
                        assert answer.status_code == 200
                        await anext(answer.aiter_lines())
                else:
                    task = asyncio.ensure_future(asking.__aenter__())
                    await asyncio.to_thread(server.until, lambda service: service.table(), "it never began")
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

        asyncio.run(asyncio.wait_for(leave(), WAIT_S))
        server.until(lambda service: not service.open_sessions and not service.table(), "the file is still heard")
        assert not uploads(place)
        heard = client_of(server).audio.transcriptions.create(model="auto", file=("a.wav", wav_of(spoken(1, 4))))
        assert heard.text == "1 2 3"


def test_a_full_server_says_so(hour):
    with served(limits=UNHURRIED, sessions=1) as server:
        client = client_of(server)
        with client.audio.transcriptions.create(model="auto", file=("a.wav", hour), stream=True) as stream:
            next(iter(stream))
            with pytest.raises(openai.InternalServerError) as refused:
                client.audio.transcriptions.create(model="auto", file=("a.wav", hour))
            assert refused.value.status_code == 503
            assert refused.value.code == "full"
            assert refused.value.response.headers["retry-after"] == "5"


def test_the_language_is_that_of_the_first_model_that_knows_it():
    service = Service([STUB, Model("polish", "pl", STUB.recogniser)])
    assert service.choose("auto", "pl-PL").name == "polish"
    assert service.choose("auto", "en-GB").name == "stub"
