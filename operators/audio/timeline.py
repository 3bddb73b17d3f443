"""Media time from a count of samples, so that it cannot drift however long a stream runs."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SLIP_S = 0.04  # a packet whose start is further from the count than this begins a new stretch of media


@dataclass
class Timeline:
    """Where the samples of one unbroken stretch of sound lie in media time."""

    origin: float  # media seconds of sample 0
    sample_rate: int  # Hz
    count: int = 0  # samples so far

    def at(self, sample: int) -> float:
        """Media seconds of ``sample``."""
        return self.origin + sample / self.sample_rate

    @property
    def end(self) -> float:
        """Media seconds at which the samples counted so far end."""
        return self.at(self.count)

    def broken_by(self, start: float) -> bool:
        """Whether a packet that starts at ``start`` leaves a hole. An overlap is no hole: the count goes on."""
        return start - self.end > MAX_SLIP_S
