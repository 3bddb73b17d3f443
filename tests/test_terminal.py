"""What the terminal sink writes where there is no terminal; the live view is in test_terminal_tmux.py."""

import contextlib
import os
import pty
import subprocess
import sys

import pytest

from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Word
from mmstream.testing import run_operator
from operators.sinks import Terminal
from tests.captions import caption, finals, gap


def test_into_a_pipe_go_whole_utterances(capfd):
    captions = [caption(0, "hello"), caption(0, "hello", "word"), caption(0, "hello world", final=True)]
    captions += [gap(1.0, 3.3), gap(3.3, 3.32, "video"), caption(1, final=True), caption(2, "the", "rest", start=4.0)]
    run_operator(Terminal(), captions)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "hello world",
        "[2.3 s of audio lost: the device overflowed]",
        "[20 ms of video lost: the device overflowed]",
        "the rest",
    ]
    assert err == ""


def test_lines_into_a_pipe_are_not_wrapped(capfd):
    text = " ".join(["word"] * 200)
    run_operator(Terminal(), finals(text))
    assert capfd.readouterr().out == text + "\n"


def test_times_before_the_lines(capfd):
    run_operator(Terminal(times=True), [caption(0, "hello", final=True, start=3723.45), gap(59.96, 70.0)])
    assert capfd.readouterr().out.splitlines() == [
        "1:02:03.4 hello",
        "0:00:59.9 [10.0 s of audio lost: the device overflowed]",
    ]


def test_sessions_are_named_once_there_are_several(capfd):
    sink = Terminal()
    first = sink.open("first")
    sink.process(caption(0, "alone", final=True), first)
    second = sink.open("second")
    sink.process(caption(0, "both", final=True), second)
    sink.process(caption(1, "still both", start=5.0), first)
    sink.flush(first)
    sink.process(caption(1, "alone again", final=True, start=5.0), second)
    sink.discard(second)
    assert capfd.readouterr().out.splitlines() == ["alone", "second: both", "first: still both", "second: alone again"]


def test_of_many_sessions_every_line_has_a_name(capfd):
    run_operator(Terminal(many=True, times=True), [caption(0, "hello", final=True), gap(1.0, 3.3)], session="talks/a")
    assert capfd.readouterr().out.splitlines() == [
        "0:00:00.0 talks/a: hello",
        "0:00:01.0 talks/a: [2.3 s of audio lost: the device overflowed]",
    ]


def test_of_many_sessions_a_terminal_too_gets_whole_utterances(monkeypatch):
    master, slave = pty.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(slave, "w"))
    monkeypatch.setenv("TERM", "xterm")
    sink = Terminal(many=True)
    first, second = sink.open("a"), sink.open("b")
    sink.process(caption(0, "", "good"), first)
    sink.process(caption(0, "hello", final=True), second)
    sink.process(caption(0, "good day", final=True), first)
    sink.flush(first)
    sys.stdout.write("the end\n")
    sys.stdout.flush()
    with os.fdopen(master, closefd=False) as reader:
        assert [reader.readline() for _ in range(3)] == ["b: hello\n", "a: good day\n", "the end\n"]
    sys.stdout.close()
    os.close(master)


def test_words_cannot_steer_the_terminal(capfd):
    sink = Terminal()
    evil = Caption(0, (Word("a\x1b[2Jb\nc\udce9", 0.0, 1.0),), (), True)
    sink.process(Packet("s", 0.0, 1.0, evil, 0.0), sink.open("s"))
    assert capfd.readouterr().out == "a?[2Jb?c?\n".replace("?", "\N{REPLACEMENT CHARACTER}")


PRINTING = """
import sys
from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Word
from operators.sinks import Terminal
sink = Terminal()
state = sink.open("s")
try:
    for index in range(100_000):
        sink.process(Packet("s", 0, 1, Caption(index, (Word("hello", 0, 1),), (), True), 0), state)
except MmstreamError as fault:
    print(fault, file=sys.stderr)
    sys.exit(3)
"""


def test_a_reader_that_goes_away_is_one_line():
    process = subprocess.Popen([sys.executable, "-c", PRINTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"hello\n"
    process.stdout.close()
    assert process.stderr.read() == b"standard output: its reader has gone\n"
    process.stderr.close()
    assert process.wait(timeout=20) == 3


def test_a_full_disk_behind_standard_output_is_one_line():
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        found = subprocess.run([sys.executable, "-c", PRINTING], stdout=full, stderr=subprocess.PIPE)
    assert found.stderr.splitlines()[0] == b"standard output: cannot be written: No space left on device"


def test_a_terminal_that_is_hung_up_is_one_line(monkeypatch):
    master, slave = pty.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(slave, "w"))
    monkeypatch.setenv("TERM", "xterm")
    sink = Terminal()
    state = sink.open("s")
    sink.process(caption(0, "hello"), state)
    assert os.read(master, 100).decode().rstrip() == "hello"
    os.close(master)
    with pytest.raises(MmstreamError, match="standard output: cannot be written: Input/output error"):
        sink.process(caption(0, "hello", "world"), state)
    sink.discard(state)
    with contextlib.suppress(OSError):
        sys.stdout.close()
