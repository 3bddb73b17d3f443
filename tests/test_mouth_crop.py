"""MouthCrop: a mouth, or the reason why there is none, for every picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import Face, Faces, Gap, Mouth
from mmstream.testing import run_operator
from operators.video import MouthCrop
from tests.faces import RATE, Clip, Pictures, drawn, faces_of, frames, mouths_of, reasons, recorded, syllables, voice
from tests.media_samples import require_data

BOX = (108.0, 58.0, 144.0, 144.0)


def cropped(pixels: np.ndarray, box: tuple[float, float, float, float] = BOX, quality: float = 0.9, **arguments: float):
    """What comes of one grey picture with one face."""
    faces = Faces(pixels, (Face(1, box, quality, 0.25),))
    (given,) = run_operator(MouthCrop(**arguments), [Packet("test", 1.0, 1.04, faces, 7.0)])
    assert (given.start, given.end, given.captured_at) == (1.0, 1.04, 7.0)
    return given.data


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """(height, width), grey."""
    return np.ascontiguousarray(drawn(np.full(1, 0.7))[0, :, :, 0])


@pytest.fixture(scope="module")
def still() -> Pictures:
    return drawn(np.zeros(50))


def test_the_mouth_is_in_the_middle(face: np.ndarray) -> None:
    mouth = cropped(face)
    assert mouth.pixels.shape == (64, 64)
    assert mouth.pixels.dtype == np.uint8
    rows, columns = np.nonzero(cv2.GaussianBlur(mouth.pixels, (0, 0), 2)[16:50, 16:48] < 100)  # what is open
    assert 16 + rows.mean() == pytest.approx(34, abs=3)
    assert 16 + columns.mean() == pytest.approx(32, abs=2)
    assert (mouth.quality, mouth.speaking) == (pytest.approx(0.9), 0.25)


def test_the_size_is_that_asked_for(face: np.ndarray) -> None:
    assert cropped(face, size=96).pixels.shape == (96, 96)


def test_a_crop_moves_by_parts_of_a_pixel(face: np.ndarray) -> None:
    """What a box half a pixel further shows lies between what whole pixels show."""
    left, right = (cropped(face, (108.0 + step, *BOX[1:])).pixels.astype(float) for step in (0.0, 1.0))
    between = cropped(face, (108.5, *BOX[1:])).pixels
    assert np.abs(between - (left + right) / 2).max() <= 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda grey: (grey * 0.02).astype(np.uint8), "too dark"),
        (lambda grey: np.full_like(grey, 200), "too little contrast"),
        (lambda grey: cv2.GaussianBlur(grey, (0, 0), 15), "too blurred"),
    ],
)
def test_a_mouth_that_cannot_be_made_out_is_a_gap(face: np.ndarray, change, reason: str) -> None:
    assert cropped(change(face)) == Gap("video", reason)


@pytest.mark.parametrize(
    ("box", "quality", "reason"),
    [
        ((108.0, 58.0, 15.0, 15.0), 0.9, "the face is too small"),
        ((108.0, 200.0, 144.0, 144.0), 0.9, "the mouth is out of the picture"),
        ((-100.0, 58.0, 144.0, 144.0), 0.9, "the mouth is out of the picture"),
        (BOX, 0.03, "the face is hardly seen"),
        (BOX, 0.0, "the picture is frozen"),
    ],
)
def test_a_face_that_shows_no_mouth_is_a_gap(face: np.ndarray, box, quality: float, reason: str) -> None:
    assert cropped(face, box, quality) == Gap("video", reason)


def test_bad_light_and_blur_cost_quality_before_they_cost_the_mouth(face: np.ndarray) -> None:
    dim, soft = (face * 0.25).astype(np.uint8), cv2.GaussianBlur(face, (0, 0), 5)
    assert 0.05 <= cropped(dim).quality < cropped(face).quality
    assert 0.05 <= cropped(soft).quality < cropped(face).quality
    assert cropped(face, (165.0, 154.0, 30.0, 30.0)).quality < 0.9


def test_pictures_without_a_face_say_why() -> None:
    grey, black = np.full((5, 288, 360, 3), 120, np.uint8), np.zeros((5, 288, 360, 3), np.uint8)
    assert reasons(mouths_of(frames(grey))) == ["no face in sight"] * 5
    assert reasons(mouths_of(frames(black))) == ["too dark"] * 5


def test_every_picture_comes_out_as_a_mouth_or_a_gap(still: Pictures) -> None:
    black = np.zeros_like(still[:25])
    given = mouths_of(frames(np.concatenate([still[:25], black, still[25:]])))
    assert [packet.start for packet in given] == [packet.start for packet in frames(np.zeros((75, 1, 1, 3)))]
    assert [isinstance(packet.data, Mouth) for packet in given] == [True] * 25 + [False] * 25 + [True] * 25
    assert set(reasons(given)) == {"too dark"}


def test_a_frozen_picture_is_a_gap_until_it_moves_again(still: Pictures) -> None:
    given = mouths_of(frames(np.concatenate([still[:25], still[24:25].repeat(25, axis=0), still[25:]])))
    assert reasons(given) == ["the picture is frozen"] * sum(isinstance(packet.data, Gap) for packet in given)
    assert 16 <= len(reasons(given)) <= 18
    assert isinstance(given[50].data, Mouth)


def test_a_picture_that_lasts_says_nothing_about_the_rest_of_its_time(face: np.ndarray) -> None:
    faces = Faces(face, (Face(1, BOX, 0.9, 0.0),))
    mouth, gap = run_operator(MouthCrop(), [Packet("test", 2.0, 7.0, faces, 50.0)])
    assert (mouth.start, mouth.end, mouth.captured_at) == (2.0, 2.3, pytest.approx(45.3))
    assert (gap.start, gap.end, gap.captured_at) == (2.3, 7.0, 50.0)
    assert gap.data.reason == "the picture is frozen"


def test_a_gap_passes(still: Pictures) -> None:
    lost = Packet("test", 0.4, 1.0, Gap("video", "lost"), 0.0)
    given = mouths_of([*frames(still[:10]), lost, *frames(still[25:], start=1.0)])
    assert reasons(given) == ["lost"]
    assert sum(isinstance(packet.data, Mouth) for packet in given) == 35


def test_the_first_face_is_the_one_that_counts(face: np.ndarray) -> None:
    other = Face(2, (10.0, 10.0, 60.0, 60.0), 0.8, 1.0)
    faces = Faces(face, (Face(1, BOX, 0.9, 0.25), other))
    (given,) = run_operator(MouthCrop(), [Packet("test", 0.0, 0.04, faces, 0.0)])
    assert given.data.speaking == 0.25


def test_a_recorded_person_has_a_good_mouth_in_every_picture() -> None:
    folder = require_data("grid/dev_unseen")
    for name in ("s11", "s30"):
        clip = recorded(str(min(folder.glob(f"{name}/*.mp4")).relative_to(folder.parent)))
        given = mouths_of(clip.packets())
        assert len(given) == 75
        assert all(isinstance(packet.data, Mouth) for packet in given)
        faces = [packet.data.faces[0].quality for packet in faces_of(clip.packets())]
        assert [packet.data.quality for packet in given] == pytest.approx(faces), "an ordinary picture loses nothing"


def test_the_lips_stay_in_place_while_they_talk() -> None:
    course = syllables(2.0, seed=3, spoken=[(0.2, 1.8)])
    given = mouths_of(Clip(drawn(course), voice(course), RATE).packets())
    crops = np.stack([packet.data.pixels for packet in given]).astype(float)
    nose = crops[:, 4:10, 20:44]
    assert np.abs(nose - nose.mean(axis=0)).mean() < 4
    assert np.corrcoef(crops[:, 30:44, 24:40].mean((1, 2)), course)[0, 1] < -0.9, "an open mouth is dark"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size is 16 to 256 pixels, not 8"),
        ({"size": 257}, "size is 16 to 256 pixels, not 257"),
        ({"min_quality": 0.0}, "min_quality is above 0 and at most 1, not 0.0"),
        ({"min_quality": 1.1}, "min_quality is above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MouthCrop(**arguments)
