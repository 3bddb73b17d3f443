"""The vocabulary: pieces of words of all languages together (SentencePiece, Kudo and Richardson, EMNLP 2018)."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmstream.core import MmstreamError
from mmstream.nets.translation import BEGIN, END, PADDING, UNKNOWN
from mmstream.translation.variants import PLACEHOLDERS

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

CHARACTERS = 0.99995  # share of the text's characters that are in the vocabulary


def language_token(language: str) -> str:
    """The token at the start of a source that asks for ``language``."""
    return f"<2{language}>"


def languages_of(vocabulary: Iterable[str]) -> list[str]:
    """The target languages that a vocabulary has tokens for."""
    return [one[2:-1] for one in vocabulary if one.startswith("<2") and one.endswith(">")]


def learn(sentences: Iterable[str], size: int, languages: Sequence[str], *, seed: int = 0) -> bytes:
    """A SentencePiece model of ``size`` pieces. Its first four are padding, unknown, begin and end.

    Raises:
        MmstreamError: the sentences do not give so many pieces.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.filterfalse(lambda one: not one, iter(sentences)),
            model_writer=model, vocab_size=size, model_type="unigram", character_coverage=CHARACTERS,
            pad_id=PADDING, unk_id=UNKNOWN, bos_id=BEGIN, eos_id=END, split_digits=True, hard_vocab_limit=True,
            control_symbols=[language_token(one) for one in languages], user_defined_symbols=list(PLACEHOLDERS),
            input_sentence_size=400_000, shuffle_input_sentence=True, num_threads=2, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as fault:
        said = " ".join(str(fault).split())
        raise MmstreamError(f"no vocabulary of {size} pieces can be made of this text: {said}") from fault
    return model.getvalue()


def opened(model: bytes) -> SentencePieceProcessor:
    """Encodes and decodes with a model that ``learn`` made."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=model)
