"""How loud the sound is, on a fixed grid, whatever the chunks it comes in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Packet
from mmstream.media import AudioChunk
from operators.audio.timeline import Timeline
from operators.video.lips import BIN_S, QUIET, Series

KEEP_S = 5.0  # sound may run ahead of the pictures by what this leaves over a window


@dataclass
class Hearing:
    """The loudness of the last KEEP_S of sound, any rate and channels, in bins of BIN_S."""

    timeline: Timeline | None = None  # counts the samples that are in bins
    pending: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # power, less than a bin
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=round(KEEP_S / BIN_S)))  # media seconds
    loudness: deque[float] = field(default_factory=lambda: deque(maxlen=round(KEEP_S / BIN_S)))  # log10 of power

    def hear(self, packet: Packet[AudioChunk]) -> None:
        """Take the next sound."""
        rate = packet.data.sample_rate
        timeline = self.timeline
        if (
            timeline is None
            or timeline.sample_rate != rate
            or timeline.broken_by(packet.start - len(self.pending) / rate)
        ):
            timeline = self.timeline = Timeline(packet.start, rate)
            self.pending = self.pending[:0]
        power = np.concatenate([self.pending, np.square(packet.data.samples).mean(axis=1)])
        size = max(1, round(rate * BIN_S))
        whole = len(power) - len(power) % size
        for value in np.log10(power[:whole].reshape(-1, size).mean(axis=1, dtype=np.float64) + QUIET):
            timeline.count += size
            self.ends.append(timeline.end)
            self.loudness.append(float(value))
        self.pending = power[whole:]

    def before(self, at: float) -> tuple[Series, Series]:
        """Ends of bins, in media seconds, and loudness in them: what was heard before media second ``at``."""
        ends = np.array(self.ends)
        heard = int(np.searchsorted(ends, at + BIN_S / 2))
        return ends[:heard], np.array(self.loudness)[:heard]
