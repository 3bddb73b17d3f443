"""What is to be drawn over the pictures of a camera: the face that speaks and its mouth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from mmstream.core import Operator, Packet
from mmstream.media import Box, Face, Faces, Sight


@dataclass
class Last:
    """The sight that was given last."""

    start: float = float("-inf")  # media seconds


class Sights(Operator[Last]):
    """A ``Sight`` of the first face of a picture, ``per_second`` of them at most.

    Errors: ValueError for a rate that is not above 0.
    """

    accepts: ClassVar[tuple[type, ...]] = (Faces,)
    emits: ClassVar[tuple[type, ...]] = (Sight,)

    def __init__(self, per_second: float = 10.0) -> None:
        if per_second <= 0:
            raise ValueError(f"per_second is above 0, not {per_second:g}")
        self.step_s = 1 / per_second

    def open(self, session: str) -> Last:
        return Last()

    def process(self, packet: Packet[Faces], state: Last) -> Iterator[Packet[Sight]]:
        if packet.start < state.start + self.step_s - 1e-3:  # pictures come at a rate of their own
            return
        state.start = packet.start
        height, width = packet.data.pixels.shape
        if not packet.data.faces:
            yield packet.derive(Sight(width, height, None, None, 0.0, 0.0))
            return
        face = packet.data.faces[0]
        yield packet.derive(Sight(width, height, face.box, mouth_box(face), face.quality, face.speaking))


def mouth_box(face: Face) -> Box:
    """Where ``tracking.crop_mouth`` cuts the mouth out."""
    left, top, width, height = face.box
    side = 0.6 * width
    return left + 0.2 * width, top + 0.8 * height - side / 2, side, side
