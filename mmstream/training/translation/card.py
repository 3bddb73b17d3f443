"""The model card: what a translation net was trained on, how good it is, what it must not be taken for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.training.card import Source


def model_card(description: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """Markdown."""
    return "\n".join(_lines(description, sources)) + "\n"


def _lines(description: Mapping[str, Any], sources: Sequence[Source]) -> Iterator[str]:
    net = description["net"]
    yield from (
        f"# Translation from {description['source']} to {', '.join(description['targets'])}",
        "",
        "Short sentences of everyday language, with case and punctuation or as recognisers write them. Made by "
        "`mmstream train`, written by `mmstream export`, run by CTranslate2.",
        "",
        f"- {description['parameters'] / 1e6:.2f} million parameters, {description['bytes'] / 1e6:.1f} MB "
        f"({description['precision']}, vocabulary included)",
        f"- a Transformer of {net['encoder_layers']} layers that read and {net['decoder_layers']} that write, "
        f"{net['dim']} wide; one vocabulary of {net['vocabulary']:,} pieces for all languages",
        f"- trained for {description['steps']:,} steps; the weights are the average over steps",
        "- a source is given as the token of its target language, its pieces and `</s>`; "
        "the tokens are " + ", ".join(f"`{one}`" for one in description["language_tokens"].values()),
        "- `｟1｠` to `｟4｠` in a source stand for names and numbers and are copied, once each",
        "",
        "## Data, licences, attribution",
        "",
    )
    if sources:
        yield from ("| corpus | what | licence | attribution |", "|---|---|---|---|")
        yield from (f"| {one.name} | {one.what} | {one.licence} | {one.attribution or '-'} |" for one in sources)
    else:
        yield "Not recorded: export with `--config` to name the training data."
    yield from ("", "## Metrics", "")
    yield from _metrics(description["metrics"])
    yield from (
        "",
        "## Limits",
        "",
        "- It has seen a few hundred thousand short sentences: long ones, technical terms, rare names and other "
        "subjects do worse. Longer text is to be cut into sentences.",
        "- It has no context beyond a sentence: it guesses who `you` and `it` are.",
        "- Do not rely on it where a mistake does harm.",
    )


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    sets = metrics.get("sets")
    if not isinstance(sets, Mapping) or not sets:
        yield "None recorded in metrics.jsonl."
        return
    yield from (
        f"Greedy translations with the averaged weights after {metrics.get('step', 0):,} steps, before rounding; "
        "BLEU by sacrebleu. Bare: the source in lower case, without punctuation.",
        "",
        "| into | BLEU | bare | sentences |",
        "|---|---|---|---|",
    )
    for language, found in sets.items():
        bleu = found["bleu"]
        yield f"| {language} | {bleu['written']:.1f} | {bleu['bare']:.1f} | {found['sentences']} |"
