"""Media for tests, made on the spot with NumPy, PyAV, ffmpeg and flite."""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # real recordings, beside the repository

MENDS = {
    "ffmpeg": "apt install ffmpeg",
    "flite": "apt install flite",
    "paplay": "apt install pulseaudio-utils",
    "pactl": "apt install pulseaudio-utils",
    "pulseaudio": "apt install pulseaudio",
}


def missing(what: str) -> None:
    """Skip the test for want of ``what``; where MMSTREAM_REQUIRE_ALL=1, as in our own runs, fail it."""
    if os.environ.get("MMSTREAM_REQUIRE_ALL") == "1":
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")


def require(tool: str) -> str:
    """The path of a command-line tool."""
    path = shutil.which(tool)
    if path is None:
        missing(f"{tool} ({MENDS.get(tool, 'not on the PATH')})")
    return str(path)


def require_data(name: str) -> Path:
    """A file or folder of the real recordings, by its path below shared/data."""
    path = DATA / name
    if not path.exists():
        missing(str(path))
    return path


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg over what it is given; it must succeed."""
    command = [require("ffmpeg"), "-nostdin", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def speak(path: Path, text: str) -> Path:
    """A WAV file in which flite says ``text``."""
    subprocess.run([require("flite"), "-t", text, "-o", str(path)], check=True, timeout=60)
    return path


def noise(seconds: float, sample_rate: int = 16_000, channels: int = 1, seed: int = 0) -> NDArray[np.int16]:
    """White noise, (time, channel): no two stretches of it are alike."""
    generator = np.random.default_rng(seed)
    return generator.integers(-8_000, 8_000, (round(seconds * sample_rate), channels), dtype=np.int16)


def tone(seconds: float, sample_rate: int = 16_000, hz: float = 440.0) -> NDArray[np.int16]:
    """A sine, (time, 1)."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (8_000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)[:, None]


def write_wav(path: Path, samples: NDArray[np.int16], sample_rate: int = 16_000) -> Path:
    """A WAV file of ``samples`` (time, channel)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def talking_picture(path: Path, seconds: float = 4.0, *options: object) -> Path:
    """A test picture of 160x120 at 25 frames per second with a tone, in the format that ``path`` ends in."""
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size=160x120:rate=25:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=440:sample_rate=48000:duration={seconds}"),
        *("-preset", "ultrafast", "-pix_fmt", "yuv420p", "-shortest", *options, path),
    )
    return path


def beep_and_flash(path: Path, at_s: float, seconds: float = 4.0, *options: object) -> Path:
    """Silence and black, but for a beep and a white picture that both begin at ``at_s`` and last 0.2 s."""
    between = f"between(t,{at_s},{at_s + 0.2})"
    ffmpeg(
        *("-f", "lavfi", "-i", f"color=black:size=160x120:rate=25:duration={seconds}"),
        *("-f", "lavfi", "-i", f"aevalsrc=exprs='0.5*sin(2*PI*1000*t)*{between}':s=48000:d={seconds}"),
        *("-vf", f"drawbox=color=white:t=fill:enable='{between}'"),
        *("-preset", "ultrafast", "-pix_fmt", "yuv420p", *options, path),
    )
    return path


def write_timed(
    path: Path, sound: Iterable[tuple[float, NDArray[np.int16]]], pictures: Iterable[tuple[float, int]] = ()
) -> Path:
    """A Matroska file in which everything has the timestamp it is given: nothing is corrected.

    ``sound``: (seconds, samples (time, 1) at 16 kHz); ``pictures``: (seconds, grey level) of frames of 32x32.
    """
    with av.open(str(path), "w", format="matroska") as container:
        packets = []
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for second, samples in sound:
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, round(second * 16_000), Fraction(1, 16_000)
            packets.extend((second, packet) for packet in audio.encode(frame))
        levels = list(pictures)
        if levels:
            video = container.add_stream("ffv1", rate=25)
            video.width = video.height = 32
            video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 1000)
            for second, level in levels:
                grey = np.full((32, 32, 3), level, np.uint8)
                picture = av.VideoFrame.from_ndarray(grey, format="rgb24").reformat(format="yuv420p")
                picture.pts, picture.time_base = round(second * 1000), Fraction(1, 1000)
                packets.extend((second, packet) for packet in video.encode(picture))
        for _, packet in packets:
            container.mux(packet)
    return path
