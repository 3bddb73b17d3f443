"""One training run under way: the net, its average over steps, the optimisers, and what one step does to them.

A step is a function of the state before it: batches are drawn by epoch, torch's draws are seeded with the step. So a
run that was stopped or killed goes on from its checkpoint as if nothing had happened.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn

from mmstream.core import MmstreamError
from mmstream.nets.translation import TranslationNet, padding_mask, seeded
from mmstream.training import checkpoint
from mmstream.training.checkpoint import Checkpoint
from mmstream.training.precision import Precision, chosen
from mmstream.training.translation.batches import Batch, served
from mmstream.training.translation.config import Config, Schedule
from mmstream.training.translation.corpus import Corpus
from mmstream.training.translation.loss import smoothed_cross_entropy, worth_scoring
from mmstream.training.translation.optimiser import Muon, groups

BEFORE_FALL = "before-fall.pt"  # where the learning rate began to fall: a longer run goes on from here


class Trainer:
    """State of a run after ``step`` steps."""

    def __init__(self, config: Config, corpus: Corpus, run: Path) -> None:
        """Begin, or go on from the checkpoint in ``run`` where there is one.

        Raises:
            MmstreamError: the checkpoint is damaged or of another net; there is no such device.
        """
        self._config, self._corpus, self._run = config, corpus, run
        self.precision: Precision = chosen(config.run.device, config.run.precision)
        torch.manual_seed(config.run.seed)
        self.net = TranslationNet(config.net).to(self.precision.device)
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()
        self._rounded = copy.deepcopy(self.net)  # what is computed with: as it is rounded once a step, not per batch
        if self.precision.bfloat16:
            for one in self._rounded.modules():
                if isinstance(one, nn.Linear):
                    one.bfloat16()
        matrices, rest = groups(self.net)
        wanted = config.optimiser
        self._muon = Muon(matrices, wanted.lr, wanted.momentum, wanted.weight_decay)
        self._adam = torch.optim.AdamW(rest, lr=wanted.adam_lr, betas=wanted.betas, weight_decay=0.0)
        self.step, self.epoch, self._at = 0, 0, 0
        self._loss, self._tokens = 0.0, 0  # since the last report
        self._restore()
        # Threads that share every operation wait for one another at each; threads with a batch each, once a step.
        threads = torch.get_num_threads() if self.precision.device.type == "cpu" else 1
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self._served = served(corpus, config.mix, config.run.seed, self.epoch, self._at)

    def advance(self) -> tuple[float, int]:
        """One step; gives the loss per token, and over how many tokens.

        Raises:
            MmstreamError: the loss or a gradient is no number.
        """
        batches, epoch, at = next(self._served)
        share = rate(self.step, self._config.optimiser)
        rates = (self._muon, self._config.optimiser.lr), (self._adam, self._config.optimiser.adam_lr)
        for optimiser, highest in rates:
            for group in optimiser.param_groups:
                group["lr"] = highest * share
        loss = self._backward(batches)
        norm = float(nn.utils.get_total_norm([one.grad for one in self.net.parameters() if one.grad is not None]))
        if not math.isfinite(loss + norm):
            raise MmstreamError(
                f"step {self.step + 1}: the loss is {loss}, the norm of the gradients {norm}; try a lower optimiser.lr"
            )
        for optimiser, _ in rates:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self._follow()
        tokens = sum(batch.tokens for batch in batches)
        self.step, self.epoch, self._at = self.step + 1, epoch, at
        self._loss, self._tokens = self._loss + loss * tokens, self._tokens + tokens
        return loss, tokens

    def loss_since(self) -> float:
        """Mean loss per token since this was last asked."""
        loss = self._loss / max(1, self._tokens)
        self._loss, self._tokens = 0.0, 0
        return loss

    def save(self, name: str = checkpoint.NAME) -> None:
        """Write a checkpoint.

        Raises:
            MmstreamError: it cannot be written.
        """
        going = {"epoch": self.epoch, "at": self._at, "fall": self._config.optimiser.fall}
        checkpoint.save(self._run / name, Checkpoint(
            self.net.state_dict(), self.average.state_dict(),
            {"muon": self._muon.state_dict(), "adam": self._adam.state_dict(), **going},
            step=self.step, cfg=self._config.net.as_dict(), recent={"loss": [self._loss, self._tokens]},
        ))  # fmt: skip

    def _restore(self) -> None:
        path = self._run / checkpoint.NAME
        if not path.exists():
            return
        stored = checkpoint.load(path)
        fall = stored.opt.get("fall", 0)
        if fall < min(stored.step, self._config.optimiser.fall) and (self._run / BEFORE_FALL).exists():
            path = self._run / BEFORE_FALL  # it fell, and now is to fall later
            stored = checkpoint.load(path)
        checkpoint.check_same_net(path, stored, self._config.net)
        try:
            self.net.load_state_dict(stored.net)
            self.average.load_state_dict(stored.ema)
            self._muon.load_state_dict(stored.opt["muon"])
            self._adam.load_state_dict(stored.opt["adam"])
            self.epoch, self._at = stored.opt["epoch"], stored.opt["at"]
            (self._loss, tokens), self.step = stored.recent["loss"], stored.step
            self._tokens = int(tokens)
        except (RuntimeError, ValueError, KeyError, TypeError) as fault:
            said = " ".join(str(fault).split())
            raise MmstreamError(f"{path}: does not fit the net that it describes: {said}") from fault

    def _backward(self, batches: Sequence[Batch]) -> float:
        """Fill in the gradients of the mean loss per token; gives the loss."""
        with torch.no_grad():
            for rounded, weight in zip(self._rounded.parameters(), self.net.parameters(), strict=True):
                rounded.copy_(weight)
        total = sum(batch.tokens for batch in batches)
        jobs = [(batch, total, 64 * self.step + number) for number, batch in enumerate(batches)]
        found = list(self._pool.map(self._gradients, jobs))
        for weight, *parts in zip(self.net.parameters(), *(gradients for _, gradients in found), strict=True):
            weight.grad = parts[0].float()
            for part in parts[1:]:
                weight.grad += part
        return sum(loss for loss, _ in found)

    def _gradients(self, job: tuple[Batch, int, int]) -> tuple[float, tuple[torch.Tensor, ...]]:
        """Of one batch: its part of the loss, and the gradients of that."""
        batch, total, number = job
        net, device = self._rounded, self.precision.device
        source, target, wanted = (one.to(device) for one in batch)
        scored = worth_scoring(wanted.flatten())
        with seeded(1_000_003 * self._config.run.seed + number, device):
            with self.precision.autocast():
                mask = padding_mask(source)
                steps = net.decode(target, net.encode(source, mask), mask)
            loss = smoothed_cross_entropy(
                steps.flatten(0, 1)[scored],
                net.embedding,
                wanted.flatten()[scored],
                self._config.optimiser.smoothing,
                1 / total,
            )
        return float(loss.detach()), torch.autograd.grad(loss, list(net.parameters()))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the net: by much at first, by 1 - ema at least."""
        decay = min(self._config.optimiser.ema, (self.step + 1) / (self.step + 20))
        for mean, weight in zip(self.average.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)


def rate(step: int, config: Schedule) -> float:
    """Of the step after ``step``, as a share of the highest: up in a line, level, down as one minus a square root.

    Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations", NeurIPS 2024.
    """
    warm = min(1.0, (step + 1) / config.warmup)
    fallen = (step - config.fall) / max(1, config.cooldown)
    return warm * (1 - math.sqrt(min(1.0, max(0.0, fallen))))
