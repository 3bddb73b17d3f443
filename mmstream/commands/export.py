"""``mmstream export``: a trained recogniser or translator with a description and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from mmstream.commands.options import Json, print_json
from mmstream.core import MmstreamError

if TYPE_CHECKING:
    from mmstream.nets.weights import Precision
    from mmstream.training.translation import ctranslate


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training run, with its checkpoint last.pt.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, model.json and MODEL_CARD.md.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="The run's YAML file: what the model card says of the data.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Matrices in int8: the smallest.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="Weights unrounded: the largest.")] = False,
    as_json: Json = False,
) -> None:
    """Write the weights of a training run (their average over steps) for mmstream to load.

    Says how far the rounding moved the output. A recogniser gets float16 unless told otherwise, and --int8 saves
    size, not time: its matrices are floating point again once loaded. A translator gets int8, which CTranslate2
    computes with.

    Examples:

        mmstream export runs/avsr --output out/avsr --config configs/avsr.yaml

        mmstream export runs/avsr --output out/avsr-int8 --int8 --json

        mmstream export runs/mt --output out/mt --config configs/mt.yaml
    """
    if int8 and float32:
        raise MmstreamError("--int8 and --float32 exclude each other")
    from mmstream.training.export import export as write
    from mmstream.training.export import recorded_sources
    from mmstream.training.translation.export import is_run

    if is_run(run):
        _export_translator(run, output, config, precision="float32" if float32 else "int8", as_json=as_json)
        return
    sources = recorded_sources(run)
    if config is not None:
        from mmstream.training.config_file import read_config
        from mmstream.training.loop import sources_of

        sources = sources_of(read_config(config))

    precision: Precision = "int8" if int8 else "float32" if float32 else "float16"
    made = write(run, output, precision=precision, sources=sources)
    said = (
        f"mmstream: {made.folder}: {made.parameters / 1e6:.2f} million parameters in {made.bytes / 1e6:.1f} MB "
        f"({precision}); rounding moved probabilities by {made.difference:.4f} at most and left "
        f"{100 * made.agreement:.2f}% of the best tokens as they were"
    )
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(said))
    if as_json:
        figures = {"bytes": made.bytes, "parameters": made.parameters, "precision": precision}
        print_json({"folder": str(made.folder), **figures, "difference": made.difference, "agreement": made.agreement})


def _export_translator(
    run: Path, output: Path, config: Path | None, *, precision: ctranslate.Precision, as_json: bool
) -> None:
    from mmstream.training.export import recorded_sources
    from mmstream.training.translation.config_file import read_config
    from mmstream.training.translation.export import export as write
    from mmstream.training.translation.loop import sources_of

    sources = recorded_sources(run) if config is None else sources_of(read_config(config))
    made = write(run, output, precision=precision, sources=sources)
    said = (
        f"mmstream: {made.folder}: {made.parameters / 1e6:.2f} million parameters in {made.bytes / 1e6:.1f} MB "
        f"({precision}); {100 * made.agreement:.1f}% of the tokens of some translations are where they were"
    )
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(said))
    if as_json:
        figures = {"bytes": made.bytes, "parameters": made.parameters, "precision": precision}
        print_json({"folder": str(made.folder), **figures, "agreement": made.agreement})
