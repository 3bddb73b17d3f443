"""Captions -> translations. Importing this package loads no translator: it is loaded when the operator is built."""

from operators.translation.spoken import Spoken
from operators.translation.translate import Translate

__all__ = ["Spoken", "Translate"]
