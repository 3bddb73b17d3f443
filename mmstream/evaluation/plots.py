"""The curves of a sweep as PNG files."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmstream.atomic import sync_folder
from mmstream.core import MmstreamError
from mmstream.evaluation.cells import FRACTIONS, KINDS, OFFSETS_MS, SNRS_DB, VIDEO_SNRS_DB
from mmstream.evaluation.conditions import Condition
from mmstream.evaluation.report import Cell, Report, snr

COLOURS = {"audio": "#c1440e", "video": "#5b7a99", "av": "#1a6b3c"}
NAMES = {"audio": "sound alone", "video": "lips alone", "av": "sound and lips"}
MARKS = {"random": "o", "burst": "s", "all": "^"}
KIND_COLOURS = {"random": "#1a6b3c", "burst": "#3d5a98", "all": "#8a5a9e"}
WIDTH_IN, HEIGHT_IN, DPI = 7.5, 4.8, 130


def import_matplotlib() -> Any:
    """The Figure class, which draws without a screen.

    Raises:
        MmstreamError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise MmstreamError("--sweep draws with matplotlib, which is missing: pip install matplotlib") from fault
    return Figure


def write_plots(report: Report, folder: Path) -> list[Path]:
    """``wer-by-snr.png`` and, for a model that looks, ``wer-by-missing-video.png`` and ``wer-by-offset.png``.

    Raises:
        MmstreamError: one cannot be written.
    """
    drawn = {"wer-by-snr.png": _by_snr(report)}
    if "video" in report.media:
        drawn |= {"wer-by-missing-video.png": _by_missing_video(report), "wer-by-offset.png": _by_offset(report)}
    return [_save(figure, folder / name) for name, figure in drawn.items()]


def _by_snr(report: Report) -> Any:
    figure, axes = _figure(report, f"WER of {report.model} by noise", 1)
    places = list(range(len(SNRS_DB)))
    for modality in ("audio", "video", "av") if "video" in report.media else ("audio",):
        levels = [None] * len(SNRS_DB) if modality == "video" else SNRS_DB
        cells = [report.cells[Condition(modality, level)] for level in levels]
        style = "--" if modality == "video" else "-"
        _curve(axes[0], places, cells, NAMES[modality], COLOURS[modality], "", style)
    axes[0].set_xticks(places, [snr(level) for level in SNRS_DB])
    axes[0].set_xlabel("speech over noise")
    _finish(axes)
    return figure


def _by_missing_video(report: Report) -> Any:
    figure, axes = _figure(report, f"WER of {report.model} by missing video", len(VIDEO_SNRS_DB))
    for axis, level in zip(axes, VIDEO_SNRS_DB, strict=True):
        for kind in KINDS:
            cells = [report.cells[Condition("av", level, fraction, kind)] for fraction in FRACTIONS]
            name = {"random": "single frames lost", "burst": "one burst lost", "all": "clips without video"}[kind]
            _curve(axis, [100 * fraction for fraction in FRACTIONS], cells, name, KIND_COLOURS[kind], MARKS[kind])
        _sound_alone(axis, report.cells[Condition("audio", level)])
        axis.set_title(snr(level), fontsize=10)
        axis.set_xlabel("video lost, %")
    _finish(axes)
    return figure


def _by_offset(report: Report) -> Any:
    figure, axes = _figure(report, f"WER of {report.model} by offset of video", len(VIDEO_SNRS_DB))
    for axis, level in zip(axes, VIDEO_SNRS_DB, strict=True):
        cells = [report.cells[Condition("av", level, av_offset_ms=float(offset_ms))] for offset_ms in OFFSETS_MS]
        _curve(axis, OFFSETS_MS, cells, NAMES["av"], COLOURS["av"], "o")
        _sound_alone(axis, report.cells[Condition("audio", level)])
        axis.set_title(snr(level), fontsize=10)
        axis.set_xlabel("video late by, ms")
    _finish(axes)
    return figure


def _figure(report: Report, title: str, columns: int) -> tuple[Any, Sequence[Any]]:
    figure = import_matplotlib()(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    figure.suptitle(title, fontsize=12)
    figure.text(0.5, 0.015, textwrap.fill(report.caption, 110), ha="center", va="bottom", fontsize=7.5, color="#444444")
    figure.subplots_adjust(left=0.09, right=0.98, top=0.87, bottom=0.22, wspace=0.22)
    return figure, axes


def _curve(
    axis: Any, places: Sequence[float], cells: Sequence[Cell], name: str, colour: str, mark: str, style: str = "-"
) -> None:
    """WER with a band for its interval."""
    rates = [100 * cell.rates.wer for cell in cells]
    low, high = ([100 * cell.rates.wer_ci[end] for cell in cells] for end in (0, 1))
    axis.plot(places, rates, style, color=colour, marker=mark or "o", markersize=4.5, linewidth=1.6, label=name)
    axis.fill_between(places, low, high, color=colour, alpha=0.14, linewidth=0)


def _sound_alone(axis: Any, cell: Cell) -> None:
    """The bound that video must not break: WER of sound alone and half a point."""
    low, high = cell.rates.wer_ci
    axis.axhline(100 * cell.rates.wer, color=COLOURS["audio"], linestyle="--", linewidth=1.4, label=NAMES["audio"])
    axis.axhspan(100 * low, 100 * high, color=COLOURS["audio"], alpha=0.08, linewidth=0)


def _finish(axes: Sequence[Any]) -> None:
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, framealpha=0.85)
    axes[0].set_ylabel("WER, %")


def _save(figure: Any, path: Path) -> Path:
    """Write the picture whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(drawn.getvalue())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as fault:
        partial.unlink(missing_ok=True)
        raise MmstreamError(f"{path}: cannot be written: {fault.strerror or fault}") from fault
    return path
