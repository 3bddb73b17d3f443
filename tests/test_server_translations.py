"""Translations of the server: who gets which, live, resumed and of files; what is told of those that are not there."""

import asyncio
import concurrent.futures
import json
from itertools import pairwise

import httpx
import numpy as np
import openai
import pysubs2
import pytest
import websockets

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation
from mmstream.server.deepgram.listen import Answers
from mmstream.server.deepgram.query import parse
from mmstream.server.deepgram.results import Messages
from mmstream.server.events import KEPT, EventLog, event_of
from mmstream.server.formats import Transcript, verbose
from mmstream.server.mailbox import CAPACITY
from mmstream.translation.wishes import named, wished
from tests.captions import caption
from tests.media_samples import write_wav
from tests.serving import served
from tests.stub import RATE, WORDS, spoken
from tests.talking import heard, numbered, talking, words
from tests.test_server_deepgram import LINEAR, of_type
from tests.test_server_deepgram import heard as listened
from tests.test_server_live import UNHURRIED, numbers
from tests.test_server_pieces import numbers as seqs
from tests.test_server_pieces import posted

# Of Deepgram's and OpenAI's clients.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("place"),
]

WAIT_S = 30.0
TARGETS = ("de", "fr", "pt-BR")


@pytest.fixture(scope="module")
def server():
    with served(limits=UNHURRIED, translate=TARGETS) as one:
        yield one


@pytest.fixture(scope="module")
def english():
    """A server that translates nothing."""
    with served(limits=UNHURRIED) as one:
        yield one


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Ten numbers, as a file."""
    samples = np.frombuffer(spoken(0, 10), "<i2")[:, None]
    return write_wav(tmp_path_factory.mktemp("media") / "counting.wav", samples, RATE)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, WAIT_S))


def translations(events, target, final=True):
    return [one for one in events if one["type"] == "translation" and one["target"] == target and one["final"] == final]


def said(events, target):
    """The words of the final translations, without the mark of their language."""
    marked = [word["word"] for one in translations(events, target) for word in one["stable"]]
    assert all(word.startswith(f"{target}:") for word in marked)
    return [word.removeprefix(f"{target}:").rstrip(".") for word in marked]


def only_grow(events):
    """No stable word of any caption or translation is ever taken back."""
    shown = {}
    for event in events:
        if event["type"] in ("caption", "translation"):
            shown.setdefault((event["index"], event.get("target")), []).append(event)
    for one in shown.values():
        for before, after in pairwise(one):
            texts = [[word["word"] for word in event["stable"]] for event in (before, after)]
            assert texts[1][: len(texts[0])] == texts[0]
        assert [event["final"] for event in one] == [False] * (len(one) - 1) + [True]
    return True


# Live.


def test_a_session_gets_the_languages_that_it_asks_for(server):
    events = run(heard(server.live, spoken(0, 10), translate=["fr", "DE", "de"]))
    assert (events[0]["translate"], events[0]["targets"]) == (["fr", "de"], list(TARGETS))
    assert words(events) == said(events, "de") == said(events, "fr") == numbers(0, 10)
    assert {event.get("target") for event in events} == {None, "de", "fr"}
    assert [event["seq"] for event in numbered(events)] == list(range(1, len(numbered(events)) + 1))
    assert only_grow(events)
    assert [one["index"] for one in translations(events, "de")] == [0, 1, 2]
    first = translations(events, "de")[0]
    assert set(first) == {"type", "seq", "index", "final", "start", "end", "target", "stable", "unstable"}
    assert first["stable"][1] == {"word": "de:1", "start": 0.25, "end": 0.5, "confidence": 0.9, "video": 0.0}


def test_parts_of_a_translation_may_change_and_come_before_its_end(server):
    async def go():
        async with talking(server.live) as talk:
            await talk.start(translate=["de"])
            await talk.send(spoken(0, 3))  # an utterance has four words
            while (part := await talk.next("translation")) and not part["stable"] + part["unstable"]:
                pass
            assert (part["final"], (part["stable"] + part["unstable"])[0]["word"]) == (False, "de:0")
            await talk.finish()
            await talk.rest()
            return talk.events

    events = run(go())
    assert said(events, "de") == numbers(0, 3)
    assert only_grow(events)


def test_one_graph_translates_for_all_and_others_have_none(english, server):
    async def go(address, *wishes):
        return await asyncio.gather(*(heard(address, spoken(0, 10), **wish) for wish in wishes))

    alone = run(go(english.live, {}))[0]
    before, german, french, both = run(
        go(server.live, {}, {"translate": ["de"]}, {"translate": ["fr"]}, {"translate": ["de", "fr"]})
    )
    assert {event.get("target") for event in before} == {None}
    assert [event["type"] for event in before if "seq" in event] == [e["type"] for e in alone if "seq" in e]
    assert {event.get("target") for event in german} == {None, "de"}
    assert {event.get("target") for event in french} == {None, "fr"}
    assert {event.get("target") for event in both} == {None, "de", "fr"}
    live = [key for kind, key in server.service._stages if kind == "live"]
    assert len(live) == 2  # without translations, and with
    assert [key for _, key in english.service._stages] == [("stub", None, "transcribe", False)]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (["nl"], "there is no translation into 'nl' here; there are de, fr, pt-BR"),
        (["de", "klingon!"], "klingon!"),
        (["\x00"], "translate"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(server, wanted, told):
    async def go():
        async with talking(server.live) as talk:
            await talk.say(type="start", protocol=1, translate=wanted)
            code = await talk.rest()
            return code, talk.events[-1]

    code, event = run(go())
    assert (code, event["type"], event["code"]) == (4400, "error", "unknown_target")
    assert told in event["message"]
    assert not server.service.open_sessions


@pytest.mark.parametrize("wanted", ["de", [7], {"de": 1}, ["x" * 36], None])
def test_what_is_no_list_of_languages_is_a_bad_message(server, wanted):
    async def go():
        async with talking(server.live) as talk:
            await talk.say(type="start", protocol=1, translate=wanted)
            return await talk.rest(), talk.events[-1]

    code, event = run(go())
    assert (code, event["code"]) == (4400, "bad_message")
    assert "translate" in event["message"]


def test_a_server_that_does_not_translate_says_so(english):
    async def go():
        async with talking(english.live) as talk:
            await talk.say(type="start", protocol=1, translate=["de"])
            return await talk.rest(), talk.events[-1]["message"]

    assert run(go()) == (4400, "this server translates nothing of what this model hears")
    assert run(heard(english.live, b""))[0]["targets"] == []


def test_a_resumed_session_loses_no_translation_and_takes_none_back(server):
    media = spoken(0, 60)

    async def go():
        events, sent, token = [], 0, None
        for stop in (60_000, 100_001, 260_000, len(media)):
            async with talking(server.live) as talk:
                if token is None:
                    token = (await talk.start(translate=["de", "fr"]))["token"]
                else:
                    sent = (await talk.resume(token, max(one["seq"] for one in numbered(events))))["received_bytes"]
                await talk.send(media[sent:stop])
                if stop == len(media):
                    await talk.finish()
                    assert await talk.rest() == 1000
                else:
                    await talk.next("translation")
                    talk.abort()
                events += talk.events
        return events

    events = run(go())
    assert words(events) == said(events, "de") == said(events, "fr") == numbers(0, 60)
    assert only_grow(events)
    came = [event["seq"] for event in numbered(events)]
    assert came == sorted(set(came))


def test_translations_can_be_had_again_from_the_beginning(server):
    async def go():
        async with talking(server.live) as talk:
            token = (await talk.start(translate=["de"]))["token"]
            await talk.send(spoken(0, 10))
            await talk.finish()
            await talk.rest()
        async with talking(server.live) as again:
            await again.resume(token, 0)
            assert await again.rest() == 1000
            return again.events

    events = run(go())
    assert words(events) == said(events, "de") == numbers(0, 10)
    assert not translations(events, "de", final=False)  # the newest says all


def test_translations_are_among_the_last_words_of_a_server_that_ends():
    with served(limits=UNHURRIED, translate=TARGETS) as server:

        async def go():
            async with talking(server.live) as talk:
                await talk.start(translate=["de"])
                await talk.send(spoken(0, 7))
                await talk.next("caption")
                drained = asyncio.run_coroutine_threadsafe(server.service.drain(WAIT_S), server.loop)
                code = await talk.rest()
                await asyncio.wrap_future(drained)
                return code, talk.events

        code, events = run(go())
        assert code == 1012
        assert words(events) == said(events, "de")
        assert len(words(events)) >= WORDS


def test_a_client_that_does_not_read_gets_all_that_is_final(server):
    async def go():
        async with websockets.connect(server.live, max_queue=1) as socket:
            await socket.send(json.dumps({"type": "start", "protocol": 1, "translate": ["de", "fr"]}))
            sound = spoken(0, 200)
            for begin in range(0, len(sound), 32_000):
                await socket.send(sound[begin : begin + 32_000])
            await socket.send(json.dumps({"type": "finish"}))
            await asyncio.sleep(1.0)
            return [json.loads(message) async for message in socket]

    events = run(go())
    assert words(events) == said(events, "de") == said(events, "fr") == numbers(0, 200)
    assert only_grow(events)


# The parts.


def translated(index, stable="", unstable="", final=False, language="de", start=0.0):
    packet = caption(index, stable, unstable, final, start)
    data = packet.data
    return packet.derive(Translation(data.index, data.stable, data.unstable, data.final, language))


def test_partial_results_in_turns_give_way_each_to_its_own_kind():
    finals = [caption(number, "word", final=True) for number in range(CAPACITY // 2)]
    turns = [
        packet
        for number in range(CAPACITY)
        for packet in (
            caption(CAPACITY, "", f"word {number}"),
            translated(CAPACITY, "", f"wort {number}"),
            translated(CAPACITY, "", f"mot {number}", language="fr"),
        )
    ]
    found = posted(*finals, *turns, translated(CAPACITY, "ende", final=True))
    assert found == [*finals, turns[-3], turns[-1], translated(CAPACITY, "ende", final=True)]


def test_the_log_keeps_the_newest_of_each_utterance_and_language():
    log = EventLog(2)
    for packet in (
        caption(0, "", "a"),
        translated(0, "", "b"),
        translated(0, "", "c", language="fr"),
        caption(0, "a", final=True),
        translated(0, "b", "", final=True),
        caption(0, "", "another"),  # numbers may begin again after lost media
        translated(0, "", "c d", language="fr"),
    ):
        log.add(event_of(packet, 0.0))
    assert seqs(log.after(0)) == [4, 5, 6, 7]
    assert seqs(log.after(5)) == [6, 7]


def test_the_log_of_a_translated_session_holds_as_many_utterances():
    log = EventLog(2)
    for index in range(KEPT):
        log.add(event_of(caption(index, "a", final=True), 0.0))
        for language in ("de", "fr"):
            log.add(event_of(translated(index, "b", final=True, language=language), 0.0))
    assert len(log.after(0)) == 3 * KEPT


def test_a_name_says_what_a_session_wants():
    name = named("live-5ad0c1f2", ["fr", "pt-BR"])
    assert name == "live-5ad0c1f2+fr+pt-BR"
    assert wished(name, ["de", "fr", "pt", "pt-BR"]) == ["fr", "pt-BR"]
    assert wished(named("live-5ad0c1f2", []), ["de"]) == []


# Files, as OpenAI's clients ask for them.


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="nobody-asks", max_retries=0, timeout=WAIT_S)


def test_a_file_is_translated_beside_its_transcript(client, counting):
    answer = client.audio.transcriptions.create(
        model="auto",
        file=counting,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        extra_body={"translate": "fr, DE"},
    )
    assert answer.text == "0 1 2 3 4 5 6 7 8 9"
    assert set(answer.translations) == {"de", "fr"}
    german = answer.translations["de"]
    assert german["text"] == "de:0 de:1 de:2 de:3. de:4 de:5 de:6 de:7. de:8 de:9."
    assert [segment["id"] for segment in german["segments"]] == [segment.id for segment in answer.segments]
    assert [segment["text"] for segment in german["segments"]][2] == "de:8 de:9."
    assert [(word["start"], word["end"]) for word in german["words"]] == [(w.start, w.end) for w in answer.words]


def test_a_file_that_says_nothing_has_an_empty_translation(client, tmp_path):
    silence = write_wav(tmp_path / "silence.wav", np.zeros((800, 1), np.int16), RATE)
    answer = client.audio.transcriptions.create(
        model="auto", file=silence, response_format="verbose_json", extra_body={"translate": "de"}
    )
    assert answer.translations == {"de": {"text": "", "segments": []}}


@pytest.mark.parametrize("form", ["srt", "vtt", "text"])
def test_one_language_is_the_file(client, counting, form):
    answer = client.audio.transcriptions.create(
        model="auto", file=counting, response_format=form, extra_body={"translate": "de"}
    )
    lines = ["de:0 de:1 de:2 de:3.", "de:4 de:5 de:6 de:7.", "de:8 de:9."]
    if form == "text":
        assert answer.split() == " ".join(lines).split()
    else:
        cues = pysubs2.SSAFile.from_string(answer, format_=form)
        assert [cue.plaintext for cue in cues] == lines
        assert cues[1].start == 1000


def test_plain_json_has_the_texts(client, counting):
    answer = client.audio.transcriptions.create(model="auto", file=counting, extra_body={"translate": "de"})
    assert answer.translations == {"de": {"text": "de:0 de:1 de:2 de:3. de:4 de:5 de:6 de:7. de:8 de:9."}}
    assert "translations" not in client.audio.transcriptions.create(model="auto", file=counting).to_dict()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"translate": "nl"}, "there are de, fr, pt-BR"),
        ({"translate": "de,?"}, "?"),
        ({"translate": "de,fr", "response_format": "srt"}, "one language for response_format srt"),
        ({"translate": "de", "stream": True}, "does not go with stream"),
    ],
)
def test_what_cannot_be_translated_is_a_400(client, counting, fields, told):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="auto", file=counting, extra_body=fields)
    assert refused.value.param == "translate"
    assert told in refused.value.body["message"]


def test_translations_into_english_take_no_other_language(client, counting):
    with pytest.raises(openai.BadRequestError, match="here all is English"):
        client.audio.translations.create(model="auto", file=counting, extra_body={"translate": "de"})


def test_the_models_say_what_they_are_translated_into(server, english):
    assert httpx.get(f"{server.url}/v1/models").json()["data"][0]["translations"] == list(TARGETS)
    assert httpx.get(f"{english.url}/v1/models").json()["data"][0]["translations"] == []


def test_many_files_at_a_time_keep_to_their_own_languages(client, counting):
    def answer(target):
        form = {"translate": target, "response_format": "text"}
        return client.audio.transcriptions.create(model="auto", file=counting, extra_body=form)

    targets = [*TARGETS, "de", "fr", "pt-BR"]
    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        for target, text in zip(targets, pool.map(answer, targets), strict=True):
            assert {word.partition(":")[0] for word in text.split()} == {target}


def test_a_loss_stands_in_the_file_of_every_language():
    made = Transcript()
    for packet in (
        caption(0, "he hoped", final=True),
        Packet("s", 1.0, 2.0, Gap("audio", "lost"), 102.0),
        caption(1, "there", final=True, start=2.0),
        translated(0, "er hoffte", final=True),
        translated(1, "dort", final=True, start=2.0),
        translated(1, "dort", final=True, start=2.0),  # a replay after a recovery
    ):
        made.add(packet)
    made.end()
    kinds = [type(packet.data) for packet in made.translations["de"].packets]
    assert kinds == [Caption, Gap, Caption]
    body = verbose(made, 3.0, "en", "transcribe", [])
    assert [one["id"] for one in body["translations"]["de"]["segments"]] == [0, 1]
    assert body["translations"]["de"]["text"] == "er hoffte dort"


# Live, as Deepgram's clients ask for them.


def into(languages):
    """As Deepgram's client passes on a parameter that it does not know."""
    return {"request_options": {"additional_query_parameters": {"translate": languages}}}


def test_deepgrams_client_gets_translations_in_results(server):
    messages = run(listened(server, spoken(0, 10), **into("de,fr"), **LINEAR))
    results = of_type(messages, "Results")
    spoken_words = [word.word for one in results for word in one.channel.alternatives[0].words if one.is_final]
    assert spoken_words == numbers(0, 10)
    told = [one.translations["de"] for one in results if "de" in (getattr(one, "translations", None) or {})]
    assert [word["word"] for one in told for word in one["words"]] == [f"de:{number}" for number in range(10)]
    assert all(one["is_final"] for one in told)
    assert sum(one["speech_final"] for one in told) == 3
    assert sum(one.speech_final for one in results) == 3  # of the transcript alone


def test_a_language_that_is_not_there_is_told_before_the_connection_opens(server):
    async def go():
        async with websockets.connect(f"ws://{server.host}:{server.port}/v1/listen?translate=nl"):
            pass

    with pytest.raises(websockets.InvalidStatus) as refused:
        run(go())
    answer = refused.value.response
    assert answer.status_code == 400
    assert "there are de, fr, pt-BR" in answer.headers["dg-error"]
    assert json.loads(answer.body)["err_code"] == "unknown_target"


def test_interim_pieces_of_a_translation_are_marked():
    answers = Answers(parse({"interim_results": "true", "translate": "de"}), Messages("stub", punctuated=True))
    packets = [
        translated(0, "er", "hofft"),
        translated(0, "er hoffte", "da"),
        translated(0, "er hoffte dort", final=True),
    ]
    messages = [message["translations"]["de"] for packet in packets for message in answers.of(packet)]
    assert [(one["transcript"], one["is_final"], one["speech_final"]) for one in messages] == [
        ("er", True, False),
        ("hofft", False, False),
        ("hoffte", True, False),
        ("da", False, False),
        ("dort", True, True),
    ]
