"""Operators on pictures. Importing this package imports NumPy only: each operator brings OpenCV when it is built."""

from operators.video.face_track import FaceTrack
from operators.video.mouth_crop import MouthCrop
from operators.video.on_camera import OnCamera
from operators.video.sights import Sights

__all__ = ["FaceTrack", "MouthCrop", "OnCamera", "Sights"]
