"""Training from start, or from where it was stopped, to its last step."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import DataLoader

from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError
from mmstream.training import measure
from mmstream.training.batches import Batch
from mmstream.training.card import Source
from mmstream.training.config import Config
from mmstream.training.config_file import named
from mmstream.training.corpora import Corpora
from mmstream.training.export import SOURCES
from mmstream.training.reports import Reports, word_errors
from mmstream.training.together import ALONE, Together
from mmstream.training.trainer import Trainer, Upcoming, learning_rate

log = logging.getLogger(__name__)

Stopping = Callable[[], bool]


def train(
    config: Config, corpora: Corpora, run: Path, *, stopping: Stopping, console: Console, together: Together = ALONE
) -> int:
    """Train until the last step or until ``stopping`` says so; gives the steps done. A checkpoint is written last.

    In several processes all call this; the first of them writes and measures.

    Raises:
        MmstreamError: the loss is no number, the disk is full, the checkpoint in ``run`` is of another net, or
            another process trains there.
    """
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    with contextlib.ExitStack() as stack:
        reports = None
        if together.rank == 0:
            stack.enter_context(only_one(run))
        trainer = Trainer(config, corpora, run, together)
        if together.rank == 0:
            note_sources(sources_of(config), run)
            reports = stack.enter_context(Reports(run, trainer.step, config.optimiser.steps, console, word_errors))
            parameters = sum(one.numel() for one in trainer.net.parameters())
            begun = f"going on after step {trainer.step}" if trainer.step else "from the start"
            log.info("%.2f million parameters, %s, %s", parameters / 1e6, trainer.precision, begun)
        _run(trainer, config, corpora, reports, stopping, together)
        return trainer.step


def _run(
    trainer: Trainer, config: Config, corpora: Corpora, reports: Reports | None, stopping: Stopping, together: Together
) -> None:
    last, saved = config.optimiser.steps, trainer.step

    def measured() -> None:
        wanted = due(trainer.step, config.run.evaluate_every, last)
        if reports is not None and wanted and trainer.step > reports.measured:
            with contextlib.suppress(measure.Stopped):  # it is made up for when training goes on
                reports.metrics(_metrics(trainer, config, corpora, stopping))

    if trainer.step:
        measured()
    batches = _batches(trainer, config, together)
    while trainer.step < last and not _all_stop(stopping, together, trainer):
        parts = dict(zip(trainer.feeders, next(batches), strict=True))
        terms, norm = trainer.advance(parts)
        if reports is None:
            continue
        rate = learning_rate(trainer.step - 1, config.optimiser)
        reports.step(trainer.step, terms, gradients=norm, learning_rate=rate)
        measured()
        if due(trainer.step, config.run.checkpoint_every, last):
            trainer.save()
            saved = trainer.step
    if reports is not None and trainer.step > saved:
        trainer.save()


def _metrics(trainer: Trainer, config: Config, corpora: Corpora, stopping: Stopping) -> dict[str, Any]:
    """One line of metrics.jsonl, without anything that differs from one run of the same config to the next."""
    sets = {
        name: measure.measured(trainer.average, corpora.dev[name], one.measured, trainer.precision, stopping)
        for name, one in zip(named(config.data.dev), config.data.dev, strict=True)
    }
    return {"step": trainer.step, "loss": trainer.losses_since(), "sets": sets}


def due(step: int, every: int, last: int) -> bool:
    """Whether something that is done now and then, and at the end, is to be done after ``step``."""
    return step % every == 0 or step == last


def _all_stop(stopping: Stopping, together: Together, trainer: Trainer) -> bool:
    """Whether the first process wants to stop: all must leave at the same step, or the others wait for ever."""
    wish = float(stopping()) if together.rank == 0 else 0.0
    return bool(together.add(torch.tensor(wish, device=trainer.precision.device)))


def _batches(trainer: Trainer, config: Config, together: Together) -> Iterator[Sequence[Batch | None]]:
    upcoming = Upcoming(trainer.feeders, trainer.step, config.optimiser.steps, together)
    loaders = config.run.loaders
    return iter(
        DataLoader(
            upcoming, batch_size=None, shuffle=False, num_workers=loaders,
            prefetch_factor=4 if loaders else None, worker_init_fn=_quiet,
        )
    )  # fmt: skip


def _quiet(loader: int) -> None:
    """In a loader's process: one thread, and no mind for Ctrl-C, which is for the process that trains."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def only_one(run: Path) -> Iterator[None]:
    """No other process trains in ``run`` meanwhile."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as fault:
        raise MmstreamError(f"{run}: cannot be written: {fault.strerror or fault}") from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as fault:
        raise MmstreamError(f"{run}: another process trains there; name another folder with --run") from fault
    finally:
        os.close(descriptor)


def sources_of(config: Config) -> list[Source]:
    """What the model card says of the training data."""
    sets = zip(named(config.data.train), config.data.train, strict=True)
    told = [(name, one.about, one.manifest.as_posix()) for name, one in sets]
    if config.data.noise is not None:
        told.append(("noise", config.data.noise.about, config.data.noise.folder.as_posix()))
    return [
        Source(name, about.what or place, about.licence or "not stated", about.attribution, about.closed_grammar)
        for name, about, place in told
    ]


def note_sources(sources: Sequence[Source], run: Path) -> None:
    """Keep with a run what it is trained on, for ``export``."""
    with AtomicFile(run / SOURCES) as file:
        file.write(json.dumps([asdict(one) for one in sources], indent=2) + "\n")
