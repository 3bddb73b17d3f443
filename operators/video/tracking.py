"""Where faces are, frame after frame: a detector every now and then, optical flow in between.

Detection: Viola and Jones' cascade of Haar features (CVPR 2001) as OpenCV carries it. Flow: pyramidal Lucas-Kanade
on corners inside the face, of which the median step counts (Kalal et al., "Forward-backward error", ICPR 2010).
Only past frames are used, so a crop made from a box here can be made live.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from operators.video.pictures import Grey, load_cv2

Box = NDArray[np.float32]  # (4,): left, top, width, height in pixels, not whole

DETECT_SIDE = 144  # pixels of the shorter side that a frame is scaled down to before detection
SMALLEST_FACE = 0.14  # of the frame's shorter side
PULL = 0.3  # how far a detection moves the box that flow has carried: less jitter than the detector's own
MATCH = 0.3  # overlap (intersection over union) from which a detection belongs to a track
SAME_SHAPE = 0.02  # relative difference of aspect ratios below which a frame of another size shows the same view
FOLLOWED_S = 0.5  # between frames; across more a face is not followed but searched for
CORNERS = 40
LEAST_CORNERS = 4  # that the median step of a face needs


@dataclass(eq=False)
class Track:
    """One face over time."""

    name: int
    box: Box  # smoothed over past frames
    seen: float  # media seconds of the last detection that belonged to it
    quality: float  # 0..1: how sure it is that the face is there, from detections and flow
    points: NDArray[np.float32] | None = None  # corners that flow follows, (n, 1, 2); None: there are none


@dataclass
class Tracking:
    """The faces of one stream."""

    tracks: list[Track] = field(default_factory=list)
    grey: Grey | None = None  # the frame before
    at: float = float("-inf")  # media second of it
    detected: float = float("-inf")  # media seconds of the last detection
    named: int = 0


class FaceTracker:
    """Follows every face of a stream. One instance serves many streams; a stream's memory is its ``Tracking``."""

    def __init__(self, detect_every_s: float = 0.2, forget_s: float = 1.0) -> None:
        """``detect_every_s``: seconds between detections; ``forget_s``: how long flow alone may carry a face."""
        self._cv2 = load_cv2()
        self._cascade = self._cv2.CascadeClassifier(self._cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
        self.detect_every_s, self.forget_s = detect_every_s, forget_s

    def update(self, grey: Grey, at: float, tracking: Tracking) -> list[Track]:
        """The faces in ``grey``, the frame at media second ``at``; largest first."""
        before, tracking.grey = tracking.grey, grey
        if before is not None and before.shape != grey.shape:
            _resize(tracking, before.shape, grey.shape)
            before = None
        if at - tracking.at > FOLLOWED_S:
            before, tracking.detected = None, float("-inf")
        tracking.at = at
        if before is not None:
            self._flow(before, grey, tracking.tracks)
        if at >= tracking.detected + self.detect_every_s - 1e-6:
            tracking.detected = at
            self._match(self.detect(grey), at, tracking)
            for track in tracking.tracks:
                track.points = self._corners(grey, track.box)
        kept = (one for one in tracking.tracks if at - one.seen <= self.forget_s and _is_inside(one.box, grey))
        tracking.tracks = sorted(kept, key=lambda one: -float(one.box[2]))
        return tracking.tracks

    def detect(self, grey: Grey) -> NDArray[np.float32]:
        """(face, 4): boxes that the cascade finds, in pixels of ``grey``."""
        height, width = grey.shape
        scale = min(1.0, DETECT_SIDE / min(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = self._cv2.resize(grey, size, interpolation=self._cv2.INTER_AREA) if scale < 1 else grey
        least = max(20, round(SMALLEST_FACE * min(small.shape)))
        found = self._cascade.detectMultiScale(small, scaleFactor=1.1, minNeighbors=4, minSize=(least, least))
        return np.asarray(found, np.float32).reshape(-1, 4) * np.float32(width / size[0])

    def _flow(self, before: Grey, grey: Grey, tracks: list[Track]) -> None:
        """Move each box by the median step of its corners; too few to follow cost quality."""
        followed = [track for track in tracks if track.points is not None and len(track.points) >= LEAST_CORNERS]
        for track in tracks:
            if track not in followed:
                track.quality *= 0.8
        if not followed:
            return
        starts = [track.points for track in followed if track.points is not None]
        moved, found, _ = self._cv2.calcOpticalFlowPyrLK(
            before, grey, np.concatenate(starts), None, winSize=(15, 15), maxLevel=2
        )
        ends = np.cumsum([len(points) for points in starts])[:-1]
        for track, old, new, kept in zip(
            followed, starts, np.split(moved, ends), np.split(found.ravel() == 1, ends), strict=True
        ):
            if kept.sum() < LEAST_CORNERS:
                track.points, track.quality = None, track.quality * 0.8
                continue
            step = np.median((new - old)[kept].reshape(-1, 2), axis=0)
            track.box[:2] += step.astype(np.float32)
            track.points = new[kept]

    def _corners(self, grey: Grey, box: Box) -> NDArray[np.float32] | None:
        """Corners in the upper two thirds of the face: the mouth moves for reasons of its own."""
        left, top, width, height = box
        area = np.zeros_like(grey)
        rows = slice(max(0, int(top + 0.1 * height)), max(0, int(top + 0.65 * height)))
        area[rows, max(0, int(left + 0.15 * width)) : max(0, int(left + 0.85 * width))] = 255
        found: NDArray[np.float32] | None = self._cv2.goodFeaturesToTrack(grey, CORNERS, 0.01, 5, mask=area)
        return found

    def _match(self, boxes: NDArray[np.float32], at: float, tracking: Tracking) -> None:
        """Give each detection to the track that it overlaps most, or begin one; missed tracks lose quality."""
        free = list(range(len(boxes)))
        for track in sorted(tracking.tracks, key=lambda one: one.name):
            overlaps = [overlap(boxes[k], track.box) for k in free]
            if not overlaps or max(overlaps) < MATCH:
                track.quality *= 0.7
                continue
            box = boxes[free.pop(int(np.argmax(overlaps)))]
            track.box += np.float32(PULL) * (box - track.box)
            track.seen, track.quality = at, track.quality + 0.5 * (1 - track.quality)
        known = [track for track in tracking.tracks if track.seen == at]
        tracking.tracks = [one for one in tracking.tracks if one in known or not _covered(one.box, known)]
        for k in free:
            if not _covered(boxes[k], known):
                tracking.named += 1
                tracking.tracks.append(Track(tracking.named, boxes[k].copy(), at, quality=0.5))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    shared = float(np.prod(np.maximum(0, high - low)))
    return shared / (float(one[2] * one[3] + other[2] * other[3]) - shared)


def crop_mouth(grey: Grey, box: Box, size: int) -> Grey:
    """(size, size): the mouth of the face in ``box``, whose middle cascade boxes hold 0.8 of their height down."""
    cv2 = load_cv2()
    left, top, width, height = (float(value) for value in box)
    side = max(2, round(0.6 * width))
    patch = cv2.getRectSubPix(grey, (side, side), (left + 0.5 * width, top + 0.8 * height))
    shrinks = side > size
    crop: Grey = cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return crop


def _covered(box: Box, tracks: list[Track]) -> bool:
    """Whether ``box`` lies where another face was just seen: the detector sometimes finds one face twice."""
    return any(overlap(box, track.box) >= MATCH for track in tracks)


def _is_inside(box: Box, grey: Grey) -> bool:
    """Whether the middle of the face is in the picture."""
    middle = box[:2] + box[2:] / 2
    return bool((middle >= 0).all() and middle[0] <= grey.shape[1] and middle[1] <= grey.shape[0])


def _resize(tracking: Tracking, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """Frames have another size: faces stay where they were if the view is the same, and are searched for at once."""
    tracking.detected = float("-inf")
    down, across = after[0] / before[0], after[1] / before[1]
    if abs(down / across - 1) > SAME_SHAPE:
        tracking.tracks = []
    for track in tracking.tracks:
        track.box, track.points = track.box * np.float32(across), None
