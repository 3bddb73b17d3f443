"""``mmstream evaluate-translation``: BLEU and chrF over sentence pairs, or over speech as it is spoken."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from mmstream.atomic import AtomicFile
from mmstream.commands.options import Allow, Json, Pipeline, Sets, print_json
from mmstream.core import MmstreamError
from mmstream.translation.languages import checked, primary

if TYPE_CHECKING:
    from mmstream.evaluation.manifest import Entry
    from mmstream.evaluation.translation import Quality
    from mmstream.translation.pairs import Pair

MANIFEST = (".jsonl", ".json")


def evaluate_translation(
    path: Annotated[
        Path,
        typer.Argument(metavar="TSV", help="Lines of sentence TAB translation (.gz too); or a manifest of speech."),
    ],
    source: Annotated[str, typer.Option(help="Language of the sentences, such as en.")],
    target: Annotated[str, typer.Option(help="Language of the translations, such as de.")],
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="Translator: auto, mt-en-de, ..., or a folder."),
    ] = "auto",
    simultaneous: Annotated[
        bool, typer.Option("--simultaneous", help="Play it as speech at 1.0x, and measure how far words are behind.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="With --simultaneous: NAME or NAME=K, such as wait_k=5; several are compared."),
    ] = None,
    recogniser: Annotated[str, typer.Option(help="With --simultaneous: what recognises the speech.")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many sentences.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write each sentence, its reference and its translation here.")
    ] = None,
    as_json: Json = False,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Measure a translator: BLEU and chrF (sacrebleu), empty and repeated output, and speed.

    The same sentences are measured again as recognisers write them ("bare"): in lower case, without punctuation.

    --simultaneous plays speech at 1.0x through the pipeline and adds how far the translation is behind: LAAL by the
    media heard and by the clock, in seconds; from the transcript's stable words to the translation's ("behind"); and
    how often shown words are revised. Its input is a manifest with "translations", or a TSV, whose sentences flite
    speaks. Definitions: README, "Measuring".

    Examples:

        mmstream evaluate-translation tatoeba_dev.en-de.tsv --source en --target de --model mt-en-de --json

        mmstream evaluate-translation dev.tsv --source en --target fr --model ./my-translator --output out.tsv

        mmstream evaluate-translation dev.tsv --source en --target de --simultaneous --limit 40 --policy alignatt
    """
    source, target = checked(source), checked(target)
    from mmstream.translation.models import check

    check(model, source, [target])
    if not simultaneous:
        heard = {"--recogniser": recogniser != "auto", "--pipeline": pipeline, "--set": sets, "--allow": allow}
        for option, given in {"--policy": policy, **heard}.items():
            if given:
                raise MmstreamError(f"{option} needs --simultaneous")
        figures = _measure(path, source, target, model, limit, output)
    else:
        from mmstream.evaluation.talks import Playing
        from mmstream.registry import resolve

        playing = Playing(
            resolve(recogniser, source), model, source, target, {}, pipeline, tuple(sets or ()), tuple(allow or ())
        )
        if output is not None:
            raise MmstreamError("--output is for sentences: drop it, or --simultaneous")
        figures = _play(path, playing, _policies(policy or ["alignatt"]), limit)
    if not as_json:
        _show(figures)
    print_json(figures)


def _measure(
    path: Path, source: str, target: str, model: str, limit: int | None, output: Path | None
) -> Mapping[str, Any]:
    """Sentence pairs, as they are written and as recognisers write."""
    from mmstream.evaluation.translation import translated
    from mmstream.translation.models import chosen, load
    from mmstream.translation.pairs import read_pairs
    from mmstream.translation.variants import bare

    if path.suffix in MANIFEST:
        raise MmstreamError(f"{path}: a manifest of speech needs --simultaneous")
    pairs = read_pairs(path)[:limit]
    named, _ = chosen(model, source, [target])[target]
    with contextlib.ExitStack() as stack:
        details = stack.enter_context(AtomicFile(output)) if output is not None else None  # a fault shows before work
        engine = load(model, source, [target])[target]
        bar = stack.enter_context(_progress())
        task = bar.add_task("sentences", total=2 * len(pairs))
        written, plain = (
            translated(engine, pairs, source, target, spelt=spelt, told=lambda count: bar.advance(task, count))
            for spelt in (str, bare)
        )
        if details is not None:
            _write(details, pairs, written.texts)
    quality, bare_quality = written.quality(target), plain.quality(target)
    about = {"model": named, "source": source, "target": target}
    return {**about, **quality.to_json(), "bare": _short(bare_quality)}


def _short(quality: Quality) -> dict[str, Any]:
    return {
        "bleu": round(quality.bleu.score, 2), "chrf": round(quality.chrf.score, 2),
        "empty": quality.empty, "repeated": quality.repeated,
    }  # fmt: skip


def _play(path: Path, playing: Any, policies: Mapping[str, Mapping[str, Any]], limit: int | None) -> Mapping[str, Any]:
    """Speech, once with each policy."""
    from dataclasses import replace

    from mmstream.evaluation.simultaneous import lag
    from mmstream.evaluation.talks import played
    from mmstream.evaluation.translation import scores
    from mmstream.translation.models import chosen

    found, seconds = {}, 0.0
    with tempfile.TemporaryDirectory(prefix="mmstream-") as folder:
        clips = _clips(path, playing.source, playing.target, Path(folder), limit)
        with _progress() as bar:
            task = bar.add_task("clips", total=len(clips) * len(policies))
            for name, arguments in policies.items():
                talks, errors = played(clips, replace(playing, policy=arguments), lambda: bar.advance(task))
                seconds = sum(one.seconds for one in talks)
                bleu, chrf = scores([one.text for one in talks], [one.reference for one in talks], playing.target)
                found[name] = {
                    "bleu": {"score": round(bleu.score, 2), "signature": bleu.signature},
                    "chrf": {"score": round(chrf.score, 2), "signature": chrf.signature},
                    **lag(talks).to_json(), "wer": round(errors.wer, 4),
                }  # fmt: skip
    named, _ = chosen(playing.translator, playing.source, [playing.target])[playing.target]
    about = {"model": named, "source": playing.source, "target": playing.target}
    heard = {"recogniser": playing.recogniser.name, "clips": len(clips), "seconds": round(seconds, 1)}
    return {**about, **heard, "policies": found}


def _clips(path: Path, source: str, target: str, folder: Path, limit: int | None) -> Sequence[Entry]:
    """The speech of a manifest, or a TSV's sentences spoken into ``folder``."""
    from mmstream.evaluation.manifest import read_manifest
    from mmstream.evaluation.speaking import ENGLISH, spoken
    from mmstream.translation.pairs import read_pairs

    if path.suffix in MANIFEST:
        return read_manifest(path)[:limit]
    if primary(source) != ENGLISH:
        raise MmstreamError(f"{path}: flite speaks English, not {source}; give a manifest of speech")
    return spoken(read_pairs(path)[:limit], folder, target)


def _policies(texts: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Arguments of the translator by what the user has called them: ``wait_k=5``.

    Raises:
        MmstreamError: there is no such policy, or it does not take that number.
    """
    from operators.translation.policies import policy_named

    found: dict[str, Mapping[str, Any]] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if number and not number.removeprefix("-").isdecimal():
            raise MmstreamError(f"--policy {text}: {number!r} is no number: write for example wait_k=5")
        k = int(number) if number else None
        try:
            policy_named(name, k)  # type: ignore[arg-type]
        except ValueError as fault:
            raise MmstreamError(f"--policy {text}: {fault}") from fault
        found[text] = {"policy": name} if k is None else {"policy": name, "k": k}
    return found


def _write(file: AtomicFile, pairs: Sequence[Pair], texts: Sequence[str]) -> None:
    for (sentence, reference), text in zip(pairs, texts, strict=True):
        file.write(f"{sentence}\t{reference}\t{text}\n")


def _show(figures: Mapping[str, Any]) -> None:
    """A table for people: one of metrics, or one with a row for each policy."""
    policies = figures.get("policies")
    if policies is None:
        table = Table("metric", "value", show_header=False, box=None)
        for name, value in figures.items():
            table.add_row(name, _shown(value))
    else:
        names = ("BLEU", "chrF", "LAAL s", "by the clock", "behind s p50", "p90", "revised", "changed")
        table = Table(Column("policy", no_wrap=True), *names, box=None, padding=(0, 1, 0, 0))
        for name, one in policies.items():
            behind = one["behind_s"] or {}
            lags = [one["laal_s"], one["laal_ca_s"], behind.get("p50"), behind.get("p90")]
            rest = [one["revision_rate"], one["changed_stable_words"]]
            table.add_row(name, *map(_shown, [one["bleu"]["score"], one["chrf"]["score"], *lags, *rest]))
    Console(highlight=False, soft_wrap=True).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        if "signature" in value:
            return f"{_shown(value['score'])}\n{value['signature']}"
        return "  ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _progress() -> Progress:
    """On standard error, where a person watches."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
