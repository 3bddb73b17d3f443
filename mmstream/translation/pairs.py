"""Files of sentence pairs."""

from __future__ import annotations

import gzip
from pathlib import Path

from mmstream.core import MmstreamError

Pair = tuple[str, str]  # a sentence and its translation


def read_pairs(path: Path) -> list[Pair]:
    """Lines of source TAB target, gzipped or not.

    Raises:
        MmstreamError: the file cannot be read, or a line is not two texts.
    """
    pairs: list[Pair] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                parts = line.rstrip("\n").split("\t")
                if len(parts) != 2 or not all(part.strip() for part in parts):
                    raise MmstreamError(f"{path}:{number}: must be a sentence, a tab, its translation")
                pairs.append((parts[0], parts[1]))
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        raise MmstreamError(f"{path}: cannot be read: {fault}") from fault
    if not pairs:
        raise MmstreamError(f"{path}: holds no sentence")
    return pairs
