"""Sound as packets, for tests of operators: made with NumPy, cut anyhow, put together again."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Operator, Packet
from mmstream.media import AudioChunk, Speech

Samples = NDArray[np.float32]
RATE = 16_000


def packets(
    samples: Samples, rate: int = RATE, sizes: Sequence[int] = (), size: int = 1600, start: float = 0.0
) -> Iterator[Packet[AudioChunk]]:
    """``samples`` (time,) or (time, channel) in chunks of these lengths, then of ``size``; captured at 100 + end."""
    if samples.ndim == 1:
        samples = samples[:, None]
    begin, lengths = 0, iter(sizes)
    while begin < len(samples):
        end = min(len(samples), begin + next(lengths, size))
        times = (start + begin / rate, start + end / rate)
        yield Packet("test", *times, AudioChunk(samples[begin:end], rate), captured_at=100 + times[1])
        begin = end


def joined(given: Iterable[Packet[AudioChunk | Speech]]) -> Samples:
    """The samples of ``given``, (time,)."""
    return np.concatenate([np.zeros(0, np.float32), *(packet.data.samples.reshape(-1) for packet in given)])


def through_pickle(operator: Operator, given: Iterable[Packet]) -> list[Packet]:
    """As ``run_operator``, but the state is pickled between any two packets."""
    state = operator.open("test")
    out = []
    for packet in given:
        out += list(operator.process(packet, state))
        state = pickle.loads(pickle.dumps(state))
    return out + list(operator.flush(state))


def sine(seconds: float, rate: int, hz: float = 440.0) -> Samples:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def hiss(seconds: float, level: float, seed: int = 0) -> Samples:
    return (np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level).astype(np.float32)
