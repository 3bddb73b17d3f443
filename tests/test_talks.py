"""Speech that is translated while it is played: flite's sentences at 1.0x, end to end, and manifests of speech."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mmstream.core import MmstreamError, Packet
from mmstream.evaluation.manifest import Entry, read_manifest
from mmstream.evaluation.simultaneous import Talk
from mmstream.evaluation.speaking import spoken
from mmstream.evaluation.talks import Noted, Notes, Playing, played
from mmstream.media import Translation
from mmstream.registry import resolve
from mmstream.testing import ManualClock, run_operator
from mmstream.translation import models
from operators.translation import translate
from tests.command_line import BANK, WEATHER, Finished, call
from tests.media_samples import require
from tests.translations import Shouting, caption, words_of

PAIRS = [(WEATHER, "Das Wetter ist heute sehr schön."), (BANK, "Die Firma will die Bank kaufen.")]
CLIP = ["bleu", "chrf", "laal_s", "laal_ca_s", "behind_s", "revision_rate", "changed_stable_words", "words",
        "clips_without_words", "wer"]  # fmt: skip


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Shouting:
    """The one translator that there is. It knows each word's translation at once, and where it comes from."""
    made = Shouting()
    monkeypatch.setattr(translate, "load", lambda model, source, targets: dict.fromkeys(targets, made))
    monkeypatch.setattr(models, "chosen", lambda model, source, targets: dict.fromkeys(targets, ("shout", Path())))
    return made


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    require("flite")
    return spoken(PAIRS, tmp_path_factory.mktemp("spoken"), "de")


def shouted(text: str) -> str:
    """What the translator makes of it."""
    return " ".join(f"de:{word.upper()}" for word in text.split()) + "."


def playing(**changes: Any) -> Playing:
    given = {"recogniser": resolve("sphinx"), "translator": "auto", "source": "en", "target": "de", "policy": {}}
    return Playing(**{**given, **changes})


def manifest(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def evaluate(path: Path, *options: object) -> Finished:
    languages = ("--source", "en", "--target", "de", "--simultaneous", "--recogniser", "sphinx")
    return call("evaluate-translation", path, *languages, *options)


def test_sentences_are_spoken_into_a_folder(clips: list[Entry]) -> None:
    assert [(clip.text, clip.translations) for clip in clips] == [(text, {"de": other}) for text, other in PAIRS]
    assert [clip.media.name for clip in clips] == ["0001.wav", "0002.wav"]
    assert all(1.5 < (clip.duration or 0) < 3 for clip in clips)


def test_without_flite_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(MmstreamError, match="flite, which is not installed: run apt-get install flite"):
        spoken(PAIRS, tmp_path, "de")


def test_a_sentence_that_cannot_be_spoken_is_named(tmp_path: Path) -> None:
    require("flite")
    with pytest.raises(MmstreamError, match=f"flite cannot say '{WEATHER}': .*open file"):
        spoken(PAIRS, tmp_path / "nowhere", "de")


def test_each_word_is_noted_when_it_came_and_how_much_had_been_heard(engine: Shouting, clips: list[Entry]) -> None:
    told: list[None] = []
    talks, errors = played(clips, playing(), lambda: told.append(None))
    assert [talk.text for talk in talks] == [shouted(WEATHER), shouted(BANK)]
    assert errors.wer == 0
    assert len(told) == 2  # the warm-up is not counted
    for talk, clip in zip(talks, clips, strict=True):
        assert talk.seconds == clip.duration
        read, at = [word.read_s for word in talk.words], [word.at_s for word in talk.words]
        assert read == sorted(read)
        assert 0 < read[0] < talk.seconds, "something was promised while it was spoken"
        assert read[-1] == pytest.approx(talk.seconds, abs=0.1)
        assert at == sorted(at)
        assert all(wall >= media for wall, media in zip(at, read, strict=True)), "nobody hears what is to come"
        assert at[-1] < talk.seconds + 5
        assert all(word.behind_s is not None and 0 <= word.behind_s < 5 for word in talk.words)
        assert talk.broken == 0


def test_policies_are_compared_over_a_manifest(engine: Shouting, clips: list[Entry], tmp_path: Path) -> None:
    entry = {"media": str(clips[0].media), "text": WEATHER, "translations": {"de": shouted(WEATHER), "fr": "Il"}}
    path = manifest(tmp_path / "dev.jsonl", entry)
    done = evaluate(path, "--policy", "sentence", "--policy", "local_agreement=1")
    assert done.code == 0, done
    figures = done.last_json
    assert [figures[name] for name in ("model", "source", "target", "recogniser", "clips")] == [
        "shout", "en", "de", "sphinx", 1,
    ]  # fmt: skip
    assert figures["seconds"] == pytest.approx(clips[0].duration, abs=0.06)
    late, early = figures["policies"]["sentence"], figures["policies"]["local_agreement=1"]
    for one in (late, early):
        assert list(one) == CLIP
        assert one["bleu"]["score"] == one["chrf"]["score"] == 100
        assert "tok:13a" in one["bleu"]["signature"]
        assert (one["words"], one["wer"], one["clips_without_words"], one["changed_stable_words"]) == (6, 0, 0, 0)
        assert one["laal_ca_s"] >= one["laal_s"]
    assert late["laal_s"] == pytest.approx(clips[0].duration, abs=0.1)  # it says nothing before the sentence is over
    assert early["laal_s"] < late["laal_s"]
    names = [row.split()[0] for row in done.out.splitlines()[:-1]]
    assert names[-2:] == ["sentence", "local_agreement=1"]


def test_a_tsv_is_spoken_and_the_limit_holds(engine: Shouting, tmp_path: Path) -> None:
    require("flite")
    (tmp_path / "dev.tsv").write_text("".join(f"{text}\t{shouted(text)}\n" for text, _ in PAIRS))
    done = evaluate(tmp_path / "dev.tsv", "--policy", "sentence", "--limit", 1, "--json")
    assert (done.code, len(done.out.splitlines()), done.err) == (0, 1, "")
    assert (done.last_json["clips"], done.last_json["policies"]["sentence"]["bleu"]["score"]) == (1, 100)


def test_a_clip_without_a_translation_is_named_before_anything_is_played(
    engine: Shouting, clips: list[Entry], tmp_path: Path
) -> None:
    first = {"media": str(clips[0].media), "text": WEATHER, "translations": {"de": "x"}}
    for without in ({}, {"translations": {"fr": "Il"}}, {"translations": None}):
        path = manifest(tmp_path / "dev.jsonl", first, {"media": str(clips[1].media), "text": BANK, **without})
        evaluate(path).the_line(f'mmstream: {clips[1].media}: the manifest has no "translations" into de of it')
    assert engine.asked == []


@pytest.mark.parametrize("value", ["ja", ["ja"], {"de": 3}])
def test_translations_that_are_none_name_their_line(clips: list[Entry], tmp_path: Path, value: object) -> None:
    path = manifest(tmp_path / "dev.jsonl", {"media": str(clips[0].media), "text": "", "translations": value})
    with pytest.raises(MmstreamError, match=r"dev\.jsonl:1: translations must be an object of texts by language"):
        read_manifest(path)


def test_media_that_cannot_be_read_is_named(engine: Shouting, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not sound\n")
    path = manifest(tmp_path / "dev.jsonl", {"media": "text.wav", "text": "a", "translations": {"de": "b"}})
    evaluate(path).the_line(f"mmstream: {tmp_path}/text.wav cannot be read as media")


def test_flite_speaks_english_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "check", lambda model, source, targets: None)
    (tmp_path / "dev.tsv").write_text("Il pleut.\tEs regnet.\n")
    options = ("--source", "fr", "--target", "de", "--simultaneous", "--recogniser", "sphinx")
    done = call("evaluate-translation", tmp_path / "dev.tsv", *options)
    done.the_line("flite speaks English, not fr; give a manifest of speech")


def test_nobody_speaks_and_no_figure_is_invented() -> None:
    noted = Noted(Talk(2.0, "a"))
    assert run_operator(Notes({"test": noted}), []) == []
    assert (noted.talk.words, noted.said, noted.follower) == ([], {}, None)


def test_notes_follow_what_is_heard_and_what_is_translated() -> None:
    """Captions of ``caption`` were captured at 1000 s plus their end; a word ends 0.4 s after it begins."""
    noted = Noted(Talk(2.0, "eins zwei"))
    notes, clock = Notes({"test": noted}), ManualClock(1001.0)
    notes.clock = clock

    def translation(stable: str, unstable: str = "", *, final: bool = False) -> Packet[Translation]:
        data = Translation(0, words_of(stable), words_of(unstable), final, "de")
        return heard.derive(data)

    heard = caption("one", "two")  # the first packet says when media second 0 was
    shown = [(heard, 0.1), (translation("EINS", "DREI"), 0.4), (caption("one two", final=True), 0.1),
             (translation("EINS ZWEI", final=True), 0.0)]  # fmt: skip
    state = notes.open("test")
    for packet, later_s in shown:
        assert list(notes.process(packet, state)) == []
        clock.advance(later_s)
    assert [(word.text, word.read_s) for word in noted.talk.words] == [("EINS", heard.end), ("ZWEI", heard.end)]
    assert [word.at_s for word in noted.talk.words] == pytest.approx([1.1, 1.6])
    assert [word.behind_s for word in noted.talk.words] == pytest.approx([0.1, 0.1])
    assert (noted.talk.revised, noted.talk.broken, noted.said) == (1, 0, {0: "one two"})
