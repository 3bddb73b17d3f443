"""Networks of the streaming audio-visual recogniser, as ``torch.nn.Module``.

Every module that looks at more than one step comes in two ways that give the same values: ``forward`` over whole
sequences, for training and files, and ``start`` with ``step``, for streams. A step is 40 ms (25 Hz) throughout.
"""

from __future__ import annotations

STEP_S = 0.04  # seconds in a step
