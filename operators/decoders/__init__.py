"""Recognisers: speech -> hypotheses. Importing this package imports no recogniser: each is loaded when it is built."""

from operators.decoders.avsr import Avsr
from operators.decoders.sphinx import Sphinx
from operators.decoders.whisper import Whisper

__all__ = ["Avsr", "Sphinx", "Whisper"]
