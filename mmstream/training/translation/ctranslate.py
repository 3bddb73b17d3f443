"""A translation net -> a model that CTranslate2 runs, int8 or as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor, nn

from mmstream.core import MmstreamError
from mmstream.nets.translation import Attention, FeedForward, Layer, TranslationNet

if TYPE_CHECKING:
    from ctranslate2.specs import TransformerSpec

Precision = Literal["int8", "float32"]
MODEL = "model.bin"


def write(net: TranslationNet, vocabulary: Sequence[str], folder: Path, precision: Precision = "int8") -> None:
    """Put CTranslate2's files into ``folder``, which is there. Sources are to be given with language and END.

    Raises:
        MmstreamError: CTranslate2 is not installed.
    """
    spec = specification(net)
    for register in (spec.register_source_vocabulary, spec.register_target_vocabulary):
        register(list(vocabulary))
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = vocabulary[1:4]
    spec.config.decoder_start_token = vocabulary[2]
    spec.validate()
    spec.optimize(quantization="int8" if precision == "int8" else None)
    spec.save(str(folder))


def specification(net: TranslationNet) -> TransformerSpec:
    """The net in CTranslate2's terms, with all its weights.

    Raises:
        MmstreamError: CTranslate2 is not installed.
    """
    try:
        from ctranslate2.specs import TransformerSpec
    except ImportError as fault:
        raise MmstreamError("export needs the package ctranslate2: run python -m pip install ctranslate2") from fault
    shape = net.config
    spec = TransformerSpec.from_config(
        (shape.encoder_layers, shape.decoder_layers), shape.heads, pre_norm=True,
        alignment_layer=-1, alignment_heads=shape.heads,
    )  # fmt: skip
    _side(spec.encoder, net, net.encoder, net.encoder_norm)
    _side(spec.decoder, net, net.decoder, net.decoder_norm)
    spec.decoder.projection.weight = _array(net.embedding)
    return spec


def _side(there: Any, net: TranslationNet, layers: nn.ModuleList, norm: nn.LayerNorm) -> None:
    """The encoder or the decoder."""
    table = there.embeddings[0] if isinstance(there.embeddings, list) else there.embeddings
    table.weight = _array(net.embedding)
    there.position_encodings.encodings = _array(net.positions)
    _norm(there.layer_norm, norm)
    for theirs, ours in zip(there.layer, layers, strict=True):
        assert isinstance(ours, Layer)
        _attention(theirs.self_attention, ours.attention)
        if ours.source_attention is not None:
            _attention(theirs.attention, ours.source_attention)
        _feed_forward(theirs.ffn, ours.feed_forward)


def _attention(there: Any, here: Attention) -> None:
    _norm(there.layer_norm, here.norm)
    parts = (here.query, here.key_value) if here.cross else (here.query_key_value,)
    for linear, part in zip(there.linear, (*parts, here.out), strict=True):
        _linear(linear, part)


def _feed_forward(there: Any, here: FeedForward) -> None:
    _norm(there.layer_norm, here.norm)
    _linear(there.linear_0, here.up)
    _linear(there.linear_1, here.down)


def _linear(there: Any, here: nn.Linear) -> None:
    there.weight, there.bias = _array(here.weight), _array(here.bias)


def _norm(there: Any, here: nn.LayerNorm) -> None:
    there.gamma, there.beta = _array(here.weight), _array(here.bias)


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    array: np.ndarray[Any, np.dtype[np.float32]] = (
        tensor.detach().float().cpu().numpy().copy()
    )  # it is rounded in place
    return array
