"""Characters and pieces of words as tokens: text to numbers and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"


class Vocabulary:
    """Token 0 is CTC's blank; then come ``characters`` and ``pieces``, in order. A space ends every word.

    A piece is several characters of one word, and may take in the space after it: ``"th"``, ``"ing "``, ``"blue "``.
    Speech brings more characters a second than there are steps to put them in, so frequent words are pieces.
    """

    def __init__(self, characters: str = CHARACTERS, pieces: Sequence[str] = ()) -> None:
        self.characters, self.pieces = characters, tuple(pieces)
        self.texts = ("", *characters, *pieces)  # by token
        self._token = {text: token for token, text in enumerate(self.texts) if text}
        self._longest = max(len(text) for text in self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def encode(self, text: str) -> list[int]:
        """Tokens of normalised text: from the left, always the longest that fits.

        Raises:
            ValueError: a character that has no token.
        """
        return [token for word in text.split() for token in self._encode(f"{word} ")]

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.texts[token] for token in tokens)

    def _encode(self, word: str) -> list[int]:
        tokens, at = [], 0
        while at < len(word):
            for end in range(min(len(word), at + self._longest), at, -1):
                if word[at:end] in self._token:
                    break
            else:
                raise ValueError(f"{word[at]!r} in {word.strip()!r} is none of {self.characters!r}")
            tokens.append(self._token[word[at:end]])
            at = end
        return tokens


def collapsed(best: Sequence[int]) -> list[int]:
    """CTC's reading of the best token of each step: repeats count once, then blanks go."""
    return [token for k, token in enumerate(best) if token and (k == 0 or best[k - 1] != token)]
