"""Files of sentence pairs."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from mmstream.core import MmstreamError

Pair = tuple[str, str]  # a sentence and its translation


def read_pairs(path: Path) -> list[Pair]:
    """Lines of source TAB target, UTF-8, gzipped or not.

    Raises:
        MmstreamError: the file cannot be read, or a line, which it names, is not two texts.
    """
    pairs: list[Pair] = []
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                parts = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n").split("\t")
                if len(parts) != 2 or not all(part.strip() for part in parts):
                    raise MmstreamError(f"{path}:{number}: must be a sentence, a tab, its translation")
                pairs.append((parts[0], parts[1]))
    except UnicodeDecodeError as fault:
        raise MmstreamError(f"{path}:{number}: not UTF-8 text") from fault
    except (OSError, EOFError, zlib.error) as fault:
        raise MmstreamError(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    if not pairs:
        raise MmstreamError(f"{path}: holds no sentence")
    return pairs
