"""BLEU of a net over sentence pairs, as written and as recognisers write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmstream.core import MmstreamError
from mmstream.nets.translation import END, TranslationNet
from mmstream.training.precision import Precision
from mmstream.training.translation import pieces
from mmstream.training.translation.decode import greedy
from mmstream.translation.pairs import Pair
from mmstream.translation.variants import bare

SPELLINGS: dict[str, Callable[[str], str]] = {"written": str, "bare": bare}


def measured(
    net: TranslationNet, model: bytes, pairs: Sequence[Pair], language: str, precision: Precision,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:  # fmt: skip
    """BLEU of greedy translations for each spelling of the source. ``net`` is in eval mode after it.

    Raises:
        MmstreamError: sacrebleu is not installed.
        Stopped: ``stopping`` says so.
    """
    bleu = scorer()
    processor = pieces.opened(model)
    first = processor.piece_to_id(pieces.language_token(language))
    figures: dict[str, Any] = {}
    for name, spelt in SPELLINGS.items():
        tokens = [[first, *processor.encode(spelt(source)), END] for source, _ in pairs]
        with precision.autocast():
            texts = [processor.decode(row) for row in greedy(net, tokens, stopping=stopping)]
        figures[name] = round(bleu(texts, [target for _, target in pairs]), 2)
    return {"bleu": figures, "sentences": len(pairs)}


def scorer() -> Callable[[Sequence[str], Sequence[str]], float]:
    """BLEU of hypotheses against references, as sacrebleu has it by default.

    Raises:
        MmstreamError: sacrebleu is not installed.
    """
    try:
        import sacrebleu
    except ImportError as fault:
        raise MmstreamError("BLEU needs the package sacrebleu: run python -m pip install sacrebleu") from fault
    return lambda texts, references: float(sacrebleu.corpus_bleu(list(texts), [list(references)]).score)


def told(line: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """What a line of metrics says, in words and as curves."""
    said: list[str] = []
    curves: dict[str, float] = {}
    for name, figures in line["sets"].items():
        bleu = figures["bleu"]
        said.append(f"{name} {bleu['written']:.1f} (bare {bleu['bare']:.1f})")
        curves |= {f"bleu/{name}/{spelling}": value for spelling, value in bleu.items()}
    return f"BLEU: {', '.join(said)}" if said else "", curves
