"""Training from start, or from where it was stopped, to its last step."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from mmstream.training.card import Source
from mmstream.training.loop import Stopping, due, note_sources, only_one
from mmstream.training.measure import Stopped
from mmstream.training.reports import Reports
from mmstream.training.translation.config import Config, PairSet
from mmstream.training.translation.corpus import Corpus, check_apart, open_corpus
from mmstream.training.translation.measure import measured, scorer, told
from mmstream.training.translation.trainer import BEFORE_FALL, Trainer, rate
from mmstream.translation.pairs import Pair, read_pairs

SHAPES = "8192"  # matrices for which oneDNN keeps machine code; its default is less than a run has

log = logging.getLogger(__name__)

Dev = Mapping[str, Sequence[Pair]]


def train(config: Config, run: Path, *, stopping: Stopping, console: Console) -> int:
    """Train until the last step or until ``stopping`` says so; gives the steps done. A checkpoint is written last.

    Raises:
        MmstreamError: a dev sentence is in training, the loss is no number, the disk is full, the checkpoint in
            ``run`` is of another net, or another process trains there.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", SHAPES)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    with contextlib.ExitStack() as stack:
        stack.enter_context(only_one(run))
        corpus, dev = prepared(config, run)
        trainer = Trainer(config, corpus, run)
        note_sources(sources_of(config), run)
        reports = stack.enter_context(Reports(run, trainer.step, config.optimiser.steps, console, told))
        parameters = sum(one.numel() for one in trainer.net.parameters())
        begun = f"going on after step {trainer.step}" if trainer.step else "from the start"
        log.info("%.2f million parameters, %s, %s", parameters / 1e6, trainer.precision, begun)
        _run(trainer, config, corpus, dev, reports, stopping)
        return trainer.step


def prepared(config: Config, run: Path) -> tuple[Corpus, Dev]:
    """The corpus of a config, made in ``run`` where it is not there yet, and its dev sets.

    Raises:
        MmstreamError: a file cannot be read; a dev sentence is in training.
    """
    if config.data.dev:
        scorer()  # says at once what would be missing later
    train_pairs, dev = _read(config.data.train), _read(config.data.dev)
    check_apart(train_pairs, dev)
    return open_corpus(train_pairs, config.net.vocabulary, run), dev


def sources_of(config: Config) -> list[Source]:
    """What the model card says of the training data."""
    return [
        Source(
            one.name or one.file.name, one.about.what or f"pairs into {one.language}",
            one.about.licence or "not stated", one.about.attribution,
        )
        for one in config.data.train
    ]  # fmt: skip


def _run(trainer: Trainer, config: Config, corpus: Corpus, dev: Dev, reports: Reports, stopping: Stopping) -> None:
    last, saved = config.optimiser.steps, trainer.step
    begun, tokens = time.monotonic(), 0

    def measure() -> None:
        nonlocal begun, tokens
        if due(trainer.step, config.run.evaluate_every, last) and trainer.step > reports.measured:
            log.debug("%.0f tokens per second", tokens / (time.monotonic() - begun))
            with contextlib.suppress(Stopped):  # it is made up for when training goes on
                reports.metrics(_metrics(trainer, config, corpus, dev, stopping))
            begun, tokens = time.monotonic(), 0

    if trainer.step:
        measure()
    while trainer.step < last and not stopping():
        if trainer.step == config.optimiser.fall:
            trainer.save(BEFORE_FALL)
        loss, seen = trainer.advance()
        tokens += seen
        speed = tokens / (time.monotonic() - begun)
        share = rate(trainer.step - 1, config.optimiser)
        reports.step(trainer.step, {"loss": loss}, learning_rate=share, tokens_per_second=speed)
        measure()
        if due(trainer.step, config.run.checkpoint_every, last):
            trainer.save()
            saved = trainer.step
    if trainer.step > saved:
        trainer.save()


def _metrics(trainer: Trainer, config: Config, corpus: Corpus, dev: Dev, stopping: Stopping) -> dict[str, Any]:
    """One line of metrics.jsonl, without anything that differs from one run of the same config to the next."""
    few = config.data.dev_sentences if trainer.step < config.optimiser.steps else None
    sets = {
        language: measured(trainer.average, corpus.model, pairs[:few], language, trainer.precision, stopping)
        for language, pairs in dev.items()
    }
    return {"step": trainer.step, "loss": {"per_token": trainer.loss_since()}, "sets": sets}


def _read(sets: Sequence[PairSet]) -> Dev:
    """All pairs of each language."""
    found: dict[str, list[Pair]] = {}
    for one in sets:
        found.setdefault(one.language, []).extend(read_pairs(one.file))
    return found
