"""The live view on a real terminal: tmux shows what a person would see, and how bright."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

# Obeys lines of JSON from a named pipe: words to show, a session to end, a line for standard error.
SHOWING = """
import json, sys
from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation, Word
from operators.sinks import Terminal

def words(text):
    return tuple(Word(word, 1.0, 2.0) for word in text.split())

sink, states = Terminal(languages=sys.argv[2:]), {}
with open(sys.argv[1]) as orders:
    for line in orders:
        order = json.loads(line)
        session = order.get("session", "s")
        if "open" in order:
            states[order["open"]] = sink.open(order["open"])
        elif "end" in order:
            sink.flush(states[order["end"]])
        elif "stderr" in order:
            print(order["stderr"], file=sys.stderr)
        elif "gap" in order:
            sink.process(Packet(session, 0.0, 2.3, Gap("audio", order["gap"]), 0.0), states[session])
        else:
            kind = Translation if order.get("language") in sys.argv[2:] else Caption
            caption = kind(
                order["index"], words(order["stable"]), words(order["unstable"]), order["final"], order.get("language")
            )
            sink.process(Packet(session, 1.0, 2.0, caption, 0.0), states[session])
print("the end")
"""


class Pane:
    """A terminal of tmux in which a script shows captions."""

    def __init__(self, folder, columns, lines, languages):
        self.socket = str(folder / "tmux")
        self.orders = folder / "orders"
        (folder / "show.py").write_text(SHOWING)
        os.mkfifo(self.orders)
        script = f"exec {sys.executable} {folder}/show.py {self.orders} {' '.join(languages)}"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(lines), script)
        self.tmux("set-option", "-g", "status", "off")
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.pipe = self.orders.open("w", buffering=1)
        self.order(open="s")

    def tmux(self, *arguments):
        command = ["tmux", "-u", "-S", self.socket, *arguments]
        environment = {**os.environ, "LANG": "C.UTF-8", "PYTHONUTF8": "1", "TERM": "xterm-256color"}
        environment.pop("TMUX", None)
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=20).stdout

    def order(self, **order):
        self.pipe.write(json.dumps(order) + "\n")

    def show(self, stable="", unstable="", index=0, final=False, **more):
        self.order(stable=stable, unstable=unstable, index=index, final=final, **more)

    def resize(self, columns, lines):
        self.tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def rows(self):
        return [row.rstrip() for row in self.tmux("capture-pane", "-p").rstrip("\n").split("\n")]

    def history(self):
        return [row.rstrip() for row in self.tmux("capture-pane", "-p", "-S", "-").rstrip("\n").split("\n")]

    def bright(self):
        """The screen with ⟨⟩ round what is dim."""
        text = self.tmux("capture-pane", "-p", "-e").rstrip("\n")
        text = re.sub("\x1b\\[2m", "⟨", text)
        text = re.sub("\n?\x1b\\[0?m", lambda end: "⟩" + end[0][: end[0].startswith("\n")], text)
        text += "⟩" * (text.count("⟨") - text.count("⟩"))  # tmux does not say where the dim ends on the last row
        return re.sub("\x1b\\[[0-9;]*m", "", text)

    def expect(self, *rows, at=None):
        """Wait for the screen to be just so."""
        at = at or self.rows
        deadline = time.monotonic() + 10
        while at() != list(rows):
            if time.monotonic() > deadline:
                assert at() == list(rows)
            time.sleep(0.02)

    def close(self):
        self.pipe.close()
        self.tmux("kill-server")


@pytest.fixture
def pane(tmp_path):
    if shutil.which("tmux") is None:
        reason = "needs the command tmux"
        pytest.fail(reason) if os.environ.get("MMSTREAM_REQUIRE_ALL") == "1" else pytest.skip(reason)
    panes = []

    def start(columns=80, lines=24, languages=()):
        panes.append(Pane(tmp_path, columns, lines, languages))
        return panes[-1]

    yield start
    for each in panes:
        each.close()


LONG = (
    "it was the best of times it was the worst of times it was the age of wisdom it was the age of foolishness "
    "it was the epoch of belief it was the epoch of incredulity"
)


def test_unstable_words_change_in_place(pane):
    shown = pane()
    shown.show("", "hello word")
    shown.expect("hello word")
    shown.show("hello", "wold")
    shown.expect("hello wold")
    assert shown.bright() == "hello⟨ wold⟩"
    shown.show("hello world", final=True)
    shown.expect("hello world")
    assert shown.bright() == "hello world"
    shown.show("", "how are", index=1)
    shown.expect("hello world", "how are")
    shown.order(gap="the device overflowed")
    shown.expect("hello world", "[2.3 s of audio lost: the device overflowed]", "how are")
    assert shown.bright() == "hello world\n⟨[2.3 s of audio lost: the device overflowed]\nhow are⟩"
    shown.show("", index=1, final=True)  # not words after all
    shown.expect("hello world", "[2.3 s of audio lost: the device overflowed]")
    shown.show("good", "bye", index=2)
    shown.order(end="s")
    shown.pipe.close()
    shown.expect("hello world", "[2.3 s of audio lost: the device overflowed]", "good bye", "the end",
                 at=lambda: [row for row in shown.rows() if row and "dead" not in row])  # fmt: skip


def test_a_long_utterance_wraps_and_shrinks_in_a_narrow_pane(pane):
    shown = pane(columns=40)
    shown.show("", "first", final=True)
    words = LONG.split()
    for count in (*range(1, len(words) + 1), 3, 12, len(words)):  # it grows word by word, and may shrink
        shown.show(" ".join(words[: count // 2]), " ".join(words[count // 2 : count]), index=1)
    shown.expect("first", *textwrap.wrap(LONG, 40))
    shown.show(" ".join(words[:9]), index=1)
    shown.expect("first", *textwrap.wrap(" ".join(words[:9]), 40))
    shown.show(LONG, index=1, final=True)
    shown.show("", "next", index=2)
    shown.expect("first", *textwrap.wrap(LONG, 40), "next")
    assert shown.history() == shown.rows()  # nothing was pushed off the screen


def test_a_line_of_just_the_width(pane):
    shown = pane(columns=40)
    exact = "twenty characters is half of this width."
    assert len(exact) == 40
    for text in (exact, exact + " more", exact, f"{exact} {exact}", exact):
        shown.show("", text)
    shown.expect(exact)
    shown.show(exact, final=True)
    shown.show("", "next", index=1)
    shown.expect(exact, "next")


@pytest.mark.parametrize(("columns", "above"), [(25, []), (60, ["first"])])  # tmux scrolls what it has to break
def test_a_terminal_that_is_resized(pane, columns, above):
    shown = pane(columns=40)
    shown.show("", "first", final=True)
    shown.show("", LONG, index=1)
    shown.expect("first", *textwrap.wrap(LONG, 40))
    shown.resize(columns, 24)
    time.sleep(0.6)  # tmux tells the program of a new size only every 250 ms
    shown.show("", LONG + " and", index=1)
    shown.expect(*above, *textwrap.wrap(LONG + " and", columns))
    shown.show(LONG, index=1, final=True)
    shown.show("", "next", index=2)
    shown.expect(*above, *textwrap.wrap(LONG, columns), "next")


def test_an_utterance_higher_than_the_screen(pane):
    shown = pane(columns=20, lines=5)
    words = LONG.split()
    for count in range(1, len(words) + 1):
        shown.show("", " ".join(words[:count]))
    shown.expect(*textwrap.wrap(LONG, 20)[-4:])  # the newest words
    shown.show(LONG, final=True)
    shown.show("", "next", index=1)
    shown.expect(*textwrap.wrap(LONG, 20), "next", at=shown.history)


def test_wide_characters(pane):
    shown = pane(columns=20)
    shown.show("", "今 日 は 良 い 天 気 で す ね", language="ja")
    shown.expect("今日は良い天気ですね")
    shown.show("今 日 は 良 い 天 気 で す ね", "と 言 い ま し た", language="ja")
    shown.expect("今日は良い天気ですね", "と言いました")
    shown.show("今 日 は", language="ja", final=True)
    shown.expect("今日は")


def test_lines_on_standard_error_come_above_what_is_spoken(pane):
    shown = pane(columns=40)
    shown.show("", LONG)
    shown.order(stderr="the stream reconnects")
    shown.show("", LONG + " and")
    shown.expect("the stream reconnects", *textwrap.wrap(LONG + " and", 40))


def test_several_sessions_each_have_their_line(pane):
    shown = pane()
    shown.order(open="t")
    shown.show("", "hello", session="s")
    shown.show("", "good", session="t")
    shown.expect("s: hello", "t: good")
    shown.show("", "hello world", session="s")
    shown.expect("s: hello world", "t: good")
    shown.show("good day", session="t", final=True)
    shown.expect("t: good day", "s: hello world")
    shown.order(end="t")
    shown.show("hello world", session="s", final=True)
    shown.expect("t: good day", "s: hello world")


def test_translations_change_in_place_below_what_is_said(pane):
    shown = pane(languages=["de", "fr"])
    shown.show("good", "say")
    shown.show("Guten", "Sag", language="de")
    shown.show("", "bon", language="fr")
    shown.expect("good say", "  de  Guten Sag", "  fr  bon")
    assert shown.bright() == "good⟨ say\n  de  ⟩Guten⟨ Sag\n  fr  bon⟩"
    shown.show("good day", final=True)
    shown.show("", "my", index=1)
    shown.expect("good day", "  de  Guten Sag", "  fr  bon", "my")  # what was said is over, and waits for nobody
    shown.show("bonjour", final=True, language="fr")
    shown.show("Guten Tag", final=True, language="de")
    shown.show("", "mein", index=1, language="de")
    shown.expect("good day", "  de  Guten Tag", "  fr  bonjour", "my", "  de  mein")
    assert shown.bright() == "good day\n⟨  de  ⟩Guten Tag\n⟨  fr  ⟩bonjour\n⟨my\n  de  mein⟩"
    shown.order(end="s")
    shown.pipe.close()
    shown.expect("good day", "  de  Guten Tag", "  fr  bonjour", "my", "  de  mein", "the end",
                 at=lambda: [row for row in shown.rows() if row and "dead" not in row])  # fmt: skip


def test_a_translation_wraps_behind_its_language(pane):
    shown = pane(columns=40, languages=["de"])
    words = LONG.split()
    for count in (*range(1, len(words) + 1, 3), 5, len(words)):
        shown.show("", " ".join(words[:count]))
        shown.show("", " ".join(words[:count]), language="de")
    wrapped = textwrap.wrap(LONG, 34)
    below = [f"  de  {wrapped[0]}", *(f"      {row}" for row in wrapped[1:])]
    shown.expect(*textwrap.wrap(LONG, 40), *below)
    shown.show(LONG, final=True)
    shown.show(LONG, final=True, language="de")
    shown.show("", "next", index=1)
    shown.expect(*textwrap.wrap(LONG, 40), *below, "next")
    assert shown.history() == shown.rows()


def test_blocks_that_wait_for_a_slow_translator_are_higher_than_the_screen(pane):
    shown = pane(columns=40, lines=6, languages=["de"])
    for index in range(10):
        shown.show(f"sentence {index}", index=index, final=True)
    shown.expect(*(f"sentence {index}" for index in range(5, 10)))  # the newest
    for index in range(10):
        shown.show(f"Satz {index}", index=index, final=True, language="de")
    both = [row for index in range(10) for row in (f"sentence {index}", f"  de  Satz {index}")]
    shown.expect(*both, at=lambda: [row for row in shown.history() if row])
