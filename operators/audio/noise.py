"""Sound with recorded noise mixed in at a known signal-to-noise ratio: a condition to measure recognisers in."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk

SOUND_SUFFIXES = frozenset({".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav", ".wma"})
SNR_DB = (-60.0, 100.0)  # what anybody can mean

Sound = NDArray[np.float32]


def mix(samples: Sound, noise: Sound, snr_db: float, seed: int | Sequence[int]) -> Sound:
    """``samples`` (time, channel) with ``noise`` (time,) scaled so that their powers are ``snr_db`` apart on the whole.

    The stretch of noise begins at a place drawn from ``seed`` alone, and goes round where it is shorter; so one clip
    gets the same noise at every ratio. Nothing is clipped. Silence stays as it is: no scale gives it a ratio.

    Errors: ValueError for noise without sound in it.
    """
    if not noise.size or not np.any(noise):
        raise ValueError("the noise must hold sound; it is empty or silent")
    at = int(np.random.default_rng(seed).integers(len(noise)))
    drawn = np.take(noise, np.arange(at, at + len(samples)), mode="wrap")
    level = _level(drawn)
    scale = _level(samples) / level * 10 ** (-snr_db / 20) if level > 0 else 0.0
    return samples + (drawn * np.float32(scale))[:, None]


def noise_files(path: Path) -> list[Path]:
    """The recordings at ``path``: a file; a folder's sound files; or those of its folder that a pattern such as
    ``noise/babble*`` fits; in order of name.

    Raises:
        MmstreamError: there is nothing.
    """
    if path.is_file():
        return [path]
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    found = folder.glob(pattern) if folder.is_dir() else ()
    files = sorted(file for file in found if file.suffix.lower() in SOUND_SUFFIXES and file.is_file())
    if not files:
        raise MmstreamError(f"{path}: there is no sound file or folder of sound files to take noise from")
    return files


@lru_cache(maxsize=16)
def read_noise(path: Path, sample_rate: int) -> Sound:
    """(time,): a recording as mono at ``sample_rate``; read once, and not to be written to.

    Raises:
        MmstreamError: it cannot be read, or holds no sound.
    """
    from operators.audio.resample import Resample
    from operators.sources import MediaFile

    resample = Resample(sample_rate)
    state = resample.open("noise")
    parts: list[Sound] = []
    for packet in MediaFile(str(path), chunk_ms=1000).packets("noise"):
        if isinstance(packet.data, AudioChunk):
            parts += [given.data.samples[:, 0] for given in resample.process(packet, state)]
    parts += [given.data.samples[:, 0] for given in resample.flush(state)]
    sound = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not np.any(sound):
        raise MmstreamError(f"{path}: is silent: it cannot serve as noise")
    sound.flags.writeable = False
    return sound


@dataclass
class NoiseState:
    """One session: the unbroken stretch of sound that waits for its end."""

    session: str
    packets: list[Packet[AudioChunk]] = field(default_factory=list)


class AddNoise(Operator[NoiseState]):
    """Sound -> the same chunks with noise in them, ``snr_db`` below the sound's power over the whole clip.

    That power is known at the end only, so **every unbroken stretch of sound is held until it ends**: this is for
    files and recordings, at 64 kB per second of 16 kHz sound, and nothing comes out of a live stream. ``path`` is a
    recording, or a folder, or a pattern such as ``noise/babble*``, from which one is drawn for each session. The draw
    depends on ``seed`` and the session's name alone.

    Errors: ValueError for ``snr_db`` out of range; MmstreamError where ``path`` holds no noise.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, path: str, snr_db: float, seed: int = 0) -> None:
        if not SNR_DB[0] <= snr_db <= SNR_DB[1]:
            raise ValueError(f"snr_db is {SNR_DB[0]:g} to {SNR_DB[1]:g}, not {snr_db:g}")
        if seed < 0:
            raise ValueError(f"seed is 0 or more, not {seed}")
        self.files = noise_files(Path(path))
        self.snr_db, self.seed = snr_db, seed

    def open(self, session: str) -> NoiseState:
        return NoiseState(session)

    def process(self, packet: Packet[AudioChunk], state: NoiseState) -> Iterator[Packet[AudioChunk]]:
        if state.packets and _kind(state.packets[-1]) != _kind(packet):
            yield from self.flush(state)
        state.packets.append(packet)

    def flush(self, state: NoiseState) -> Iterator[Packet[AudioChunk]]:
        packets, state.packets = state.packets, []
        if not packets:
            return
        draw = [self.seed, zlib.crc32(state.session.encode())]
        file = self.files[int(np.random.default_rng(draw).integers(len(self.files)))]
        noise = read_noise(file, packets[0].data.sample_rate)
        mixed = mix(np.concatenate([packet.data.samples for packet in packets]), noise, self.snr_db, draw)
        at = 0
        for packet in packets:
            count = len(packet.data.samples)
            yield packet.derive(replace(packet.data, samples=mixed[at : at + count]))
            at += count

    def watermark(self, state: NoiseState, reached: float) -> float:
        return min(reached, state.packets[0].start) if state.packets else reached


def _kind(packet: Packet[AudioChunk]) -> tuple[int, int]:
    """What must not change within a stretch: sample rate and channels."""
    return packet.data.sample_rate, packet.data.samples.shape[1]


def _level(sound: Sound) -> float:
    """Root of the mean power."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if sound.size else 0.0
