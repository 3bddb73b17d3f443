"""The model card: what a recogniser was trained on, how good it is, what it must not be taken for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus that training used."""

    name: str
    what: str  # in words: speakers, size, kind
    licence: str
    attribution: str = ""
    closed_grammar: str = ""  # of a corpus that holds few words in a fixed order: the words


def model_card(description: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """Markdown."""
    return "\n".join(_lines(description, sources)) + "\n"


def _lines(description: Mapping[str, Any], sources: Sequence[Source]) -> Iterator[str]:
    net = description["net"]
    yield from (
        "# Streaming audio-visual recogniser",
        "",
        "English speech from sound, from the lips, or from both, while it is spoken. Made by `mmstream train`, "
        "written by `mmstream export`.",
        "",
        f"- {description['parameters'] / 1e6:.2f} million parameters, {description['bytes'] / 1e6:.1f} MB "
        f"({description['precision']}, safetensors, sha256 `{description['sha256']}`)",
        f"- trained for {description['steps']:,} steps; the weights are the average over steps",
        f"- fusion of sound and lips: {net['fusion'].replace('_', ' ')}; "
        f"output: characters{' and pieces of words' if net.get('pieces') else ''} by "
        f"{'CTC and an RNN transducer' if net['transducer'] else 'CTC'}",
        "",
        "## Look-ahead",
        "",
        f"The front ends see {description['look_ahead_s'] * 1000:.0f} ms ahead; the encoder computes chunks of "
        f"{description['chunk_s'] * 1000:.0f} ms. Algorithmic latency (look-ahead, wait for the chunk and for the "
        f"picture, computing taken as instant): at most {description['algorithmic_latency_s'] * 1000:.0f} ms. "
        "Streaming gives what one pass over the whole file gives.",
        "",
        "## Data, licences, attribution",
        "",
    )
    if sources:
        yield from ("| corpus | what | licence | attribution |", "|---|---|---|---|")
        yield from (f"| {one.name} | {one.what} | {one.licence} | {one.attribution or '-'} |" for one in sources)
    else:
        yield "Not recorded: export with `--config` to name the training data."
    yield from _grammars(sources)
    yield from ("", "## Metrics", "")
    yield from _metrics(description["metrics"])
    yield from (
        "",
        "## Limits",
        "",
        "- The net hears what it was trained on: other accents, languages, rooms and faces than those above do worse.",
        "- Lips were learnt from the few faces above. For a face that is not among them, expect lips alone to be far "
        "worse than the figures of seen speakers.",
        "- It writes lower-case letters, spaces and apostrophes; numbers come out as words.",
        "- Not for identifying people, and not for surveillance by lip reading.",
    )


def _grammars(sources: Sequence[Source]) -> Iterator[str]:
    for one in sources:
        if one.closed_grammar:
            yield from (
                "",
                f"**{one.name} has a closed grammar**: {one.closed_grammar}. Its sentences hold nothing else, so a "
                "figure measured on it says how well these few words are told apart, not how well free speech is "
                "understood.",
            )


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    sets = metrics.get("sets")
    if not isinstance(sets, Mapping) or not sets:
        yield "None recorded in metrics.jsonl."
        return
    yield from (
        f"Greedy CTC of the averaged weights after {metrics.get('step', 0):,} steps, whole files, no noise added. "
        "WER and CER in percent.",
        "",
        "| set | modality | WER | 95% interval | CER | utterances |",
        "|---|---|---|---|---|---|",
    )
    for name, modalities in sets.items():
        for modality, found in modalities.items():
            low, high = found["wer_ci"]
            yield (
                f"| {name} | {modality} | {100 * found['wer']:.1f} | {100 * low:.1f} to {100 * high:.1f} | "
                f"{100 * found['cer']:.1f} | {found['utterances']} |"
            )
