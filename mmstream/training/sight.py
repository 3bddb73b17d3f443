"""What training does to mouth crops: geometry, light, and everything that a camera can miss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmstream.nets.visual import CROP, MARGIN, SIZE

Crops = NDArray[np.uint8]  # (step, height, width)
Quality = NDArray[np.float32]  # (step,)

HOLD_STEPS = 4  # a missing crop is replaced by the one before it, for so many steps
HOLD_TRUST = 0.8  # and each step costs this factor of quality


@dataclass(frozen=True, slots=True)
class SightConfig:
    """A chance is per clip."""

    turn_degrees: float = 8.0
    zoom: tuple[float, float] = (0.85, 1.15)
    drift: float = 1.0  # pixels that the crop wanders while the clip lasts
    flip_chance: float = 0.5
    erase_chance: float = 0.25
    blur_chance: float = 0.2
    noise_chance: float = 0.2
    gamma: tuple[float, float] = (0.7, 1.4)
    drop_chance: float = 0.3  # frames are lost: single ones, a burst, or a low frame rate
    freeze_chance: float = 0.05
    offset_chance: float = 0.3
    offset_steps: int = 5  # 200 ms


def held(crops: Crops, quality: Quality) -> tuple[Crops, Quality]:
    """Missing crops (quality 0) replaced by the last one, for HOLD_STEPS at most and trusted less each step."""
    steps = np.arange(len(crops))
    last = np.maximum.accumulate(np.where(quality > 0, steps, -1))
    age = steps - last
    usable = (last >= 0) & (age <= HOLD_STEPS)
    trust = np.where(usable, quality[last] * HOLD_TRUST**age, 0).astype(np.float32)
    return crops[np.maximum(last, 0)] * usable[:, None, None].astype(np.uint8), trust


def at_rate(crops: Crops, quality: Quality, rate: float, steps: int) -> tuple[Crops, Quality]:
    """Played ``rate`` times as fast, ``steps`` long; missing beyond the end."""
    places = np.round(np.arange(steps) * rate).astype(int)
    inside = places < len(crops)
    places = np.minimum(places, len(crops) - 1)
    return crops[places] * inside[:, None, None].astype(np.uint8), quality[places] * inside


def shifted(crops: Crops, quality: Quality, steps: int) -> tuple[Crops, Quality]:
    """Video ``steps`` late (early where negative); missing where nothing is."""
    late, trust = np.zeros_like(crops), np.zeros_like(quality)
    if steps >= 0:
        late[steps:], trust[steps:] = crops[: len(crops) - steps], quality[: len(quality) - steps]
    else:
        late[:steps], trust[:steps] = crops[-steps:], quality[-steps:]
    return late, trust


def lossy(crops: Crops, quality: Quality, config: SightConfig, rng: np.random.Generator) -> tuple[Crops, Quality]:
    """Frames lost, frozen or out of time, as ``config`` says how often."""
    steps = len(crops)
    if rng.random() < config.offset_chance:
        crops, quality = shifted(crops, quality, int(rng.integers(-config.offset_steps, config.offset_steps + 1)))
    if rng.random() < config.drop_chance:
        keep = np.ones(steps, bool)
        kind = rng.integers(3)
        if kind == 0:
            keep = rng.random(steps) > rng.random()
        elif kind == 1:
            length = int(rng.integers(1, steps + 1))
            at = int(rng.integers(0, steps - length + 1))
            keep[at : at + length] = False
        else:
            keep = np.arange(steps) % int(rng.integers(2, 7)) == 0
        quality = quality * keep
    if rng.random() < config.freeze_chance:
        at = int(rng.integers(steps))
        crops = crops.copy()
        crops[at:] = crops[at]
    return held(crops, quality)


def looked_at(crops: Crops, config: SightConfig, rng: np.random.Generator) -> Crops:
    """(step, CROP, CROP) -> (step, SIZE, SIZE): turned, zoomed, moved, flipped, and worse to see."""
    import cv2

    centre = CROP / 2
    turn = rng.uniform(-config.turn_degrees, config.turn_degrees)
    zoom = float(rng.uniform(*config.zoom))
    warp = cv2.getRotationMatrix2D((centre, centre), turn, zoom)
    start, end = (rng.uniform(-MARGIN, MARGIN, 2) * 0.8 for _ in range(2))
    end = start + np.clip(end - start, -config.drift, config.drift)
    flip = rng.random() < config.flip_chance
    levels = (255 * (np.arange(256) / 255) ** rng.uniform(*config.gamma)).astype(np.uint8)
    blur = float(rng.uniform(0.5, 1.5)) if rng.random() < config.blur_chance else 0.0
    grain = float(rng.uniform(2, 12)) if rng.random() < config.noise_chance else 0.0
    hole = _hole(rng) if rng.random() < config.erase_chance else None
    seen = np.empty((len(crops), SIZE, SIZE), np.uint8)
    for k, crop in enumerate(crops):
        matrix = warp.copy()
        matrix[:, 2] += start + (end - start) * (k / max(1, len(crops) - 1)) - MARGIN  # type: ignore[arg-type]
        picture = cv2.warpAffine(crop, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
        if blur:
            picture = cv2.GaussianBlur(picture, (0, 0), blur)
        seen[k] = picture[:, ::-1] if flip else picture
    seen = levels[seen]
    if grain:
        seen = np.clip(seen + rng.normal(0, grain, seen.shape), 0, 255).astype(np.uint8)
    if hole is not None:
        seen[:, hole[0], hole[1]] = rng.integers(256)
    return seen


def _hole(rng: np.random.Generator) -> tuple[slice, slice]:
    """A rectangle of up to a third of each side."""
    sizes = rng.integers(SIZE // 8, SIZE // 3, 2)
    top, left = (int(rng.integers(0, SIZE - size)) for size in sizes)
    return slice(top, top + int(sizes[0])), slice(left, left + int(sizes[1]))
