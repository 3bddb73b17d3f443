"""The words that a translator was trained on: what is written like a name and not among them may be one."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mmstream.translation.variants import APOSTROPHES, core

FILE = "words.txt.gz"
LEAST = 2  # times: less is not learnt


def words_in(sentences: Iterable[str]) -> list[str]:
    """The words of sentences in lower case that come LEAST times or more, in order."""
    counts = Counter(
        core(word) for sentence in sentences for word in sentence.lower().translate(APOSTROPHES).split()
    )  # fmt: skip
    return sorted(word for word, count in counts.items() if count >= LEAST and word)


def packed(words: Iterable[str]) -> bytes:
    """What a file of words holds; the same words make the same bytes."""
    return gzip.compress("\n".join(words).encode(), mtime=0)


def read(path: Path) -> frozenset[str]:
    """The words of a file.

    Raises:
        OSError, EOFError, ValueError: it cannot be read.
    """
    return frozenset(gzip.decompress(path.read_bytes()).decode().split("\n"))
