"""The mouth of the face that speaks, as a small picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from mmstream.core import Operator, Packet
from mmstream.media import Face, Faces, Gap, Mouth
from operators.video.pictures import FROZEN_S, Grey, load_cv2
from operators.video.tracking import crop_mouth

NO_FACE = "no face in sight"
FROZEN = "the picture is frozen"
TOO_DARK = "too dark"
OUT_OF_PICTURE = "the mouth is out of the picture"
TOO_SMALL = "the face is too small"
MISTY = "too little contrast"
BLURRED = "too blurred"
HARDLY_SEEN = "the face is hardly seen"

DARK = 16.0  # mean grey level below which a picture without a face is too dark for one
DIM = 60.0  # mean grey level below which a mouth without contrast is too dark rather than misty

# From where quality is lost, and all of it: ordinary pictures of a face lose none.
CONTRAST = (3.0, 10.0)  # grey levels, standard deviation
SHARPNESS = (0.02, 0.05)  # standard deviation of the softened crop's Laplacian over that of the crop
SOFTEN = 1.5  # pixels of a crop, standard deviation: rounding to whole grey levels is no sharpness
WIDTH = (10.0, 24.0)  # pixels of the picture across the crop


class MouthCrop(Operator[None]):
    """For each picture the mouth of its first face, or a ``Gap`` that says why there is none.

    The crop is as steady as the face's box, which only the past has smoothed. Its quality is the face's, less what
    darkness, blur or smallness take of it; below ``min_quality`` there is a gap. A picture that lasts for more than
    0.3 s says nothing about the rest of its time, which is a gap too.

    Errors: ValueError for an argument out of range; MmstreamError where OpenCV is missing.
    """

    accepts: ClassVar[tuple[type, ...]] = (Faces,)
    emits: ClassVar[tuple[type, ...]] = (Mouth,)

    def __init__(self, size: int = 64, min_quality: float = 0.05) -> None:
        if not 16 <= size <= 256:
            raise ValueError(f"size is 16 to 256 pixels, not {size}")
        if not 0 < min_quality <= 1:
            raise ValueError(f"min_quality is above 0 and at most 1, not {min_quality}")
        self.size, self.min_quality = size, min_quality
        self._cv2 = load_cv2()

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Faces], state: None) -> Iterator[Packet[Any]]:
        faces = packet.data
        seen = self._crop(faces.pixels, faces.faces[0]) if faces.faces else _empty(faces.pixels)
        if isinstance(seen, str):
            yield packet.derive(Gap("video", seen))
            return
        stale_from = packet.start + FROZEN_S
        yield packet.derive(seen, end=min(packet.end, stale_from))
        if packet.end > stale_from:
            yield packet.derive(Gap("video", FROZEN), start=stale_from)

    def _crop(self, grey: Grey, face: Face) -> Mouth | str:
        """The mouth, or why there is none."""
        left, top, width, height = face.box
        if not (0 <= left + 0.5 * width <= grey.shape[1] and 0 <= top + 0.8 * height <= grey.shape[0]):
            return OUT_OF_PICTURE
        crop = crop_mouth(grey, np.array(face.box, np.float32), self.size)
        contrast = float(crop.std())
        soft = self._cv2.GaussianBlur(crop.astype(np.float32), (0, 0), SOFTEN * self.size / 64)
        edges = float(self._cv2.Laplacian(soft, self._cv2.CV_32F).std()) * (self.size / 64) ** 2
        shares = {
            TOO_SMALL: _share(WIDTH, 0.6 * width),
            TOO_DARK if float(crop.mean()) < DIM else MISTY: _share(CONTRAST, contrast),
            BLURRED: _share(SHARPNESS, edges / max(contrast, 1.0)),
        }
        quality = face.quality * float(np.prod(list(shares.values())))
        if quality >= self.min_quality:
            return Mouth(crop, quality, face.speaking)
        worst = min(shares, key=lambda reason: shares[reason])
        if face.quality == 0 and shares[worst] > 0:
            return FROZEN
        return worst if shares[worst] <= face.quality else HARDLY_SEEN


def _empty(grey: Grey) -> str:
    """Why a picture holds no face."""
    return TOO_DARK if float(grey.mean()) < DARK else NO_FACE


def _share(limits: tuple[float, float], value: float) -> float:
    """How much of the quality ``value`` leaves, 0..1: none at the lower limit, all from the upper one."""
    low, high = limits
    return min(1.0, max(0.0, (value - low) / (high - low)))
