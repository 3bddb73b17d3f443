"""Speech made of sentences, where there is none with references: flite says them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mmstream.core import MmstreamError
from mmstream.evaluation.manifest import Entry
from mmstream.translation.pairs import Pair
from operators.sources import probe

VOICE = "slt"
ENGLISH = "en"  # all that flite's voices speak
LIMIT_S = 60.0  # wall-clock, for one sentence


def spoken(pairs: Sequence[Pair], folder: Path, target: str) -> list[Entry]:
    """A recording of each pair's source in ``folder``, with its translation into ``target``.

    Raises:
        MmstreamError: flite is not installed, or fails.
    """
    program = shutil.which("flite")
    if program is None:
        raise MmstreamError("sentences are spoken by flite, which is not installed: run apt-get install flite")
    entries = []
    for number, (sentence, translation) in enumerate(pairs, 1):
        path = folder / f"{number:04d}.wav"
        command = [program, "-voice", VOICE, "-t", sentence, "-o", str(path)]
        try:
            made = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired as fault:
            raise MmstreamError(f"flite did not say {sentence!r} within {LIMIT_S:g} s") from fault
        if made.returncode or not path.is_file():
            raise MmstreamError(f"flite cannot say {sentence!r}: {made.stderr.strip() or made.returncode}")
        seconds = probe(str(path)).duration_s
        entries.append(Entry(path, sentence, duration=seconds, translations={target: translation}))
    return entries
