"""``mmstream live``: words while they are spoken, from a microphone, a file at its own pace and a live stream."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pysubs2
import pytest

from mmstream.evaluation.wer import error_rates
from mmstream.samples import SPOKEN_VIDEO
from tests.command_line import BANK, COMMAND, COUNTING, TRANSCRIBE, WEATHER, Running, call, leftovers, mmstream, say
from tests.media_samples import ffmpeg, require, require_data
from tests.model_folders import home  # noqa: F401 - a fixture
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone  # noqa: F401 - a fixture

FORMATS = ("srt", "vtt", "jsonl", "txt")
LIVE = ("live", "--model", "sphinx")  # auto may find a better one on this machine


def outputs(folder: Path) -> list[object]:
    """``--output`` for every format."""
    return [part for suffix in FORMATS for part in ("--output", folder / f"talk.{suffix}")]


def check_outputs(folder: Path, words: str) -> None:
    """Every format is there, whole, and holds ``words``."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"talk.{suffix}" for suffix in FORMATS)
    assert words in (folder / "talk.txt").read_text()
    for suffix in ("srt", "vtt"):
        assert words in " ".join(
            cue.plaintext.replace("\n", " ") for cue in pysubs2.load(str(folder / f"talk.{suffix}"))
        )
    assert words in text_of(folder / "talk.jsonl")


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def text_of(path: Path) -> str:
    return " ".join(str(line["text"]) for line in lines_of(path) if "text" in line)


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return say(tmp_path_factory.mktemp("media") / "weather.wav", WEATHER)


# A microphone.


def test_words_come_from_the_microphone_while_they_are_spoken(
    virtual_microphone: VirtualMicrophone,  # noqa: F811
    tmp_path: Path,
) -> None:
    sound, heard = say(tmp_path / "spoken.wav", WEATHER, COUNTING, BANK), tmp_path / "heard.jsonl"
    options = ("--device", virtual_microphone.device, "--output", heard)
    with Running(*LIVE, *options, env=virtual_microphone.env) as live:
        live.wait_for("listening to")
        speaking = threading.Thread(target=virtual_microphone.speak, args=(sound,))
        speaking.start()
        live.wait_for(WEATHER)
        assert speaking.is_alive()
        speaking.join()
        time.sleep(0.3)  # the last of it is still on its way through PulseAudio
        live.send(signal.SIGINT)
        done = live.end()
    assert done.code == 0, done
    assert done.out.splitlines() == [line["text"] for line in lines_of(heard)]
    assert not leftovers(tmp_path)

    assert call(*TRANSCRIBE, sound, "-o", tmp_path, "-f", "jsonl").code == 0
    reference = " ".join([WEATHER, COUNTING, BANK])
    wer, file_wer = (error_rates([reference], [text_of(path)]).wer for path in (heard, tmp_path / "spoken.jsonl"))
    assert wer <= file_wer + 0.01, done.out


def test_our_own_model_hears_the_microphone(
    virtual_microphone: VirtualMicrophone,  # noqa: F811
    tmp_path: Path,
) -> None:
    manifest, heard = require_data("grid/dev_seen.jsonl"), tmp_path / "heard.jsonl"
    entries = [json.loads(line) for line in manifest.read_text().splitlines()[:3]]
    sound = tmp_path / "spoken.wav"
    inputs = [part for entry in entries for part in ("-i", manifest.parent / entry["media"])]
    ffmpeg(*inputs, "-filter_complex", f"concat=n={len(entries)}:v=0:a=1", "-ar", "16000", "-ac", "1", sound)
    with Running(
        "live", "--model", "avsr", "--device", virtual_microphone.device, "--output", heard, env=virtual_microphone.env
    ) as live:
        live.wait_for("listening to")
        virtual_microphone.speak(sound)
        time.sleep(1.0)  # the last of it is still on its way through PulseAudio, and a pause ends the utterance
        live.send(signal.SIGINT)
        done = live.end()
    assert done.code == 0, done
    reference = " ".join(entry["text"] for entry in entries)
    assert error_rates([reference], [text_of(heard)]).wer < 0.35, done.out
    words = [word for line in lines_of(heard) for word in line["words"]]
    assert all(word["video"] == 0 for word in words)
    delays = sorted(word["committed_at"] - word["captured_at"] for word in words)
    assert delays[len(delays) // 2] < 1.5  # seconds; no benchmark: the machine may be busy


def test_an_unknown_microphone_is_told_with_the_nearest_name(virtual_microphone: VirtualMicrophone) -> None:  # noqa: F811
    done = mmstream(*LIVE, "--device", "pulze", env=virtual_microphone.env)
    done.the_line("mmstream: no microphone 'pulze'", "there are: 0 'pulse' (ALSA)", "did you mean 'pulse'?")


def test_an_unplugged_microphone_is_an_error_and_what_was_heard_stays(
    virtual_microphone: VirtualMicrophone,  # noqa: F811
    weather: Path,
    tmp_path: Path,
) -> None:
    options = ("--device", "pulse", "--output", tmp_path / "talk.txt", "--set", "source.stall_timeout_s=1")
    with Running(*LIVE, *options, env=virtual_microphone.env) as live:
        live.wait_for("listening to")
        virtual_microphone.speak(weather)
        virtual_microphone.unplug()
        done = live.end()
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert re.match("mmstream: microphone 'pulse' stopped giving sound at .*; was it unplugged", last)
    assert "Traceback" not in done.err
    assert [path.read_text() for path in tmp_path.iterdir()] == [WEATHER + "\n"]


def test_without_portaudio_the_command_that_brings_it_is_named(tmp_path: Path) -> None:
    # The real sounddevice looks the library up by name when it is imported, and finds none.
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes.util\n"
        "find = ctypes.util.find_library\n"
        "ctypes.util.find_library = lambda name: None if 'portaudio' in name else find(name)\n"
    )
    done = mmstream(*LIVE, env={"PYTHONPATH": str(tmp_path)})
    done.the_line("mmstream: the microphone needs PortAudio, which is missing", "sudo apt install libportaudio2")


# A file at its own pace.


def test_a_file_plays_at_its_own_pace_into_every_format(weather: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    done = mmstream(*LIVE, weather, *outputs(tmp_path))
    assert time.monotonic() - began > 2
    assert done.code == 0
    assert done.out == WEATHER + "\n"
    check_outputs(tmp_path, WEATHER)
    (line,) = lines_of(tmp_path / "talk.jsonl")
    for word in line["words"]:  # type: ignore[attr-defined]
        assert word["captured_at"] - 0.1 <= word["emitted_at"] <= word["committed_at"] < word["captured_at"] + 10


def test_sigterm_drains(tmp_path: Path) -> None:
    """Even where SIGINT is ignored, as a shell does to what it puts into the background."""
    sound = say(tmp_path / "talk.wav", WEATHER, COUNTING, BANK)
    process = subprocess.Popen(
        [COMMAND, *LIVE, str(sound), "-o", str(tmp_path / "talk.txt")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(1.5)  # into the second sentence
        process.terminate()
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "finishing the last words; Ctrl-C again to give up" in err
    assert first == WEATHER + "\n"
    assert out.strip()  # what had been said of the second sentence
    assert BANK not in out
    assert (tmp_path / "talk.txt").read_text() == first + out


STUBBORN = """
import time
from mmstream.core import Operator
from mmstream.media import Caption

class Stubborn(Operator[None]):
    accepts = (Caption,)
    emits = (Caption,)

    def open(self, session: str) -> None: ...

    def process(self, packet, state):
        yield packet

    def flush(self, state):
        time.sleep(3)
        return ()
"""

STUBBORN_PIPELINE = """
capacity: 64
nodes:
  source: {use: operators.sources:MediaFile, with: {path: "%s", pace: realtime}}
  resample: {use: operators.audio:Resample, with: {sample_rate: 16000}, from: source}
  speech: {use: operators.audio:Vad, from: resample}
  decode: {use: operators.decoders:Sphinx, from: speech}
  commit: {use: operators.policies:Commit, from: decode}
  stubborn: {use: stubborn:Stubborn, from: commit}
  text: {use: operators.sinks:PlainText, with: {path: talk.txt}, from: stubborn}
"""


def test_a_second_ctrl_c_gives_up(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "mine.yaml").write_text(STUBBORN_PIPELINE % SPOKEN_VIDEO)
    with Running("run", "mine.yaml", "--allow", "stubborn", cwd=tmp_path) as run:
        run.wait_for_file(tmp_path / ".talk.txt.partial")
        time.sleep(0.5)
        run.send(signal.SIGINT)
        run.wait_for("finishing the last words; Ctrl-C again to give up")
        time.sleep(0.5)  # the end of the stream reaches the operator that takes its time
        run.send(signal.SIGINT)
        done = run.end(10)
    assert done.code == 130, done
    assert "Traceback" not in done.err
    assert not [path.name for path in tmp_path.iterdir() if "talk" in path.name]


# A live stream on loopback.


@pytest.fixture
def broadcast(weather: Path) -> Iterator[str]:
    """The address of a stream that speaks of the weather again and again, for one listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/talk.ts"
    options = ["-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(weather)]
    sender = subprocess.Popen([require("ffmpeg"), *options, "-f", "mpegts", "-listen", "1", url])
    yield url
    sender.kill()
    sender.wait()


def test_a_live_stream_is_captioned_until_ctrl_c(broadcast: str, tmp_path: Path) -> None:
    with Running(*LIVE, broadcast, *outputs(tmp_path)) as live:
        live.wait_for(WEATHER)
        live.send(signal.SIGINT)
        done = live.end(10)
    assert done.code == 0, done
    assert done.lines("mmstream: listening to")
    check_outputs(tmp_path, WEATHER)


def test_a_stream_that_cannot_be_reached(tmp_path: Path) -> None:
    options = ("--set", "source.give_up_after_s=0", "--output", tmp_path / "talk.srt")
    done = mmstream(*LIVE, "http://user:secret@127.0.0.1:9/talk?key=secret", *options)
    line = done.the_line("mmstream: http://***@127.0.0.1:9/talk?*** cannot be opened: Connection refused")
    assert "secret" not in line
    assert not list(tmp_path.iterdir())


# What a person sees.


def test_the_live_view_in_a_terminal(weather: Path, tmp_path: Path) -> None:
    tmux = [require("tmux"), "-u", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    environment = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
    environment.pop("TMUX", None)
    screens: list[str] = []

    def screen() -> str:
        done = subprocess.run(
            [*tmux, "capture-pane", "-p"], env=environment, capture_output=True, text=True, timeout=10
        )
        return "\n".join(line.rstrip() for line in done.stdout.splitlines() if line.strip())

    shell = f"{COMMAND} live {weather} --model sphinx --set max_lag_ms=60000; echo the end; sleep 60"
    subprocess.run([*tmux, "new-session", "-d", "-x", "60", "-y", "12", shell], env=environment, check=True, timeout=10)
    try:
        give_up_at = time.monotonic() + 30
        while not screens or "the end" not in screens[-1]:
            assert time.monotonic() < give_up_at, screens
            time.sleep(0.02)
            if (now := screen()) not in screens[-1:]:
                screens.append(now)
    finally:
        subprocess.run([*tmux, "kill-server"], env=environment, check=False, timeout=10)
    assert screens[-1].splitlines() == ["mmstream: model: sphinx", WEATHER, "the end"]
    growing = [shown.splitlines()[-1] for shown in screens if shown.startswith("mmstream: model") and "\n" in shown]
    partial = [row for row in growing if row not in (WEATHER, "the end")]
    assert partial, "words come only when the utterance is over"


# Options that cannot be.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["talk.mp4", "--device", "USB"], "--device chooses a microphone, but 'talk.mp4' is to be captioned"),
        (["nowhere.mp4"], "mmstream: nowhere.mp4: no such file"),
        (["mic://desk"], "mmstream: url must begin with one of rtsp://, "),
        (["talk.mp4", "--output", "talk.sub"], "mmstream: talk.sub: no caption format ends in 'sub'; "),
        (["talk.mp4", "--output", "captions"], "captions: a caption file's name ends in .srt, .vtt, .jsonl, .txt"),
        (["talk.mp4", "--output", "{name}.srt"], "'{name}' is unknown; the legal placeholder is {session}"),
        (["talk.mp4", "--model", "sfinx"], "mmstream: there is no model 'sfinx'; did you mean 'sphinx'?"),
        (["talk.mp4", "--language", "de", "--model", "auto"], "no model on this machine knows the language 'de'"),
        (["talk.mp4", "--language", "de", "--model", "sphinx"], "--language de: model 'sphinx' knows 'en' only; "),
    ],
)
@pytest.mark.usefixtures("home")
def test_options_that_cannot_be(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = call(*LIVE, *arguments).the_line(said)
    assert "node '" not in line
    assert not list(tmp_path.iterdir())
