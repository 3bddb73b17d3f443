"""The page in a real browser against a real server: what a visitor sees, and what is told when something fails."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re

import pysubs2
import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from mmstream.core import Packet
from mmstream.evaluation.wer import error_rates
from mmstream.media import Caption, Gap, Word
from mmstream.server.formats import Transcript, subtitles
from tests.pages import SESSIONS, TIMEOUT_S, Server, Visit, browser_that_plays, serious, spoken_sample, visit

WER_AT_MOST = 0.34  # of six words two: single letters are hard to tell apart
NARROW_PX, WIDE_PX = 360, 1920

__all__ = ["visit"]

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return spoken_sample(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="module")
def browser(spoken):
    with browser_that_plays(spoken) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(spoken, browser):
    server = Server(spoken.model)
    yield server
    server.close()


@pytest.fixture(scope="module")
def heard(browser, server, spoken):
    """A page that has heard the first utterance, and what it said of the camera and drew over its picture meanwhile."""
    visit = Visit(browser, server.url)
    page = visit.open()
    page.evaluate(
        """() => {
          globalThis.seen = [];
          const [text, boxes] = [document.getElementById("seen"), document.getElementById("boxes")];
          const drawn = () => boxes.getContext("2d").getImageData(0, 0, boxes.width, boxes.height).data.some(Boolean);
          new MutationObserver(() => seen.push([text.textContent, drawn()])).observe(text, { childList: true });
        }"""
    )
    visit.listen(camera=spoken.pictures is not None)
    page.locator("#sections .line.final").first.wait_for()
    visit.seen = page.evaluate("seen")
    visit.figures = page.locator(".figures").inner_text()
    visit.stop()
    yield visit
    visit.close()


def wer(texts, captions):
    return error_rates([" ".join(texts)], [" ".join(captions)]).wer


def saved(page, kind, folder):
    with page.expect_download() as download:
        page.locator(f"button[data-format={kind}]").first.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_spoken_words_appear(heard, spoken):
    assert wer(spoken.texts[:1], heard.captions()[:1]) <= WER_AT_MOST
    assert re.search(r"Words show after\s+\d", heard.figures)
    assert heard.faults == []


def test_the_camera_shows_what_the_server_follows(heard, spoken):
    if spoken.pictures is None:
        pytest.skip("missing: a face that speaks (shared/data)")
    assert any("lips" in text and drawn for text, drawn in heard.seen)
    assert heard.page.locator(".line .word.lips").count() > 0


def test_a_word_tells_its_shares_by_pointer_and_by_keyboard(heard):
    page, card = heard.page, heard.page.locator("#word-card")
    words = page.locator("#sections .line .word")
    words.first.hover()
    expect(card).to_contain_text("Confidence")
    expect(card).to_contain_text("Lips")
    page.locator("h1").hover()
    expect(card).to_be_hidden()
    page.locator("button[data-format=json]").first.focus()
    page.keyboard.press("Tab")
    expect(card).to_be_visible()
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "word-card"
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.textContent") == words.first.inner_text()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_screen_readers_are_told_final_captions_only(heard):
    said = heard.page.locator("#announcer p").all_text_contents()
    assert said == [" ".join(text.split()) for text in heard.captions()]


def test_captions_download_and_parse(heard, tmp_path):
    page, text = heard.page, " ".join(" ".join(heard.captions()).split())
    for kind in ("srt", "vtt"):
        cues = pysubs2.load(str(saved(page, kind, tmp_path)))
        assert " ".join(cue.plaintext.replace("\n", " ") for cue in cues) == text
    assert saved(page, "txt", tmp_path).read_text().split() == text.split()
    captions = json.loads(saved(page, "json", tmp_path).read_text())["captions"]
    assert " ".join(caption["text"] for caption in captions) == text
    assert all(0 <= word["video"] <= 1 for caption in captions for word in caption["words"])


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_those_of_the_command_line(heard, kind):
    captions = made_up_captions(random.Random(5))
    transcript = Transcript()
    for packet in captions:
        transcript.add(packet)
    transcript.end()
    written = heard.page.evaluate(
        "([kind, lines]) => import('./formats.js').then(({ FORMATS }) => FORMATS[kind].write(lines))",
        [kind, [line_of(packet) for packet in captions]],
    )
    assert written == subtitles(transcript, kind)


def made_up_captions(chance):
    """Long and short captions, with pauses, in two scripts, and a gap."""
    spellings = ["a", "of", "word", "captions,", "sentence.", "<b>&", "x" * 50, "unmistakably"]
    packets, at = [], 0.0
    for index, language in itertools.product(range(12), ["en", "ja"]):
        words = []
        for _ in range(chance.randint(1, 40)):
            at += chance.choice([0.0, 0.0, 0.0, 0.1, 0.6, 2.0])
            text = chance.choice(spellings) if language == "en" else chance.choice("今日は、。字幕")
            words.append(Word(text, round(at, 3), round(at + 0.25, 3)))
            at += 0.25
        number = 2 * index + (language == "ja")
        caption = Caption(number, tuple(words), (), final=True, language=language)
        packets.append(Packet("s", words[0].start, words[-1].end, caption, captured_at=at))
        at += 1.0
    return [*packets, Packet("s", at, at + 2.0, Gap("audio", "it overflowed"), captured_at=at)]


def line_of(packet):
    """A line of the page's transcript."""
    line = {"start": packet.start, "end": packet.end}
    if isinstance(packet.data, Gap):
        return {**line, "kind": "gap", "medium": packet.data.medium, "reason": packet.data.reason}
    words = [{"word": word.text, "start": word.start, "end": word.end} for word in packet.data.words]
    return {**line, "kind": "caption", "final": True, "language": packet.data.language, "stable": words, "unstable": []}


def test_video_that_is_lost_again_and_again_is_one_line(heard):
    shown = heard.page.evaluate(
        """async () => {
          const { Recording } = await import("./recordings.js");
          const recording = new Recording("Overloaded", () => undefined);
          for (const [start, medium] of [[0, "video"], [1.5, "video"], [3, "audio"], [3, "audio"], [9, "video"]]) {
            recording.transcript.heard({ type: "gap", seq: 1, start, end: start + 1, medium, reason: "late" });
          }
          return [...recording.place.querySelectorAll(".line .text")].map((text) => text.textContent);
        }"""
    )
    sound = "[1.0 s of sound lost: late]"
    assert shown == ["[2.5 s of video lost: late]", sound, sound, "[1.0 s of video lost: late]"]


@pytest.mark.parametrize("view", ["light", "dark", "projector"])
def test_axe_finds_nothing_serious(heard, view):
    page = heard.page
    page.emulate_media(color_scheme="dark" if view == "dark" else "light")
    page.set_viewport_size({"width": 1280, "height": 740})
    if view == "projector":
        page.keyboard.press("l")
        expect(page.locator("#leave")).to_be_visible()
        expect(page.locator("#listen")).to_be_hidden()
    found = serious(page)
    if view == "projector":
        page.keyboard.press("Escape")
        expect(page.locator("#listen")).to_be_visible()
    assert found == []


@pytest.mark.parametrize("width", [NARROW_PX, WIDE_PX])
def test_nothing_stands_out_to_the_side(heard, width):
    page = heard.page
    page.set_viewport_size({"width": width, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scroll = page.locator("#scroll")
    assert scroll.evaluate("box => box.scrollWidth <= box.clientWidth")
    for kept in ("#listen", "#large", "#theme", "#choose-file", "button[data-format=json]"):
        box = page.locator(kept).first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    margin = page.locator("#listen").bounding_box()["x"]
    for kept in ("#state", "#camera", "#level"):
        box = page.locator(kept).bounding_box()
        assert box["x"] + box["width"] <= width - margin


def test_a_file_is_sent_heard_and_shown(visit, spoken):
    page = visit().page
    page.evaluate(
        """() => {
          globalThis.said = [];
          const state = document.getElementById("upload-state");
          new MutationObserver(() => said.push(state.textContent)).observe(state, { childList: true });
        }"""
    )
    page.locator("#file").set_input_files(spoken.file)
    page.locator("#sections .line.final").first.wait_for()
    said = page.evaluate("said")
    assert said[0] == "0 % sent"
    assert said[-1] == "being heard…"
    assert page.locator("#sections h3").inner_text() == spoken.file.name
    assert wer(spoken.texts[:1], page.locator("#sections .line.final .text").all_inner_texts()) <= WER_AT_MOST


def test_a_file_that_is_no_media_is_told(browser, server, tmp_path):
    nothing = tmp_path / "notes.mp4"
    nothing.write_text("no media at all\n" * 100)
    visit = Visit(browser, server.url)
    page = visit.open()
    page.locator("#file").set_input_files(nothing)
    assert "cannot read this file" in visit.notice("invalid_file")
    visit.close()


def test_a_microphone_that_is_denied_is_told(visit):
    denied = visit(allowed=False)
    denied.listen()
    assert "allow the microphone" in denied.notice("denied")
    expect(denied.page.get_by_role("button", name="Start", exact=True)).to_be_enabled()


def test_a_full_server_is_told_and_can_be_tried_again(visit, server, spoken):
    start = {"type": "start", "protocol": 1, "media": {"kind": "pcm", "sample_rate": 16000, "channels": 1}}
    late = visit()
    with contextlib.ExitStack() as others:
        for _ in range(SESSIONS):
            socket = connect(f"ws://127.0.0.1:{server.port}/v1/live", subprotocols=["mmstream.v1"])
            other = others.enter_context(socket)
            other.send(json.dumps(start))
            assert json.loads(other.recv(TIMEOUT_S))["type"] == "started"
        late.listen()
        assert "full" in late.notice("full")
    late.page.get_by_role("button", name="Try again").click()
    expect(late.page.locator("#state")).to_have_text("Listening")
    expect(late.page.locator(".notice")).to_have_count(0)
    late.stop()


def test_speech_goes_on_through_a_lost_connection_and_a_new_server(browser, server, spoken):
    visit = Visit(browser, server.url)
    sockets = []

    def between(socket):
        sockets.append((socket, socket.connect_to_server()))

    visit.page.route_web_socket("**/v1/live", between)
    page = visit.open()
    visit.listen()
    page.locator("#sections .line .word").first.wait_for()
    for end in sockets[0]:
        end.close(code=4000, reason="the network is gone")
    page.locator("#sections .line.final").first.wait_for()
    server.kill()
    expect(page.locator("#state")).to_contain_text("Reconnecting")
    server.start()
    page.locator("#sections .line.final").nth(len(spoken.texts) - 1).wait_for()
    visit.stop()
    assert wer(spoken.texts, visit.captions()) <= WER_AT_MOST
    expect(page.locator("#sections")).not_to_contain_text("connection was away")
    visit.close()


def test_on_ray_a_killed_replica_costs_no_word(browser, spoken):
    with contextlib.closing(Server(spoken.model, "--executor", "ray", "--workers", "2")) as server:
        visit = Visit(browser, server.url)
        page = visit.open()
        visit.listen(camera=spoken.pictures is not None)
        page.locator("#sections .line .word").first.wait_for()
        server.kill_busiest_actor()
        page.locator("#sections .line.final").nth(len(spoken.texts) - 1).wait_for()
        visit.stop()
        assert wer(spoken.texts, visit.captions()) <= WER_AT_MOST
        expect(page.locator(".notice")).to_have_count(0)
        visit.close()


@pytest.mark.parametrize("width", [NARROW_PX, WIDE_PX])
def test_the_routes_are_described_on_a_page(browser, server, width):
    with contextlib.closing(browser.new_context(viewport={"width": width, "height": 900})) as context:
        page = context.new_page()
        page.goto(f"{server.url}/reference.html")
        expect(page.get_by_role("heading", name="/v1/audio/transcriptions")).to_be_visible()
        described = page.request.get(f"{server.url}/openapi.json").json()
        told = page.locator(".route h3").all_inner_texts()
        assert sorted(" ".join(one.split()) for one in told) == sorted(
            f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious(page) == []
