"""Translations on the page in a real browser: chosen, shown beside what was said, read out, saved, and of files."""

from __future__ import annotations

import itertools
import json

import pysubs2
import pytest
from playwright.sync_api import expect

from tests.command_line import BANK, WEATHER, say
from tests.pages import Spoken, Visit, browser_that_plays, serious, visit
from tests.serving import served
from tests.test_server_live import UNHURRIED

__all__ = ["visit"]

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone, pytest.mark.usefixtures("place")]

TARGETS = ["de", "fr", "pt-BR"]
NARROW_PX, WIDE_PX = 360, 1920


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken")
    sound = say(folder / "spoken.wav", WEATHER, BANK, options=("-ar", 48_000))
    return Spoken(sound, None, [WEATHER, BANK], "sphinx", say(folder / "first.wav", WEATHER))


@pytest.fixture(scope="module")
def browser(spoken):
    with browser_that_plays(spoken) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(browser):
    with served("sphinx", translate=TARGETS, limits=UNHURRIED) as server:
        yield server


@pytest.fixture(scope="module")
def heard(browser, server):
    """A page that has heard two utterances, in German and French too, and what it showed of them meanwhile."""
    visit = Visit(browser, server.url)
    page = visit.open()
    choose(page, "German", "French")
    page.evaluate(
        """() => {
          globalThis.seen = [];
          const place = document.getElementById("sections");
          const texts = (kind) => [...place.querySelectorAll(`.translation ${kind}`)].map((word) => word.textContent);
          const look = () => seen.push([texts(".word:not(.unstable)"), texts(".word.unstable")]);
          new MutationObserver(look).observe(place, { childList: true, subtree: true, characterData: true });
        }"""
    )
    visit.listen()
    page.locator("#sections .line.final").nth(1).wait_for()
    visit.stop()
    visit.seen = page.evaluate("seen")
    yield visit
    assert visit.faults == []
    visit.close()


def choose(page, *names):
    page.locator("#translate-summary").click()
    for name in names:
        page.get_by_role("checkbox", name=name).check()
    page.keyboard.press("Escape")


def shouted(text, target):
    return " ".join(f"{target}:{word.upper()}" for word in text.split()) + "."


def beside(page, target):
    shown = page.locator(f"#sections .line.final .translation[lang={target}]").all_inner_texts()
    return [" ".join(text.split()) for text in shown]


def saved(page, kind, folder):
    with page.expect_download() as download:
        page.locator(f"button[data-format={kind}]").first.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


# The choice.


def test_languages_are_chosen_by_keyboard_and_remembered(visit):
    one = visit()
    page, menu, shown = one.page, one.page.locator("#translate"), one.page.locator("#translate-chosen")
    expect(shown).to_have_text("Nothing")
    page.keyboard.press("t")
    expect(menu).to_have_attribute("open", "")
    expect(page.get_by_label("Brazilian Portuguese")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="German")).to_be_checked()
    expect(shown).to_have_text("German")
    page.keyboard.press("Escape")
    expect(menu).not_to_have_attribute("open", "")
    expect(page.locator("#translate-summary")).to_be_focused()
    assert page.locator("#translate-summary").evaluate("one => one.matches(':focus-visible')")
    page.reload()
    page.locator("#model option").first.wait_for(state="attached")
    expect(shown).to_have_text("German")
    page.keyboard.press("t")
    page.get_by_role("checkbox", name="German").uncheck()
    page.locator("#listen").focus()  # it closes where somebody goes elsewhere
    expect(menu).not_to_have_attribute("open", "")
    expect(shown).to_have_text("Nothing")


def test_what_is_chosen_is_asked_for(heard):
    (start,) = [message for message in heard.sent if message["type"] == "start"]
    assert start["translate"] == ["fr", "de"]
    expect(heard.page.locator("#recogniser")).to_have_text("sphinx, en → fr, de")


def test_a_server_that_does_not_translate_offers_nothing(browser):
    with served("sphinx", limits=UNHURRIED) as english:
        visit = Visit(browser, english.url)
        page = visit.open()
        expect(page.locator("#translate-choice")).to_be_hidden()
        page.keyboard.press("t")
        page.locator("#file").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"no media"})
        assert "cannot read this file" in visit.notice("invalid_file")
        visit.close()


# What is shown.


def test_translations_stand_beside_what_was_said(heard):
    page = heard.page
    page.set_viewport_size({"width": 1280, "height": 740})
    assert heard.captions() == [WEATHER, BANK]
    for target in ("de", "fr"):
        assert beside(page, target) == [shouted(WEATHER, target), shouted(BANK, target)]
    line = page.locator("#sections .line.final").first
    boxes = [line.locator(kind).bounding_box() for kind in (".text", "[lang=fr]", "[lang=de]")]
    for left, right in itertools.pairwise(boxes):
        assert left["x"] + left["width"] <= right["x"]
        assert left["y"] == pytest.approx(right["y"], abs=2)
    heads = page.locator("#sections .languages").inner_text().split()
    assert heads == ["As", "spoken", "French", "German"]


def test_stable_words_stay_and_others_are_shown_apart(heard):
    assert any(unstable for _, unstable in heard.seen)
    for language in ("de", "fr"):
        before = []
        for stable, _ in heard.seen:
            now = [word for word in stable if word.startswith(f"{language}:")]
            assert now[: len(before)] == before
            before = now
    assert heard.page.locator(".translation .unstable").count() == 0


def test_words_of_a_translation_tell_their_shares(heard):
    page, card = heard.page, heard.page.locator("#word-card")
    page.locator("#sections .translation[lang=de] .word").first.hover()
    expect(card).to_contain_text("Confidence")
    page.locator("h1").hover()
    expect(card).to_be_hidden()


def test_screen_readers_are_told_each_language_once(heard):
    said = heard.page.locator("#announcer p").evaluate_all("all => all.map((one) => [one.lang, one.textContent])")
    assert sorted(said) == sorted(
        [language, text if language == "en" else shouted(text, language)]
        for text in (WEATHER, BANK)
        for language in ("en", "de", "fr")
    )


@pytest.mark.parametrize("view", ["light", "dark", "projector", "menu"])
def test_axe_finds_nothing_serious(heard, view):
    page = heard.page
    page.emulate_media(color_scheme="dark" if view == "dark" else "light", reduced_motion="reduce")
    page.set_viewport_size({"width": 1280, "height": 740})
    if view in ("projector", "menu"):
        page.keyboard.press("l" if view == "projector" else "t")
        expect(page.locator("#leave" if view == "projector" else "#translate-options")).to_be_visible()
    found = serious(page)
    if view in ("projector", "menu"):
        page.keyboard.press("Escape")
        expect(page.locator("#listen")).to_be_visible()
    assert found == []


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("width", [NARROW_PX, WIDE_PX])
def test_nothing_stands_out_to_the_side(heard, width, large):
    page = heard.page
    page.set_viewport_size({"width": width, "height": 740})
    if large:
        page.locator("#large").click()
        expect(page.locator("#leave")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#scroll").evaluate("box => box.scrollWidth <= box.clientWidth")
    for kept in (".translation", *([] if large else ["#translate-summary", "button[data-format=json]"])):
        box = page.locator(kept).first.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    if large:
        page.locator("#leave").click()
    else:
        page.locator("#translate-summary").click()
        box = page.locator("#translate-options").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.keyboard.press("Escape")


def test_more_than_two_languages_stand_one_below_the_other(visit, spoken):
    page = visit().page
    choose(page, "German", "French", "Brazilian Portuguese")
    page.locator("#file").set_input_files(spoken.file)
    line = page.locator("#sections .line.final").first
    line.wait_for()
    boxes = [line.locator(f"[lang={target}]").bounding_box() for target in ("pt-BR", "fr", "de")]
    assert len({box["x"] for box in boxes}) == 1
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]


# What is kept.


def test_each_language_is_saved_in_files_of_its_own(heard, tmp_path):
    page = heard.page
    page.set_viewport_size({"width": 1280, "height": 740})
    page.get_by_label("Language of the file").first.select_option("de")
    for kind in ("srt", "vtt"):
        path = saved(page, kind, tmp_path)
        assert path.name.endswith(f".de.{kind}")
        text = " ".join(cue.plaintext.replace("\n", " ") for cue in pysubs2.load(str(path)))
        assert text == f"{shouted(WEATHER, 'de')} {shouted(BANK, 'de')}"
    assert saved(page, "txt", tmp_path).read_text() == f"{shouted(WEATHER, 'de')}\n{shouted(BANK, 'de')}\n"
    path = saved(page, "json", tmp_path)
    assert ".de." not in path.name
    first = json.loads(path.read_text())["captions"][0]
    assert first["text"] == WEATHER
    assert first["translations"]["fr"]["text"] == shouted(WEATHER, "fr")
    assert [word["word"] for word in first["translations"]["de"]["words"]] == shouted(WEATHER, "de").split()
    page.get_by_label("Language of the file").first.select_option("")
    assert saved(page, "txt", tmp_path).read_text() == f"{WEATHER}\n{BANK}\n"


def test_a_file_is_translated_too(visit, spoken):
    page = visit().page
    choose(page, "French")
    page.locator("#file").set_input_files(spoken.file)
    page.locator("#sections .line.final .translation").first.wait_for()
    assert beside(page, "fr") == [shouted(WEATHER, "fr")]


TRANSCRIPT = """async (events) => {
  const { Transcript } = await import("./captions.js");
  const transcript = new Transcript({ changed: () => undefined, removed: () => undefined }, ["de"]);
  for (const event of events) {
    if (event.type === "anew") transcript.startedAnew(event.begins);
    else if (event.type === "ended") transcript.ended();
    else transcript.heard(event);
  }
  const text = (words) => words.map((word) => word.word).join(" ");
  return transcript.lines.map((line) => [text(line.stable), ...[...line.translations.values()].flatMap(
    ({ stable, unstable, final }) => [text(stable), text(unstable), final])]);
}"""


def event(kind, index, stable="", unstable="", *, final=False, start=0.0):
    words = [
        [{"word": word, "start": start, "end": start + 0.4, "confidence": 1, "video": 0} for word in part.split()]
        for part in (stable, unstable)
    ]
    more = {"language": "en"} if kind == "caption" else {"target": "de"}
    told = {"type": kind, "index": index, "final": final, "start": start, "end": start + 0.4}
    return {**told, "stable": words[0], "unstable": words[1], **more}


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        pytest.param(
            [event("translation", 0, "guten", "Tag"), event("caption", 0, "good", "day")],
            [["good", "guten", "Tag", False]],
            id="before its caption",
        ),
        pytest.param(
            [event("caption", 0, "good day", final=True), event("translation", 0, "guten", "Tag"), {"type": "ended"}],
            [["good day", "guten Tag", "", True]],
            id="the end comes before its own",
        ),
        pytest.param(
            [
                event("caption", 0, "good day", final=True),
                event("translation", 0, "guten Tag", final=True),
                event("translation", 0, "", "spät"),
            ],
            [["good day", "guten Tag", "", True]],
            id="final is final",
        ),
        pytest.param(
            [
                event("caption", 0, "good day", final=True),
                event("translation", 0, "guten", "Tag"),
                {"type": "anew", "begins": 0.4},
                event("caption", 0, "again", final=True, start=0.5),
                event("translation", 0, "noch einmal", final=True, start=0.5),
            ],
            [["good day", "guten Tag", "", True], ["again", "noch einmal", "", True]],
            id="the server is another one",
        ),
    ],
)
def test_translations_find_their_captions(heard, events, lines):
    assert heard.page.evaluate(TRANSCRIPT, events) == lines
