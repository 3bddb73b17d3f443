"""The speech that benchmarks run on: the files of a manifest, one file, or the packaged sample, as often as needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError
from mmstream.evaluation.manifest import read_manifest
from mmstream.samples import SPOKEN_VIDEO
from operators.audio import Resample
from operators.sources import MediaFile

Samples = NDArray[np.int16]  # (time,), mono


@dataclass(frozen=True)
class Recording:
    """Speech at one sample rate, in the pieces in which it was recorded."""

    name: str
    pieces: Sequence[Samples]
    sample_rate: int  # Hz

    @property
    def seconds(self) -> float:
        return sum(map(len, self.pieces)) / self.sample_rate

    def write_flac(self, path: Path) -> None:
        """All pieces as one file."""
        with av.open(str(path), "w", format="flac") as container:
            stream = container.add_stream("flac", rate=self.sample_rate, layout="mono")
            for piece in self.pieces:
                frame = av.AudioFrame.from_ndarray(piece[None, :], format="s16", layout="mono")
                frame.sample_rate = self.sample_rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def record(speech: Path | None, seconds: float, sample_rate: int) -> Recording:
    """``seconds`` of speech from a manifest (``.jsonl``), a media file or, for None, the packaged sample.

    Raises:
        MmstreamError: it cannot be read, or holds no sound.
    """
    chosen = speech or SPOKEN_VIDEO
    files = [entry.media for entry in read_manifest(chosen)] if chosen.suffix == ".jsonl" else [chosen]
    known: dict[Path, Samples] = {}
    pieces: list[Samples] = []
    wanted = round(seconds * sample_rate)
    for path in cycle(files):
        if path not in known:
            known[path] = _read(path, sample_rate)
        piece = known[path][:wanted]
        pieces.append(piece)
        wanted -= len(piece)
        if wanted <= 0:
            break
    return Recording(chosen.name, pieces, sample_rate)


def _read(path: Path, sample_rate: int) -> Samples:
    resample = Resample(sample_rate)
    state = resample.open(path.name)
    parts: list[NDArray[np.float32]] = []
    for packet in MediaFile(path=str(path)).packets(path.name):
        parts.extend(given.data.samples[:, 0] for given in resample.process(packet, state))
    parts.extend(given.data.samples[:, 0] for given in resample.flush(state))
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not samples.size:
        raise MmstreamError(f"{path}: holds no sound to measure with")
    found: Samples = np.clip(samples * 32768, -32768, 32767).astype(np.int16)
    return found
