"""Translators that a test can build: the files of each real format, next to no weights, and those made up.

One tells its story whatever it is given: the last token says which comes next. One is random: it says anything, mostly
again and again. Their pieces, tokens of languages and prefixes go through the code that a real model's go through.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import sentencepiece
from ctranslate2.specs import TransformerSpec

from mmstream.nets.translation import TranslationConfig, TranslationNet
from mmstream.training.translation import ctranslate, pieces
from mmstream.translation import words
from mmstream.translation.variants import PLACEHOLDERS

SURE = 20.0  # logit of the token that comes next, against about 0 for all others
WORD = "\u2581"
STORIES = {"de": "das Haus ist sehr alt.", "fr": "la maison est bien vieille."}
ENGLISH = [
    "the house is very old.",
    "Tom has two dogs and one cat.",
    "we are here, and they are there.",
    "I see 3 of 4.",
]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-"
FLORES = {"en": "eng_Latn", "de": "deu_Latn", "fr": "fra_Latn", "zh": "zho_Hans", "pt": "por_Latn"}


def embedded(folder: Path, story: str = STORIES["de"], **how: int | bool) -> Path:
    """What ``mmstream export`` writes: English into German and French."""
    folder.mkdir(parents=True, exist_ok=True)
    model = _pieces([*ENGLISH, *STORIES.values(), story], control=["<2de>", "<2fr>"], user=PLACEHOLDERS, padding=True)
    (folder / "pieces.model").write_bytes(model)
    spoken = pieces.opened(model)
    _save(folder, _vocabulary(spoken), [("<s>", *spoken.encode(story, out_type=str), "</s>")], "<s>", **how)
    (folder / words.FILE).write_bytes(words.packed(words.words_in([*ENGLISH, *ENGLISH])))
    files = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())}
    description = {
        "format": 1, "kind": "translation", "source": "en", "targets": ["de", "fr"],
        "language_tokens": {"de": "<2de>", "fr": "<2fr>"}, "files": files,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(description))
    return folder


def marian(folder: Path, story: str = STORIES["de"], targets: Iterable[str] = (), **how: int | bool) -> Path:
    """An Opus-MT model as CTranslate2's converters write it; with ``targets`` one for several languages."""
    folder.mkdir(parents=True, exist_ok=True)
    source, target = _pieces(ENGLISH), _pieces([story])
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    spoken = pieces.opened(target)
    tokens = list(dict.fromkeys([*_vocabulary(pieces.opened(source)), *_vocabulary(spoken), *targets]))
    _save(folder, tokens, [("</s>", *spoken.encode(story, out_type=str), "</s>")], "</s>", **how)
    return folder


def m2m100(folder: Path, **how: int | bool) -> Path:
    """M2M-100: the first token of a source and of a target is a language."""
    return _many(folder, {language: f"__{language}__" for language in FLORES}, **how)


def nllb(folder: Path, **how: int | bool) -> Path:
    """NLLB: as M2M-100, with other names for languages."""
    return _many(folder, FLORES, **how)


def _many(folder: Path, tokens: Mapping[str, str], **how: int | bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = _pieces([*ENGLISH, *STORIES.values()])
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    spoken = pieces.opened(model)
    chains = [(tokens[language], *spoken.encode(story, out_type=str), "</s>") for language, story in STORIES.items()]
    _save(folder, [*_vocabulary(spoken), *tokens.values()], chains, "</s>", **how)
    return folder


def _pieces(
    lines: Iterable[str], control: Iterable[str] = (), user: Iterable[str] = (), padding: bool = False
) -> bytes:
    """A SentencePiece model of all words of ``lines`` and of every letter that is in them."""
    lines = [*lines, LETTERS, LETTERS[::-1]]
    whole = [WORD + word for word in dict.fromkeys(word for line in lines[:-2] for word in line.split())]
    numbers = (
        {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3} if padding else {"unk_id": 0, "bos_id": 1, "eos_id": 2}
    )
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 5), model_writer=made, model_type="unigram", vocab_size=400,
        hard_vocab_limit=False, character_coverage=1.0, minloglevel=2, control_symbols=list(control),
        user_defined_symbols=[*user, *whole], **numbers,
    )  # fmt: skip
    return made.getvalue()


def _vocabulary(processor: sentencepiece.SentencePieceProcessor) -> list[str]:
    return [processor.id_to_piece(number) for number in range(len(processor))]


def _save(
    folder: Path, tokens: list[str], chains: list[tuple[str, ...]], start: str, *, wild: int = 0, mute: bool = False
) -> None:
    """``wild``: the seed of random weights. ``mute``: it ends before it has begun."""
    width = 4 * (len(tokens) // 4 + 1)
    net = TranslationNet(TranslationConfig(len(tokens), width, 2, 16, 1, 1, 0.0))
    spec = ctranslate.specification(net)
    if wild:
        _go_wild(spec, np.random.default_rng(wild))
    else:
        number = {token: at for at, token in enumerate(tokens)}
        _tell(spec, [[number[one] for one in chain] for chain in chains], number["</s>"], mute)
    for register in (spec.register_source_vocabulary, spec.register_target_vocabulary):
        register(tokens)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = "<unk>", "<s>", "</s>"
    spec.config.decoder_start_token = start
    spec.validate()
    spec.save(str(folder))


def _tell(spec: TransformerSpec, chains: list[list[int]], end: int, mute: bool) -> None:
    """Each token is a direction of its own and nothing is added to it: the projection makes the next one of it."""
    decoder = spec.decoder
    for layer in decoder.layer:
        for part in (layer.self_attention.linear[-1], layer.attention.linear[-1], layer.ffn.linear_1):
            part.weight, part.bias = np.zeros_like(part.weight), np.zeros_like(part.bias)
    table = decoder.embeddings[0] if isinstance(decoder.embeddings, list) else decoder.embeddings
    table.weight = np.eye(*table.weight.shape, dtype=np.float32)
    decoder.position_encodings.encodings = np.zeros_like(decoder.position_encodings.encodings)
    decoder.layer_norm.beta = np.zeros_like(decoder.layer_norm.beta)
    projection = np.zeros_like(table.weight)
    for chain in chains:
        for before, after in itertools.pairwise(chain):
            projection[end if mute else after, before] = SURE / np.sqrt(table.weight.shape[1])
    projection[end] += 0.1 / table.weight.shape[1]  # where nothing follows, it ends
    decoder.projection.weight = projection


def _go_wild(spec: TransformerSpec, random: np.random.Generator) -> None:
    table = spec.decoder.projection
    table.weight = random.standard_normal(table.weight.shape).astype(np.float32)
