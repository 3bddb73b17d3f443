"""The weights that ship with mmstream, one folder a model, and what loads them or a folder of the user's own."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmstream.nets.recogniser import AudioVisualRecogniser

SHIPPED = Path(__file__).parent


def folder_of(model: str) -> Path:
    """The folder of a model: one of those that ship, by name, or a folder that ``mmstream export`` has written."""
    shipped = SHIPPED / model
    return shipped if "/" not in model and shipped.is_dir() else Path(model).expanduser()


@functools.cache
def recogniser(model: str) -> AudioVisualRecogniser:
    """The net of ``model``, loaded once a process: the operators that share it are built one after another.

    Raises:
        WeightsError: it is missing, damaged, or of another format.
    """
    import torch

    from mmstream.nets.weights import load

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # a stream's steps are too small to share: a second thread costs more than it gives
    return load(folder_of(model))
