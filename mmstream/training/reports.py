"""What a run says of itself: metrics.jsonl for machines and the model card, a bar, and curves for TensorBoard.

TensorBoard comes with the extra ``train``; without it a run says so, and goes on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError
from mmstream.training.export import METRICS
from mmstream.training.measure import sets

log = logging.getLogger(__name__)

Figures = Callable[[dict[str, Any]], tuple[str, dict[str, float]]]

MEND = "python -m pip install 'mmstream[train]'"


class Reports:
    """One run's reports, from step ``first`` on: what earlier ones said of later steps is forgotten."""

    def __init__(self, run: Path, first: int, steps: int, console: Console, figures: Figures) -> None:
        """``figures`` makes out of a line of metrics what is told of it."""
        self._figures = figures
        self._path = run / METRICS
        self._lines = _lines_until(self._path, first)
        if self._path.exists():
            self._write()
        self._board = _board(run / "tensorboard", first)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=steps, completed=first)

    @property
    def measured(self) -> int:
        """The last step that was measured; 0 before the first."""
        return int(self._lines[-1]["step"]) if self._lines else 0

    def step(self, step: int, terms: Mapping[str, float], **values: float) -> None:
        """``step`` steps are done; ``terms`` are the parts of the loss of the last one."""
        total = sum(terms.values())
        self._bar.update(self._task, completed=step, description=f"loss {total:.2f}")
        if self._board is not None:
            for name, value in {"loss/total": total, **{f"loss/{one}": terms[one] for one in terms}, **values}.items():
                self._board.add_scalar(name, value, step)

    def metrics(self, line: dict[str, Any]) -> None:
        """An evaluation: one line of metrics.jsonl, the whole file written anew so that it is never half a line."""
        self._lines.append(line)
        self._write()
        said, curves = self._figures(line)
        if self._board is not None:
            for name, value in curves.items():
                self._board.add_scalar(name, value, line["step"])
        loss = sum(line["loss"].values())
        log.info("step %d: loss %.3f%s", line["step"], loss, f"; {said}" if said else "")

    def _write(self) -> None:
        with AtomicFile(self._path) as file:
            for line in self._lines:
                file.write(json.dumps(line) + "\n")

    def __enter__(self) -> Reports:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()


def word_errors(line: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """What a recogniser's line of metrics says, in words and as curves."""
    said: list[str] = []
    curves: dict[str, float] = {}
    for name, modality, figures in sets(line):
        said.append(f"{name} {modality} {100 * figures['wer']:.1f}%")
        curves |= {f"{figure}/{name}/{modality}": figures[figure] for figure in ("wer", "cer", "video")}
    return f"WER: {', '.join(said)}" if said else "", curves


def _lines_until(path: Path, step: int) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [line for line in lines if line["step"] <= step]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise MmstreamError(f"{path}: is no log of a training run ({fault}): move it away") from fault


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no TensorBoard logs: TensorBoard is not installed; run %s", MEND)
        return None
    return SummaryWriter(str(folder), purge_step=first)
