"""``--translate`` of ``transcribe``, ``live`` and ``run``: real speech, the recogniser and the translator that ship."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pysubs2
import pytest

from mmstream import weights
from mmstream.translation.engine import TranslationError
from operators.translation import translate as operator
from tests.command_line import BANK, STATES, TRANSCRIBE, WEATHER, call, leftovers, mmstream, say
from tests.media_samples import missing
from tests.translations import Shouting

LIVE = ("live", "--model", "sphinx")


@pytest.fixture(scope="module", autouse=True)
def shipped() -> None:
    if not (weights.SHIPPED / "mt").is_dir():
        missing("the translator that ships (mmstream/weights/mt)")


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "talks"
    say(folder / "weather.wav", WEATHER, STATES)
    say(folder / "bank.wav", BANK)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_transcript_and_two_translations_for_each_file(talks: Path, tmp_path: Path) -> None:
    done = mmstream(*TRANSCRIBE, talks, "--translate", "de,FR", "-o", tmp_path, "-f", "vtt,jsonl")
    assert done.code == 0, done
    assert "translators: de by mt-en-de, fr by mt-en-fr" in done.err
    files = [f"{name}{language}" for name in ("bank", "weather") for language in ("", ".de", ".fr")]
    assert names(tmp_path) == sorted(f"{file}.{suffix}" for file in files for suffix in ("vtt", "jsonl"))
    said, german, french = (lines_of(tmp_path / f"weather{language}.jsonl") for language in ("", ".de", ".fr"))
    assert [line["text"] for line in said] == [WEATHER, STATES]
    assert "Wetter" in german[0]["text"]
    assert re.search("temps|météo", french[0]["text"])
    for other, language in ((german, "de"), (french, "fr")):
        assert [line["index"] for line in other] == [line["index"] for line in said]
        assert {line["language"] for line in other} == {language}
        for line, source in zip(other, said, strict=True):
            times = [time for word in line["words"] for time in (word["start"], word["end"])]
            assert source["start"] <= min(times)
            assert max(times) <= source["end"]
            assert all(word["confidence"] is not None for word in line["words"])
    for language in ("", ".de", ".fr"):
        cues = pysubs2.load(str(tmp_path / f"weather{language}.vtt"))
        assert len(cues) >= 2
        assert all(300 <= cue.start < cue.end <= 7500 for cue in cues)


def test_a_run_with_other_languages_is_not_done_before(talks: Path, tmp_path: Path) -> None:
    run = (*TRANSCRIBE, talks / "bank.wav", "-o", tmp_path, "-f", "txt", "--json")
    assert call(*run, "--translate", "de").last_json["skipped"] == 0
    assert call(*run, "--translate", "de").last_json["skipped"] == 1
    assert call(*run, "--translate", "de,fr").last_json["skipped"] == 0
    assert names(tmp_path) == ["bank.de.txt", "bank.fr.txt", "bank.txt"]
    (tmp_path / "bank.fr.txt").unlink()
    assert call(*run, "--translate", "de,fr").last_json["skipped"] == 0
    assert names(tmp_path) == ["bank.de.txt", "bank.fr.txt", "bank.txt"]
    assert call(*run, "--translate", "fr,de", "--translator", weights.SHIPPED / "mt").last_json["skipped"] == 0


def test_a_file_whose_translation_fails_fails_whole(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Choosy(Shouting):
        def translate(self, requests: Any, source: str) -> Any:
            if any("bank" in request.text for request in requests):
                raise TranslationError("no banks")
            return super().translate(requests, source)

    monkeypatch.setattr(operator, "load", lambda model, source, targets: dict.fromkeys(targets, Choosy()))
    done = call(*TRANSCRIBE, talks, "--translate", "de", "-o", tmp_path, "-f", "srt,txt")
    assert done.code == 1
    (line,) = done.lines("failed")
    assert "bank.wav" in line
    assert "no banks" in line
    assert names(tmp_path) == ["weather.de.srt", "weather.de.txt", "weather.srt", "weather.txt"]
    assert (tmp_path / "weather.de.txt").read_text().startswith("de:THE de:WEATHER")
    assert not leftovers(tmp_path)


def test_pieces_of_a_file_are_translated_as_the_whole_is(talks: Path, tmp_path: Path) -> None:
    long = say(tmp_path / "long.wav", WEATHER, WEATHER)  # the pause between them is where it is cut
    texts = []
    for split in ("0", "5"):
        output = tmp_path / split
        run = call(*TRANSCRIBE, long, "--translate", "de,es", "-o", output, "-f", "jsonl", "--split-s", split)
        assert run.code == 0, run
        texts.append([line["text"] for one in ("de", "es") for line in lines_of(output / f"long.{one}.jsonl")])
        assert [line["index"] for line in lines_of(output / "long.de.jsonl")] == [0, 1]
    assert texts[0] == texts[1]


def test_a_file_that_is_named_as_the_translation_of_another(talks: Path, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name in ("talk.wav", "talk.de.wav"):
        (media / name).write_bytes((talks / "bank.wav").read_bytes())
    run = (*TRANSCRIBE, media, "-o", tmp_path / "out")
    call(*run, "--translate", "de").the_line(
        "talk.de.wav and the translation of ", "talk.wav would both write 'talk.de': give them different output folders"
    )
    assert call(*run, "--translate", "fr").code == 0


def test_live_prints_both_lines_and_writes_both_files(talks: Path, tmp_path: Path) -> None:
    done = mmstream(*LIVE, talks / "weather.wav", "--translate", "es", "--output", tmp_path / "talk.srt")
    assert done.code == 0, done
    first, below, second, last = done.out.splitlines()
    assert (first, second) == (WEATHER, STATES)
    assert re.match("  es  .*tiempo", below)
    assert re.match(r"  es  \S", last)
    assert names(tmp_path) == ["talk.es.srt", "talk.srt"]
    assert "tiempo" in (tmp_path / "talk.es.srt").read_text()
    assert "tiempo" not in (tmp_path / "talk.srt").read_text()


OWN = """
capacity: 64
nodes:
  source: {use: operators.sources:MediaFile, with: {path: "%s"}}
  resample: {use: operators.audio:Resample, with: {sample_rate: 16000}, from: source}
  speech: {use: operators.audio:Vad, from: resample}
  decode: {use: operators.decoders:Sphinx, from: speech}
  commit: {use: operators.policies:Commit, with: {policy: final}, from: decode}
  german: {use: operators.translation:Translate, with: {targets: [de]}, from: commit}
  screen: {use: operators.sinks:Terminal, with: {languages: [de]}, from: [commit, german]}
"""


def test_a_file_with_a_translator_of_its_own_gets_a_file_for_each_of_its_languages(talks: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN % (talks / "bank.wav"))
    media, pipeline = talks / "bank.wav", ("--pipeline", tmp_path / "own.yaml")
    assert call(*TRANSCRIBE, media, *pipeline, "-o", tmp_path / "out").code == 0
    assert names(tmp_path / "out") == ["bank.de.srt", "bank.srt"]
    assert call(*TRANSCRIBE, media, *pipeline, "-o", tmp_path / "other", "--translate", "fr").code == 0
    assert names(tmp_path / "other") == ["bank.fr.srt", "bank.srt"]
    done = call("run", tmp_path / "own.yaml", "--output", tmp_path / "run", "--format", "txt")
    assert names(tmp_path / "run") == ["run.de.txt", "run.txt"]
    assert done.out.splitlines()[0] == BANK
    assert re.match(r"  de  .*Bank", done.out.splitlines()[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--translate", "german"], "--translate german: 'german' is no language code; write de"),
        (["--translate", "de,xx"], "--translate de,xx: there is no language 'xx'"),
        (["--translate", ","], "--translate ,: ',' names no language; write for example de,fr"),
        (["--translate", "de,en"], "'sphinx' recognises English (en) and writes it as it is; leave that language out"),
        (["--translate", "ja"], "no model on this machine translates English (en) into Japanese (ja)"),
        (
            ["--translate", "ja", "--translator", "mt-en-de"],
            "'mt-en-de' does not translate English (en) into Japanese (ja); it translates",
        ),
        (["--translate", "de", "--translator", "mt-en-d"], "no translator 'mt-en-d'; did you mean 'mt-en-de'?"),
        (["--translate", "de", "--translator", "sphinx"], "model 'sphinx' is for recognition, not for translation"),
        (["--translate", "de", "--translator", "./nowhere"], "nowhere: does not exist; a translator is a folder with"),
        (["--translator", "mt-en-de"], "--translator mt-en-de: also say into what, such as --translate de"),
    ],
)
@pytest.mark.parametrize("command", ["live", "transcribe"])
def test_options_that_cannot_be(
    command: str, options: list[str], said: str, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = "talk.srt" if command == "live" else "out"
    line = call(command, talks / "bank.wav", "--model", "sphinx", "--output", output, *options).the_line(said)
    assert "node '" not in line
    assert not list(tmp_path.iterdir())


def test_a_translator_does_not_go_with_a_server() -> None:
    done = call("live", "--server", "ws://127.0.0.1:1", "--translate", "de", "--translator", "mt-en-de")
    done.the_line("--translator does not go with --server")
    call("live", "--server", "ws://127.0.0.1:1", "--translate", "germn").the_line("--translate germn: there is no")
