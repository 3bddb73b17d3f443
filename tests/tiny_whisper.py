"""A Whisper model that a test can build: CTranslate2's format and files, next to no weights, and those random.

It says one sentence whatever it hears; which of two words it says at a place depends on the sound. Its words, times,
probabilities and prompts go through the code that a real model's go through.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from ctranslate2.specs import whisper_spec
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGES
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WIDTH = 64
HEADS = 2
LAYERS = 2
MELS = 80
ENCODER_STEPS = 1500
DECODER_STEPS = 448
SURE = 20.0  # logit of the word that comes next, against about 0 for all others
STORY = "he hoped there would be stew for dinner. turnips and carrots or bruised potatoes with fat mutton.".split()
CHANGES = (
    "she wished here should see soup to supper. parsnips plus parrots nor brown tomatoes without lean lamb.".split()
)
TASTE = 10.0  # logit that what is heard adds to one word of a pair and takes from the other, in standard deviations
LEAN = 1.0  # logit: how far some words lean to the first of the pair, and others to the second

STARTS = ("<|0.00|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>")
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMESTAMPS = [f"<|{step * 0.02:.2f}|>" for step in range(ENCODER_STEPS + 1)]


def build_tiny_whisper(
    folder: Path, seed: int = 0, multilingual: bool = True, repeats: bool = False, doubts: bool = False
) -> Path:
    """Write the model into ``folder``, which may not exist yet, and return it.

    One that ``repeats`` says its sentence again and again; one that ``doubts`` is sure that nobody speaks, and of
    no word.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _write_tokenizer(folder, multilingual)
    number = {token: k for k, token in enumerate(tokens)}
    spec = whisper_spec.WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    _fill(spec, number, np.random.default_rng(seed), repeats)
    if doubts:
        spec.decoder.projection.weight *= 0.3
        spec.decoder.projection.bias[number["<|nospeech|>"]] = SURE
    spec.config.suppress_ids = [number["<|startoflm|>"], number["<|startofprev|>"]]
    spec.config.suppress_ids_begin = [number["<|endoftext|>"]]
    spec.config.lang_ids = [number[f"<|{language}|>"] for language in LANGUAGES]
    spec.config.alignment_heads = [(LAYERS - 1, head) for head in range(HEADS)]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": MELS, "sampling_rate": 16_000}))
    return folder


def _write_tokenizer(folder: Path, multilingual: bool) -> list[str]:
    """Byte-level BPE without merges: any text can be encoded, and the story's words are tokens. Gives all tokens."""
    text = sorted(pre_tokenizers.ByteLevel.alphabet()) + [f"\u0120{word}" for word in [*STORY, *CHANGES]]
    after = [*SPECIALS, *TIMESTAMPS]
    if multilingual:
        text.append("")  # by this token, which the .en models lack, CTranslate2 knows a multilingual one
    tokenizer = Tokenizer(models.BPE(vocab={token: k for k, token in enumerate(text)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in TIMESTAMPS])
    tokenizer.save(str(folder / "tokenizer.json"))
    return [*text, *after]


def _fill(spec: whisper_spec.WhisperSpec, number: dict[str, int], random: np.random.Generator, repeats: bool) -> None:
    """Random weights, but for the embeddings and the projection, which chain the words of the story."""

    def weights(*shape: int, scale: float = 0.1) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    def norm(part: object) -> None:
        part.gamma, part.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def linear(part: object, out: int, width: int = WIDTH) -> None:
        part.weight, part.bias = weights(out, width), weights(out)

    def feed_forward(part: object) -> None:
        norm(part.layer_norm)
        linear(part.linear_0, 4 * WIDTH)
        linear(part.linear_1, WIDTH, 4 * WIDTH)

    def attention(part: object, *sizes: int) -> None:
        norm(part.layer_norm)
        for one, size in zip(part.linear, sizes, strict=True):
            linear(one, size)

    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight, encoder.conv1.bias = weights(WIDTH, MELS, 3), weights(WIDTH)
    encoder.conv2.weight, encoder.conv2.bias = weights(WIDTH, WIDTH, 3), weights(WIDTH)
    encoder.position_encodings.encodings = weights(ENCODER_STEPS, WIDTH)
    decoder.position_encodings.encodings = weights(DECODER_STEPS, WIDTH, scale=0.02)
    for layer in encoder.layer:
        attention(layer.self_attention, 3 * WIDTH, WIDTH)
        feed_forward(layer.ffn)
    for layer in decoder.layer:
        attention(layer.self_attention, 3 * WIDTH, WIDTH)
        attention(layer.attention, WIDTH, 2 * WIDTH, WIDTH)
        feed_forward(layer.ffn)
    norm(encoder.layer_norm)
    norm(decoder.layer_norm)
    embeddings = weights(len(number), WIDTH, scale=1.0)
    said = [number[f"\u0120{word}"] for word in (*STORY, *CHANGES)] + [number[token] for token in STARTS]
    basis = np.linalg.qr(random.standard_normal((WIDTH - 1, WIDTH - 1)))[0]
    embeddings[said, 1:] = basis[: len(said)] * np.sqrt(WIDTH)  # orthogonal: no word is taken for another
    decoder.embeddings.weight = embeddings
    decoder.projection.weight, decoder.projection.bias = _chain(embeddings, number, repeats)
    _listen(spec)


def _listen(spec: whisper_spec.WhisperSpec) -> None:
    """Keep the first number of the decoder's stream for what it hears; let the rest be the last word, nearly."""
    decoder = spec.decoder
    decoder.embeddings.weight[:, 0] = 0
    decoder.position_encodings.encodings[:, 0] = 0
    for layer in decoder.layer:
        heard = layer.attention.linear[2].weight[0].copy()
        for part in (layer.self_attention.linear[1], layer.attention.linear[2], layer.ffn.linear_1):
            part.weight *= 0.1
            part.bias *= 0.1
            part.weight[0], part.bias[0] = 0, 0
        layer.attention.linear[2].weight[0] = heard


def _chain(embeddings: np.ndarray, number: dict[str, int], repeats: bool) -> tuple[np.ndarray, np.ndarray]:
    """A projection and bias under which each word of the story makes the next one likely, and the last one the end.

    Every word has another that may stand in its place: what the model hears decides.
    """
    pairs = [tuple(number[f"\u0120{word}"] for word in pair) for pair in zip(STORY, CHANGES, strict=True)]
    first, last = number["<|0.00|>"], number["<|endoftext|>"]
    links = [(number[token], first) for token in STARTS[1:]] + [(first, word) for word in pairs[0]]
    links += [(before, after) for one, two in itertools.pairwise(pairs) for before in one for after in two]
    links += [(word, after) for word in pairs[-1] for after in (pairs[0] if repeats else (last,))]
    projection, bias = np.zeros_like(embeddings), np.zeros(len(embeddings), np.float32)
    for before, after in links:
        projection[after] += embeddings[before] * (SURE / np.square(embeddings[before]).sum())
    leans = np.roll(np.linspace(-LEAN, LEAN, len(pairs)), 5)
    for (one, two), lean in zip(pairs, leans, strict=True):
        projection[one, 0], projection[two, 0] = TASTE, -TASTE
        bias[one] = lean
    return projection, bias
