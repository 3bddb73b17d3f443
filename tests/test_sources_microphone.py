"""Microphone: a real one made of PulseAudio, and PortAudio's callback where a fault has to be staged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap
from mmstream.testing import ManualClock
from operators.sources import InputDevice, Microphone, SourceError, SourceLost
from operators.sources.devices import choose_device
from tests.media_samples import missing, noise, write_wav
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[1]

# Records for a while in a process of its own (PortAudio looks for devices once), says what came, and saves the sound.
RECORD = """
import json, sys, threading
import numpy as np
from mmstream.core import MmstreamError
from operators.sources import Microphone, list_devices

options, seconds, saved = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
microphone = Microphone(**options)
stopped = []
def stop():
    stopped.append(microphone.clock.now())
    microphone.stop()
timer = threading.Timer(seconds, stop)
timer.daemon = True
timer.start()
said = {"devices": [device.name for device in list_devices()], "packets": [], "error": None, "after_stop_s": None}
sound = []
try:
    for packet in microphone.packets("test"):
        delay_s = microphone.clock.now() - packet.captured_at
        said["packets"].append([packet.start, packet.end, delay_s, packet.data.sample_rate])
        sound.append(packet.data.samples)
except MmstreamError as error:
    said["error"] = [type(error).__name__, str(error)]
if stopped:
    said["after_stop_s"] = microphone.clock.now() - stopped[0]
if sound:
    np.save(saved, np.concatenate(sound))
print(json.dumps(said))
"""


def start_recording(microphone: VirtualMicrophone, seconds: float, saved: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", RECORD, json.dumps(options), str(seconds), str(saved)]
    return subprocess.Popen(
        command, env=microphone.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(process: subprocess.Popen) -> dict:
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    return json.loads(output)


# The real thing


def test_hears_what_is_spoken_and_stops_at_once(virtual_microphone, tmp_path):  # noqa: F811
    spoken = noise(1.5, 16_000)
    recording = start_recording(virtual_microphone, 4.0, tmp_path / "heard.npy", device="pulse", sample_rate=16_000)
    virtual_microphone.wait_for_listener()
    virtual_microphone.speak(write_wav(tmp_path / "words.wav", spoken))
    said = result(recording)
    assert said["error"] is None
    assert said["after_stop_s"] < 0.3
    starts, ends, delays, rates = zip(*said["packets"], strict=True)
    assert set(rates) == {16_000}
    assert starts[0] == 0
    assert starts[1:] == ends[:-1]
    assert ends[-1] == pytest.approx(4.0, abs=0.7)
    assert min(delays) >= 0
    assert np.median(delays) < 0.2
    heard = np.load(tmp_path / "heard.npy")
    assert heard.shape == (round(ends[-1] * 16_000), 1)
    assert likeness(heard[:, 0], spoken[:, 0]) > 0.85  # it went through two resamplers


def likeness(heard: np.ndarray, spoken: np.ndarray) -> float:
    """The largest normalised correlation of ``spoken`` with a stretch of ``heard``, 0..1."""
    size = 1 << (len(heard) + len(spoken)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(spoken / 32768, size)), size)
    place = int(np.argmax(np.abs(product[: len(heard)])))
    stretch = heard[place : place + len(spoken)]
    return float(np.abs(product[place]) / (np.linalg.norm(stretch) * np.linalg.norm(spoken / 32768)))


def test_an_unplugged_microphone_says_when(virtual_microphone, tmp_path):  # noqa: F811
    recording = start_recording(virtual_microphone, 20, tmp_path / "heard.npy", device="pulse")
    virtual_microphone.wait_for_listener()
    virtual_microphone.unplug()
    said = result(recording)
    kind, message = said["error"]
    assert kind == "SourceLost"
    last = said["packets"][-1][1]
    assert last > 0.1
    assert message == (f"microphone 'pulse' stopped giving sound at {last:.2f} s; was it unplugged or switched off?")


def test_a_server_that_dies_is_an_unplugged_microphone(virtual_microphone, tmp_path):  # noqa: F811
    recording = start_recording(virtual_microphone, 20, tmp_path / "heard.npy", stall_timeout_s=3.0)
    virtual_microphone.wait_for_listener()
    virtual_microphone.close()
    assert result(recording)["error"][0] == "SourceLost"


def test_the_device_is_found_or_named(virtual_microphone, tmp_path):  # noqa: F811
    said = result(start_recording(virtual_microphone, 5, tmp_path / "none.npy", device="pusle"))
    assert said["devices"] == ["pulse", "default"]
    assert said["error"] == [
        "SourceError",
        "no microphone 'pusle'; there are: 0 'pulse' (ALSA), 1 'default' (ALSA); did you mean 'pulse'?",
    ]
    said = result(start_recording(virtual_microphone, 5, tmp_path / "none.npy", sample_rate=700_000))
    assert said["error"][1].startswith("microphone 'default' cannot be opened (700000 Hz, 1 channel): ")


def test_a_missing_portaudio_names_the_command_that_mends_it(tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    script = "from operators.sources import Microphone\nlist(Microphone().packets('test'))"
    env = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=ROOT, capture_output=True, text=True, timeout=30)
    last = done.stderr.splitlines()[-1]
    assert "SourceError: the microphone needs PortAudio, which is missing (PortAudio library not found)" in last
    assert last.endswith("install it with: sudo apt install libportaudio2") or not sys.platform.startswith("linux")


# Faults that no device here can be made to show


@dataclass
class Block:
    """One call of PortAudio in a staged recording."""

    after_s: float = 0.05  # wall-clock seconds since the last one
    delay_s: float = 0.06  # what the device says has passed since the block's first sample
    overflow: bool = False
    wait: threading.Event | None = None  # comes only when this is set


class StagedStream:
    """Stands in for PortAudio's stream: once started, it calls the microphone back as ``script`` says."""

    latency = 0.07
    script: ClassVar[list[Block]] = []
    clock: ClassVar[ManualClock]
    finishes: ClassVar[bool] = True

    def __init__(self, callback, finished_callback, blocksize: int, **_) -> None:
        self.callback, self.finished_callback, self.blocksize = callback, finished_callback, blocksize

    def start(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        from sounddevice import CallbackFlags

        samples = np.zeros((self.blocksize, 1), np.float32)  # PortAudio uses its buffer again and again
        for number, block in enumerate(self.script, start=1):
            if block.wait is not None:
                block.wait.wait(10)
            self.clock.advance(block.after_s)
            flags = CallbackFlags()
            flags.input_overflow = block.overflow
            times = SimpleNamespace(currentTime=100.0, inputBufferAdcTime=100.0 - block.delay_s)
            samples[:] = number
            self.callback(samples, self.blocksize, times, flags)
        if self.finishes:
            self.finished_callback()

    def abort(self) -> None:
        """The script is over by then."""

    close = abort


@pytest.fixture
def staged(monkeypatch):
    """A function that makes a microphone over a script of blocks of 50 ms."""
    try:
        import sounddevice
    except OSError as error:
        missing(f"PortAudio ({error}; apt install libportaudio2)")

    device = InputDevice(0, "staged", "none", channels=1, sample_rate=16_000, is_default=True)
    monkeypatch.setattr("operators.sources.microphone.list_devices", lambda: [device])
    monkeypatch.setattr(sounddevice, "InputStream", StagedStream)

    def make(*script: Block, finishes: bool = True, **options) -> Microphone:
        microphone = Microphone(**options)
        microphone.clock = ManualClock(1_000.0)
        for name, value in {"script": list(script), "clock": microphone.clock, "finishes": finishes}.items():
            monkeypatch.setattr(StagedStream, name, value, raising=False)
        return microphone

    return make


def collect(packets: Iterator[Packet]) -> list[Packet]:
    """All packets of a microphone that is lost in the end."""
    collected = []
    with pytest.raises(SourceLost, match="microphone 'staged' stopped giving sound at"):  # noqa: PT012
        while True:
            collected.append(next(packets))
    return collected


def test_blocks_carry_the_time_of_their_capture(staged):
    """60 ms have passed since the first of 50 ms of samples was recorded, so 10 ms since the last one was."""
    first, second = collect(staged(Block(), Block()).packets("test"))
    assert (first.start, first.end, second.end) == (0.0, 0.05, 0.1)
    assert first.captured_at == pytest.approx(1_000.05 - 0.01)
    assert second.captured_at == pytest.approx(1_000.10 - 0.01)
    assert set(first.data.samples.ravel()) == {1.0}


@pytest.mark.parametrize("delay_s", [-5.0, 1e9])
def test_a_device_with_a_broken_clock_falls_back_to_its_latency(staged, delay_s):
    (only,) = collect(staged(Block(delay_s=delay_s)).packets("test"))
    assert only.captured_at == pytest.approx(1_000.05 - 0.02)


def test_an_overflow_is_counted_and_is_a_gap_of_what_was_lost(staged):
    microphone = staged(Block(overflow=True), Block(), Block(overflow=True, after_s=0.35), Block())
    packets = collect(microphone.packets("test"))
    assert microphone.overflows == 1  # what a device lost before its first block was never asked for
    assert [type(packet.data) for packet in packets] == [AudioChunk, AudioChunk, Gap, AudioChunk, AudioChunk]
    assert (packets[2].start, packets[2].end) == pytest.approx((0.1, 0.4))
    assert packets[2].data.reason == "the microphone's buffer overflowed"
    assert packets[3].start == pytest.approx(0.4)
    assert packets[-1].end == pytest.approx(0.5)


def test_sound_that_finds_no_room_in_the_queue_is_a_gap(staged):
    """The graph takes nothing for 60 blocks, where 40 have room."""
    drained = threading.Event()
    microphone = staged(*[Block()] * 60, Block(wait=drained))
    packets = microphone.packets("test")
    collected = [next(packets)]
    while microphone.clock.now() < 1_003.0 - 1e-6:
        time.sleep(0.01)
    while collected[-1].end < 1.9:
        collected.append(next(packets))
    drained.set()
    collected += collect(packets)
    (gap,) = [packet for packet in collected if isinstance(packet.data, Gap)]
    assert gap.data.reason == "the graph fell behind"
    assert collected[-1].end == pytest.approx(61 * 0.05)
    assert collected[-1].data.samples[0, 0] == 61
    assert gap.end == collected[-1].start
    assert microphone.overflows == 1


def test_a_device_that_goes_silent_is_lost(staged):
    assert len(collect(staged(Block(), finishes=False, stall_timeout_s=0.2).packets("test"))) == 1


def test_stop_ends_a_silent_device_at_once(staged):
    microphone = staged(Block(), finishes=False, stall_timeout_s=60.0)
    threading.Timer(0.2, microphone.stop).start()
    assert len(list(microphone.packets("test"))) == 1


# Which device


DEVICES = [
    InputDevice(0, "USB Camera: Audio (hw:1,0)", "ALSA", 2, 48_000, False),
    InputDevice(2, "USB Headset: Audio (hw:2,0)", "ALSA", 1, 16_000, False),
    InputDevice(5, "pulse", "ALSA", 32, 44_100, True),
    InputDevice(6, "pulse monitor", "ALSA", 32, 44_100, False),
]


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 5), (2, 2), ("2", 2), ("pulse", 5), ("PULSE", 5), ("headset", 2), ("hw:1", 0)]
)
def test_a_device_is_chosen_by_number_or_name(wanted, index):
    assert choose_device(wanted, DEVICES).index == index


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("usb", r"microphone 'usb' fits several: 0 'USB Camera: .*, 2 'USB Headset: .*; give the number"),
        ("pulze", "no microphone 'pulze'; there are: .*; did you mean 'pulse'"),
        (3, "no microphone 3; there are: 0 'USB Camera"),
    ],
)
def test_a_device_that_cannot_be_chosen_is_an_error(wanted, says):
    with pytest.raises(SourceError, match=says):
        choose_device(wanted, DEVICES)


def test_no_device_at_all_is_an_error():
    with pytest.raises(SourceError, match="no microphone found"):
        choose_device(None, [])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": " "}, "device must be a number or a name"),
        ({"sample_rate": 1}, "sample_rate must be 1000 to 768000 Hz, not 1"),
        ({"channels": 0}, "channels must be at least 1, not 0"),
        ({"block_ms": 1}, "block_ms must be 5 to 1000, not 1"),
        ({"stall_timeout_s": 0.0}, "stall_timeout_s must be more than 0, not 0"),
    ],
)
def test_arguments_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        Microphone(**options)
