"""Log-mel spectrogram, frame by frame as the sound comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk, Features
from operators.audio.timeline import Timeline

BLOCK = 16  # frames per call of the transform


def _nothing() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass
class MelState:
    """One session: the samples that still belong to frames to come."""

    arrived: Timeline | None = None
    frames: int = 0  # given so far in this stretch of media
    samples: NDArray[np.float32] = field(default_factory=_nothing)  # from the first one of the current block


class LogMel(Operator[MelState]):
    """Natural log of the mel power spectrum by torchaudio; any chunking gives bit-equal frames.

    Frame i covers the samples [i * hop, i * hop + window): causal, no padding at either end, so a signal shorter
    than a window gives none. Its time is [i * hop, (i + 1) * hop). Values lie at or above log(``floor``).

    Why bit-equal: how a matrix product or a batched FFT rounds depends on the shape of its operands. Frame i is
    therefore always computed in slot i mod 16 of a call of one fixed shape, the rest of which is the signal's next
    samples or zeros; what stands in other slots cannot reach it.

    Errors: ValueError for an argument out of range; MmstreamError for sound of another rate or of several channels.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Features,)

    def __init__(
        self,
        n_mels: int = 80,
        sample_rate: int = 16_000,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        f_min_hz: float = 0.0,
        f_max_hz: float | None = None,
        floor: float = 1e-6,
    ) -> None:
        if sample_rate <= 0:
            raise ValueError(f"sample_rate is in Hz and above 0, not {sample_rate}")
        nyquist = sample_rate / 2
        if not 0 < hop_ms <= window_ms:
            raise ValueError(f"hop_ms is above 0 and at most window_ms ({window_ms}), not {hop_ms}")
        if not 0 <= f_min_hz < (nyquist if f_max_hz is None else f_max_hz) <= nyquist:
            raise ValueError(f"0 <= f_min_hz < f_max_hz <= {nyquist} (half of sample_rate), not {f_min_hz}, {f_max_hz}")
        if floor <= 0:
            raise ValueError(f"floor is above 0, not {floor}")
        self.sample_rate = sample_rate
        self.window = round(sample_rate * window_ms / 1000)  # samples
        self.hop = round(sample_rate * hop_ms / 1000)  # samples
        if self.hop < 1:
            raise ValueError(f"hop_ms is at least one sample ({1000 / sample_rate} ms), not {hop_ms}")
        if not 1 <= n_mels <= self.window // 2 + 1:
            raise ValueError(
                f"n_mels is 1 to {self.window // 2 + 1} for a window of {self.window} samples, not {n_mels}"
            )
        self.floor = floor
        self._transform = _mel_spectrogram(sample_rate, self.window, self.hop, n_mels, f_min_hz, f_max_hz)

    def open(self, session: str) -> MelState:
        return MelState()

    def process(self, packet: Packet[AudioChunk], state: MelState) -> Iterator[Packet[Features]]:
        chunk = packet.data
        if chunk.sample_rate != self.sample_rate or chunk.samples.shape[1] != 1:
            raise MmstreamError(
                f"LogMel takes mono sound at {self.sample_rate} Hz, not {chunk.samples.shape[1]} channels at "
                f"{chunk.sample_rate} Hz: put operators.audio:Resample before it"
            )
        if state.arrived is None or state.arrived.broken_by(packet.start):
            state.arrived, state.frames, state.samples = Timeline(packet.start, self.sample_rate), 0, _nothing()
        state.arrived.count += len(chunk.samples)
        state.samples = np.concatenate([state.samples, chunk.samples[:, 0]])
        first = state.frames
        values = list(self._new_frames(state))
        if values:
            start, end = (state.arrived.at(frame * self.hop) for frame in (first, state.frames))
            yield packet.derive(Features(np.concatenate(values), rate_hz=self.sample_rate / self.hop), start, end)

    def watermark(self, state: MelState, reached: float) -> float:
        return reached if state.arrived is None else min(reached, state.arrived.at(state.frames * self.hop))

    def _new_frames(self, state: MelState) -> Iterator[NDArray[np.float32]]:
        """The frames that are complete and not yet given, block by block."""
        while True:
            done = state.frames % BLOCK  # frames of the current block that were given before
            complete = min(BLOCK, (len(state.samples) - self.window) // self.hop + 1)
            if complete <= done:
                return
            yield self._block(state.samples)[done:complete]
            state.frames += complete - done
            if complete < BLOCK:
                return
            state.samples = state.samples[BLOCK * self.hop :]

    def _block(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(time,) -> (BLOCK, mel): always the same shape, filled up with zeros."""
        import torch

        length = (BLOCK - 1) * self.hop + self.window
        padded = torch.zeros(length)
        known = min(length, len(samples))
        padded[:known] = torch.from_numpy(samples[:known])
        power = self._transform(padded)  # (mel, BLOCK)
        values: NDArray[np.float32] = power.T.clamp(min=self.floor).log().numpy()
        return values


def _mel_spectrogram(rate: int, window: int, hop: int, n_mels: int, low: float, high: float | None) -> Any:
    try:
        import torchaudio
    except ImportError as fault:
        raise MmstreamError(
            f"LogMel needs torchaudio, and it does not import ({fault}): pip install torchaudio"
        ) from fault
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=rate, n_fft=window, win_length=window, hop_length=hop, f_min=low, f_max=high, n_mels=n_mels,
        center=False,
    )  # fmt: skip
