"""``mmstream demo``, and ``mmstream run`` with a pipeline file and an operator of one's own."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pysubs2
import pytest

from mmstream.evaluation.wer import error_rates
from mmstream.samples import SPOKEN_TEXT
from tests.command_line import BANK, STATES, WEATHER, Running, mmstream, say

PIPELINE = """
capacity: 64
nodes:
  source: {use: operators.sources:MediaFile, with: {path: "${TALK:-nowhere.wav}"}}
  resample: {use: operators.audio:Resample, with: {sample_rate: 16000}, from: source}
  speech: {use: operators.audio:Vad, from: resample}
  decode: {use: operators.decoders:Sphinx, from: speech}
  commit: {use: operators.policies:Commit, with: {n: 4, hold_words: 2}, from: decode}
  louder: {use: loud_words:Louder, with: {mark: "?"}, from: commit}
  text: {use: operators.sinks:PlainText, with: {path: "{session}.txt"}, from: louder}
"""

OPERATOR = '''
from collections.abc import Iterable
from dataclasses import replace

from mmstream.core import Operator, Packet
from mmstream.media import Caption


class Louder(Operator[None]):
    """Captions in capitals."""

    accepts = (Caption,)
    emits = (Caption,)

    def __init__(self, mark: str = "") -> None:
        self.mark = mark

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Caption], state: None) -> Iterable[Packet[Caption]]:
        stable = tuple(replace(word, text=word.text.upper() + self.mark) for word in packet.data.stable)
        yield packet.derive(replace(packet.data, stable=stable))
'''


def test_the_demo_captions_the_sample_on_screen_and_in_three_files(tmp_path: Path) -> None:
    began = time.monotonic()
    done = mmstream("demo", cwd=tmp_path)
    assert done.code == 0, done
    assert time.monotonic() - began > 18  # it plays at its own pace
    sentences = done.out.splitlines()
    assert len(sentences) == 6
    assert error_rates([" ".join(SPOKEN_TEXT.read_text().splitlines())], [" ".join(sentences)]).wer < 0.35

    files = [tmp_path / "out" / f"demo.{suffix}" for suffix in ("srt", "vtt", "jsonl")]
    assert sorted((tmp_path / "out").iterdir()) == sorted(files)
    for path in files[:2]:
        cues = pysubs2.load(str(path))
        assert " ".join(cue.plaintext.replace("\n", " ") for cue in cues) == " ".join(sentences)
    assert [json.loads(line)["text"] for line in files[2].read_text().splitlines()] == sentences
    assert done.lines("mmstream: wrote") == [
        f"mmstream: wrote out/{path.name} ({path.stat().st_size} bytes)" for path in files
    ]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a pipeline file, an operator and two recordings of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(PIPELINE)
    (tmp_path / "loud_words.py").write_text(OPERATOR)
    say(tmp_path / "weather.wav", WEATHER)
    say(tmp_path / "states.wav", STATES)
    return tmp_path


def loud(sentence: str, mark: str) -> str:
    return " ".join(word.upper() + mark for word in sentence.split()) + "\n"


def test_a_pipeline_and_an_operator_of_ones_own(mine: Path) -> None:
    done = mmstream("run", "mine.yaml", "--allow", "loud_words", env={"TALK": "weather.wav"}, cwd=mine)
    assert done.code == 0, done
    assert (mine / "run.txt").read_text() == loud(WEATHER, "?")

    changes = ("--set", "source.path=states.wav", "--set", "louder.mark=!", "--session", "again")
    done = mmstream("run", "mine.yaml", "--allow", "loud_words", *changes, cwd=mine)
    assert done.code == 0, done
    assert (mine / "again.txt").read_text() == loud(STATES, "!")


def test_the_same_on_ray_until_sigterm(mine: Path) -> None:
    """Ray puts a handler of its own in place, which would kill its workers instead of letting the words come out."""
    say(mine / "talk.wav", WEATHER, STATES, BANK)
    terminal = "  terminal: {use: operators.sinks:Terminal, from: louder}\n"
    (mine / "mine.yaml").write_text(PIPELINE + terminal)
    options = ("--allow", "loud_words", "--executor", "ray", "--set", "source.pace=realtime")
    with Running("run", "mine.yaml", *options, env={"TALK": "talk.wav"}, cwd=mine) as run:
        run.wait_for(loud(WEATHER, "?").strip())
        time.sleep(1.5)  # into the second sentence
        run.send(signal.SIGTERM)
        done = run.end()
    assert done.code == 0, done
    assert (mine / "run.txt").read_text() == done.out + "\n"
    assert done.out.splitlines()[0] == loud(WEATHER, "?").strip()
    assert len(done.out.splitlines()) == 2  # what had been said of the second sentence
    assert "BANK" not in done.out


def test_a_fault_says_in_which_node_and_where_in_the_media(mine: Path) -> None:
    done = mmstream("run", "mine.yaml", "--allow", "loud_words", cwd=mine)
    where = "mmstream: node 'source' (operators.sources:MediaFile), session 'run', at 0.000 s: "
    done.the_line(f"{where}nowhere.wav: no such file")

    (mine / "loud_words.py").write_text(OPERATOR.replace("word.text.upper()", "word.txt.upper()"))
    done = mmstream("run", "mine.yaml", "--allow", "loud_words", env={"TALK": "weather.wav"}, cwd=mine)
    where = "mmstream: node 'louder' (loud_words:Louder), session 'run', at "
    line = done.the_line(where, "AttributeError: 'Word' object")
    assert "at 0.000 s" not in line
    assert not (mine / "run.txt").exists()
    assert not (mine / ".run.txt.partial").exists()
