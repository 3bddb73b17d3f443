"""Sound of any rate and any number of channels -> mono at one rate, by libswresample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk
from operators.audio.timeline import Timeline

LEGAL_RATES_HZ = (1_000, 384_000)

# ITU-R BS.775 weights of the channels in ffmpeg's order (FL FR FC LFE BL BR SL SR), without the low-frequency
# channel and scaled to a sum of 1, so that nothing clips: speech sits in the centre of a film's 5.1 and 7.1 sound.
SURROUND_WEIGHTS = {
    6: np.array([0.707, 0.707, 1.0, 0.0, 0.5, 0.5]),
    8: np.array([0.707, 0.707, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5]),
}


@dataclass
class Stretch:
    """Sound of one rate without a hole. ``engine`` cannot be pickled and is rebuilt from ``recent``."""

    arrived: Timeline  # at the rate that comes in
    given: Timeline  # at the rate that goes out
    last_packet: Packet[None]  # for session and capture time
    recent: list[NDArray[np.float32]] = field(default_factory=list)  # the last samples in, mono
    engine: Any = None  # av.AudioResampler

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "engine": None}


@dataclass
class ResampleState:
    """One session."""

    stretch: Stretch | None = None


class Resample(Operator[ResampleState]):
    """Any chunking gives the same samples; times come from sample counts, with no filter delay and no drift.

    Stereo is averaged, 5.1 and 7.1 are mixed as for one loudspeaker, any other number of channels is averaged.
    A change of rate or a hole in the media ends the filter cleanly and starts it anew. Sound that is already mono
    at ``sample_rate`` passes through untouched. Holds back 16 samples of the slower rate (1 ms at 16 kHz).

    Errors: ValueError for a ``sample_rate`` outside 1,000..384,000 Hz.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)

    def __init__(self, sample_rate: int = 16_000) -> None:
        low, high = LEGAL_RATES_HZ
        if not low <= sample_rate <= high:
            raise ValueError(f"sample_rate is in Hz, {low} to {high}, not {sample_rate}")
        self.sample_rate = sample_rate

    def open(self, session: str) -> ResampleState:
        return ResampleState()

    def process(self, packet: Packet[AudioChunk], state: ResampleState) -> Iterator[Packet[AudioChunk]]:
        chunk, rate = packet.data, packet.data.sample_rate
        before = state.stretch
        if before is not None and (before.arrived.sample_rate != rate or before.arrived.broken_by(packet.start)):
            yield from self.flush(state)
        if state.stretch is None:
            arrived, given = Timeline(packet.start, rate), Timeline(packet.start, self.sample_rate)
            state.stretch = Stretch(arrived, given, packet.derive(None))
        stretch = state.stretch
        stretch.last_packet = packet.derive(None)
        if rate != self.sample_rate:
            yield from self._give(stretch, self._filter(stretch, mix_down(chunk.samples)))
            return
        stretch.arrived.count += len(chunk.samples)
        if chunk.samples.shape[1] > 1:
            yield from self._give(stretch, [mix_down(chunk.samples)])
        else:
            stretch.given.count += len(chunk.samples)
            yield packet

    def flush(self, state: ResampleState) -> Iterator[Packet[AudioChunk]]:
        """The samples that the filter holds: in all, as many as the media that came in lasts."""
        stretch, state.stretch = state.stretch, None
        if stretch is not None and stretch.arrived.sample_rate != self.sample_rate and stretch.arrived.count:
            arrived = stretch.arrived
            missing = round(arrived.count * self.sample_rate / arrived.sample_rate) - stretch.given.count
            tail = _push(self._engine_of(stretch), None, arrived.sample_rate)
            if tail and missing > 0:
                yield from self._give(stretch, [np.concatenate(tail)[:missing]])

    def watermark(self, state: ResampleState, reached: float) -> float:
        return reached if state.stretch is None else min(reached, state.stretch.given.end)

    def _give(self, stretch: Stretch, parts: Iterable[NDArray[np.float32]]) -> Iterator[Packet[AudioChunk]]:
        given = stretch.given
        for mono in parts:
            start = given.end
            given.count += len(mono)
            if mono.size:
                yield stretch.last_packet.derive(AudioChunk(mono[:, None], self.sample_rate), start, given.end)

    def _filter(self, stretch: Stretch, mono: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What the filter gives for ``mono``. Enough of the past is kept to rebuild the filter from it."""
        rate = stretch.arrived.sample_rate
        parts = _push(self._engine_of(stretch), mono, rate) if mono.size else []
        stretch.arrived.count += len(mono)
        stretch.recent.append(mono)
        enough = self._period(rate) + 128 * math.ceil(max(1, rate / self.sample_rate))  # more than its length
        while sum(map(len, stretch.recent)) - len(stretch.recent[0]) >= enough:
            del stretch.recent[0]
        return parts

    def _period(self, rate: int) -> int:
        """Samples in, after which the filter's phase repeats."""
        return rate // math.gcd(rate, self.sample_rate)

    def _engine_of(self, stretch: Stretch) -> Any:
        """The stretch's resampler; after unpickling a new one, brought to where the old one was."""
        if stretch.engine is None:
            stretch.engine = _new_engine(self.sample_rate)
            if stretch.recent:
                rate, past = stretch.arrived.sample_rate, np.concatenate(stretch.recent)
                skip = (len(past) - stretch.arrived.count) % self._period(rate)  # to where the phase is 0
                _push(stretch.engine, past[skip:], rate)  # gives what was given before
        return stretch.engine


def mix_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(time, channel) -> (time,). Added channel by channel, so a sample's value does not depend on its chunk."""
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    weights = SURROUND_WEIGHTS.get(channels, np.ones(channels))
    mono = np.zeros(len(samples), np.float32)
    for channel, weight in enumerate(weights / weights.sum()):
        if weight:
            mono += samples[:, channel] * np.float32(weight)
    return mono


def _new_engine(sample_rate: int) -> Any:
    try:
        import av
    except ImportError as fault:
        raise MmstreamError("PyAV is missing: pip install av") from fault
    return av.AudioResampler("fltp", "mono", sample_rate)


def _push(engine: Any, mono: NDArray[np.float32] | None, rate: int) -> list[NDArray[np.float32]]:
    """What ``engine`` gives for ``mono``, or, for None, at the end of the sound."""
    import av

    frame = None
    if mono is not None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono)[None, :], format="fltp", layout="mono")
        frame.sample_rate = rate
    return [part.to_ndarray()[0] for part in engine.resample(frame)]
