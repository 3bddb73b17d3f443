"""How the lips of one face move, and how far that goes with the sound.

Motion is the difference between two pictures of the mouth, less that of the nose above it, which moves with the
head alone, per unit of contrast. So neither light nor camera noise nor a nod makes much of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operators.video.pictures import FROZEN_S, Grey, load_cv2

Patch = NDArray[np.float32]  # (SIDE, SIDE)
Series = NDArray[np.float64]  # (time,)

SIDE = 16  # pixels of a patch, which covers what a mouth crop does
LIPS = (slice(4, 12), slice(3, 13))  # where they are in a patch, rows and columns
NOSE = (slice(0, 4), slice(0, SIDE))  # and the cheeks beside it
LEAST_STEP_S = 0.035  # between the pictures compared, whatever the frame rate: 25 fps and 60 fps give like numbers
LEAST_CONTRAST = 8.0  # grey levels, standard deviation: below, noise would count as motion
BIN_S = 0.01  # of sound, in each value of its envelope
SMOOTH_S = 0.2  # over which motion and envelope are averaged before they are compared: a syllable
WINDOW_S = 2.0  # that is compared
LEAST_FRAMES = 5  # that say anything about agreement
QUIET = 1e-6  # added to a mean square before the logarithm: -60 dB
EVEN = 0.3  # log10 of power: an envelope that varies by less than this is no voice
JITTER_S = 1e-4  # by which times may be off


@dataclass
class Lips:
    """The lips of one face over the last WINDOW_S."""

    patches: deque[tuple[float, Patch]] = field(default_factory=deque)  # media seconds, picture; the last few
    times: deque[float] = field(default_factory=deque)  # media seconds
    motions: deque[float] = field(default_factory=deque)  # at these times

    def see(self, crop: Grey, at: float) -> None:
        """Take the mouth as it looks at media second ``at``; a crop of any size. One shown twice counts once."""
        cv2 = load_cv2()
        patch: Patch = cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        if self.patches and np.array_equal(self.patches[-1][1], patch):
            return
        while self.patches and at - self.patches[0][0] > FROZEN_S + JITTER_S:
            self.patches.popleft()
        while len(self.patches) > 1 and at - self.patches[1][0] >= LEAST_STEP_S:
            self.patches.popleft()
        if self.patches and at - self.patches[0][0] >= LEAST_STEP_S:
            self.times.append(at)
            self.motions.append(motion(self.patches[0][1], patch))
        self.patches.append((at, patch))
        while self.times and self.times[0] <= at - WINDOW_S - SMOOTH_S:
            self.times.popleft()
            self.motions.popleft()

    def level(self, at: float, span_s: float) -> float | None:
        """Mean motion over the ``span_s`` before media second ``at``; None where none could be seen."""
        recent = [move for time, move in zip(self.times, self.motions, strict=True) if time > at - span_s + JITTER_S]
        return sum(recent) / len(recent) if recent else None


def motion(before: Patch, after: Patch) -> float:
    """How much the lips moved between two patches, 0 and up; around 0.1 in speech."""
    change = np.abs(after - before)
    own = float(change[LIPS].mean()) - float(change[NOSE].mean())
    return max(0.0, own) / max(LEAST_CONTRAST, float(after.std()))


def agreement(lips: Lips, ends: Series, loudness: Series, at: float) -> tuple[float, float]:
    """How the motion of ``lips`` goes with the sound of the last WINDOW_S before media second ``at``.

    ``loudness``: log10 of power in bins of sound that end at the media seconds ``ends``. The first number is the
    motion that goes with the sound, in the units of ``motion``; the second the correlation, -1..1. Both are 0 where
    there is too little to compare.
    """
    times, motions = np.array(lips.times), np.array(lips.motions)
    heard = ends <= at + JITTER_S
    moments = times[times > at - WINDOW_S + JITTER_S]
    envelope, counts = _means(ends[heard], loudness[heard], moments)
    moments, envelope = moments[counts > 0], envelope[counts > 0]
    if len(moments) < LEAST_FRAMES:
        return 0.0, 0.0
    moved, _ = _means(times, motions, moments)
    moved, envelope = moved - moved.mean(), envelope - envelope.mean()
    together, spread = float((moved * envelope).mean()), float(envelope.std())
    return together / (spread + EVEN), together / (spread + EVEN) / (float(moved.std()) + 1e-3)


def _means(times: Series, values: Series, moments: Series) -> tuple[Series, NDArray[np.intp]]:
    """Mean of the ``values`` within SMOOTH_S before each of ``moments``, and how many they are."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(times, moments - SMOOTH_S + JITTER_S, "right")
    end = np.searchsorted(times, moments + JITTER_S, "right")
    counts = end - first
    return (total[end] - total[first]) / np.maximum(counts, 1), counts
