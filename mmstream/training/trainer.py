"""One training run under way: the net, its average over steps, the optimiser, and what one step does to them.

A step is a function of the state before it and of its number: batches are, and torch's draws (dropout) are seeded
with it. So a run that was stopped or killed goes on from its checkpoint as if nothing had happened.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from mmstream.core import MmstreamError
from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig
from mmstream.training import checkpoint
from mmstream.training.batches import Batch, Feeder
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.config import Config, Optimiser
from mmstream.training.config_file import named
from mmstream.training.corpora import Corpora, classes_of, feeders, pieces_of
from mmstream.training.loss import counts, losses
from mmstream.training.precision import Precision, chosen
from mmstream.training.together import ALONE, Together

Parts = Mapping[str, Batch | None]  # of each training set, what this process computes of its batch


class Diverged(MmstreamError):  # noqa: N818 - said of the training
    """The loss or the gradients are no longer numbers."""


class Trainer:
    """State of a run after ``step`` steps."""

    def __init__(self, config: Config, corpora: Corpora, run: Path, together: Together = ALONE) -> None:
        """Begin, or go on from the checkpoint in ``run`` where there is one.

        Raises:
            MmstreamError: the checkpoint is damaged or of another net; there is no such device.
        """
        self._config, self._run, self._together = config, run, together
        self.precision: Precision = chosen(config.run.device, config.run.precision)
        classes = classes_of(corpora) if config.loss.alignment else {}
        pieces = config.net.pieces or pieces_of(config, corpora)
        shape = dataclasses.replace(config.net, alignment_classes=len(classes) + 1 if classes else 0, pieces=pieces)
        self.shape: NetConfig = shape
        torch.manual_seed(config.run.seed)
        self.net = AudioVisualRecogniser(shape).to(self.precision.device)
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.feeders: dict[str, Feeder] = feeders(config, corpora, self.net.vocabulary, classes)
        wanted = config.optimiser
        self._optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=wanted.lr, betas=wanted.betas, weight_decay=wanted.weight_decay
        )
        self._weights = dict(zip(named(config.data.train), (one.weight for one in config.data.train), strict=True))
        self.step = 0
        self.recent: dict[str, list[float]] = {}  # of each term: sum and count since the last report
        if (run / checkpoint.NAME).exists():
            self._restore(run / checkpoint.NAME)
        elif config.begin_with is not None:
            self._begin_with(config.begin_with)

    def advance(self, parts: Parts) -> tuple[dict[str, float], float]:
        """One step; gives the terms of the loss, named CORPUS.TERM, and the norm of the gradients.

        Raises:
            Diverged: the loss or a gradient is not finite; the net is as it was before the step.
        """
        torch.manual_seed(1_000_003 * self._config.run.seed + self.step)
        self.net.train()
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self._config.optimiser)
        totals = self._together.add(torch.stack([counts(part) for part in parts.values()]).to(self.precision.device))
        terms: dict[str, float] = {}
        for (name, part), total in zip(parts.items(), totals, strict=True):
            if part is not None:
                terms |= {f"{name}.{term}": value for term, value in self._backward(name, part, total).items()}
        self._together.add_gradients(self.net.parameters())
        norm = float(nn.utils.clip_grad_norm_(self.net.parameters(), self._config.optimiser.clip))
        if not math.isfinite(norm):
            self._diverged("the norm of the gradients", norm, ", ".join(parts))
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._follow()
        self.step += 1
        for name, value in terms.items():
            held = self.recent.setdefault(name, [0.0, 0.0])
            held[0], held[1] = held[0] + value, held[1] + 1
        return terms, norm

    def losses_since(self) -> dict[str, float]:
        """The mean of each term since this was last asked."""
        means = {name: total / count for name, (total, count) in sorted(self.recent.items())}
        self.recent = {}
        return means

    def save(self) -> None:
        """Write a checkpoint; the one before it stays under its step's number as far as ``run.keep`` says.

        Raises:
            MmstreamError: it cannot be written.
        """
        path = self._run / checkpoint.NAME
        keep = self._config.run.keep
        if keep and path.exists():
            older = self._run / f"step-{checkpoint.load(path).step:08d}.pt"
            older.unlink(missing_ok=True)
            older.hardlink_to(path)
            for surplus in sorted(self._run.glob("step-*.pt"))[:-keep]:
                surplus.unlink()
        state = (self.net.state_dict(), self.average.state_dict(), self._optimiser.state_dict())
        checkpoint.save(path, Checkpoint(*state, step=self.step, cfg=self.shape.as_dict(), recent=self.recent))

    def _restore(self, path: Path) -> None:
        stored = checkpoint.load(path)
        checkpoint.check_same_net(path, stored, self.shape)
        try:
            self.net.load_state_dict(stored.net)
            self.average.load_state_dict(stored.ema)
            self._optimiser.load_state_dict(stored.opt)
        except (RuntimeError, ValueError, KeyError) as fault:
            said = " ".join(str(fault).split())
            raise MmstreamError(f"{path}: does not fit the net that it describes: {said}") from fault
        self.step, self.recent = stored.step, stored.recent

    def _begin_with(self, path: Path) -> None:
        """Take the average of another run as the net, and nothing else of it."""
        stored = checkpoint.load(path)
        checkpoint.check_same_net(path, stored, self.shape)
        for net in (self.net, self.average):
            net.load_state_dict(stored.ema)

    def _backward(self, name: str, part: Batch, totals: torch.Tensor) -> dict[str, float]:
        with self.precision.autocast():
            terms = losses(self.net, self.precision.place(part), self._config.loss, totals)
        loss = torch.stack(list(terms.values())).sum() * self._weights[name]
        if not bool(loss.isfinite()):
            self._diverged("the loss", float(loss.detach()), name)
        torch.autograd.backward(loss)
        return {term: float(value.detach()) for term, value in terms.items()}

    def _diverged(self, what: str, value: float, name: str) -> None:
        kept = self._run / checkpoint.NAME
        first = next(iter(self.feeders[name].planned(self.step)))[0].text if name in self.feeders else ""
        raise Diverged(
            f"step {self.step + 1}: {what} is {value} in batch {self.step} of {name}"
            f"{f' (which begins with {first!r})' if first else ''}; "
            f"{f'{kept} is kept' if kept.exists() else 'there is no checkpoint yet'}; try a lower optimiser.lr"
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the net: by much at first, by 1 - ema at least."""
        decay = min(self._config.optimiser.ema, (self.step + 1) / (self.step + 20))
        for mean, weight in zip(self.average.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for kept, value in zip(self.average.buffers(), self.net.buffers(), strict=True):
            kept.copy_(value)


def learning_rate(step: int, config: Optimiser) -> float:
    """Of the step after ``step``: up in a line, then down in half a cosine to ``floor``."""
    warm = min(1.0, (step + 1) / config.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))
    return config.lr * warm * (config.floor + (1 - config.floor) * cosine)


class Upcoming(torch.utils.data.Dataset[Sequence[Batch | None]]):
    """Batches of the steps from ``first`` to ``last``, for loaders in processes of their own."""

    def __init__(self, feeders: Mapping[str, Feeder], first: int, last: int, together: Together) -> None:
        self._feeders, self._first, self._last, self._together = list(feeders.values()), first, last, together

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: int) -> Sequence[Batch | None]:
        step, mine = self._first + index, (self._together.rank, self._together.size)
        return [feeder.batch(step, *mine) for feeder in self._feeders]
