"""What the operators here share about pictures: how OpenCV is loaded, and when a picture stands still."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError

Grey = NDArray[np.uint8]  # (height, width)

FROZEN_S = 0.3  # seconds after which a picture that does not change says nothing about now
_LOADING = (
    threading.Lock()
)  # OpenCV takes itself out of sys.modules while it loads: a second thread would see half of it
SAME_LEVELS = 2  # grey levels by which a pixel may differ in pictures that are the same: a codec's rounding


def load_cv2() -> Any:
    """OpenCV, which takes 0.1 s to import.

    Raises:
        MmstreamError: it is not installed.
    """
    try:
        with _LOADING:
            import cv2
    except ImportError as error:
        raise MmstreamError(
            f"OpenCV is missing ({error}); install it with: pip install 'opencv-python-headless<5'"
        ) from error
    return cv2


@dataclass
class Stillness:
    """Since when the picture has not changed."""

    picture: Grey | None = None  # the last one that differed from the one before
    since: float = 0.0  # media seconds of it

    def lasts_s(self, grey: Grey, at: float, cv2: Any) -> float:
        """Seconds for which what ``grey``, the picture at media second ``at``, shows has been on show."""
        before = self.picture
        if before is None or before.shape != grey.shape or cv2.norm(before, grey, cv2.NORM_INF) > SAME_LEVELS:
            self.picture, self.since = grey, at
        return at - self.since
