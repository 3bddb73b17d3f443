"""Operators on sound. Importing this package imports NumPy only: each operator brings its engine when it is built."""

from operators.audio.mel import LogMel
from operators.audio.resample import Resample
from operators.audio.vad import Vad

__all__ = ["LogMel", "Resample", "Vad"]
