"""A drawn face whose mouth opens as told: a detector finds it, and no recording of anybody is needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.video.pictures import load_cv2

Picture = NDArray[np.uint8]  # (height, width, 3)

HEIGHT, WIDTH = 288, 360


def draw_face(opening: float, seed: int = 0, at: tuple[float, float] = (180, 140), height: float = 150) -> Picture:
    """A face with its middle ``at`` (x, y) and its mouth open by ``opening``, with the noise of a camera."""
    cv2 = load_cv2()
    generator = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH), 95, np.uint8)
    unit = height / 100

    def ellipse(x: float, y: float, across: float, down: float, level: int) -> None:
        middle = (round(16 * (at[0] + unit * x)), round(16 * (at[1] + unit * y)))
        axes = (round(16 * unit * across), round(16 * unit * down))
        cv2.ellipse(picture, middle, axes, 0, 0, 360, level, -1, cv2.LINE_AA, 4)

    ellipse(0, -8, 42, 56, 50)  # hair
    ellipse(0, 0, 37, 50, 190)
    for side in (-1, 1):
        ellipse(side * 16, -18, 11, 6, 120)  # the hollow of the eye
        ellipse(side * 16, -17, 8, 4, 215)
        ellipse(side * 16, -17, 4, 4, 30)
        ellipse(side * 16, -26, 11, 2.5, 60)  # brow
        ellipse(side * 5, 9, 3, 2, 110)  # nostril
    ellipse(0, -4, 4, 12, 205)  # nose
    ellipse(0, 26, 14, 4 + 5 * opening, 130)  # lips
    ellipse(0, 26, 11, 0.8 + 5 * opening, 60)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2).astype(np.float32)
    noisy = soft + generator.normal(0, 2, soft.shape)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
