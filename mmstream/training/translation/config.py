"""What a training run of the translation net is made of; every field is a key of the same name in its YAML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mmstream.nets.translation import TranslationConfig
from mmstream.training.config import About

LARGEST_VOCABULARY = 2**16  # tokens are kept in 16 bits


@dataclass(frozen=True, slots=True)
class PairSet:
    """A file of sentence pairs, source TAB target, gzipped or not, into one language."""

    file: Path
    language: str  # BCP 47: de, pt-BR
    name: str = ""  # for the model card; by default after the file
    about: About = field(default_factory=About)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", self.language):
            raise ValueError(f"language must be a BCP 47 code such as de or pt-BR, is {self.language!r}")


@dataclass(frozen=True, slots=True)
class Pairs:
    """What to learn from, and what to measure on."""

    train: tuple[PairSet, ...]
    dev: tuple[PairSet, ...] = ()
    dev_sentences: int = 200  # of each dev set while training goes on; at its end all are measured

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one set")
        if self.dev_sentences < 1:
            raise ValueError(f"dev_sentences must be at least 1, is {self.dev_sentences}")
        known = {one.language for one in self.train}
        for one in self.dev:
            if one.language not in known:
                raise ValueError(f"dev has a set into {one.language}, which no training set is into")


@dataclass(frozen=True, slots=True)
class Mix:
    """How pairs are served. Chances of a source's variants; the rest is as written."""

    tokens: int = 2000  # most of a batch, padding included, on either side
    batches: int = 4  # of one step, each of sentences of about one length
    spoken_chance: float = 0.2  # lower case, no punctuation but apostrophes
    bare_chance: float = 0.13  # lower case, no punctuation
    protected_chance: float = 0.05  # names and numbers as place-holders, where there are any
    join_chance: float = 0.04  # two pairs as one

    def __post_init__(self) -> None:
        for name in ("tokens", "batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")
        for name in ("spoken_chance", "bare_chance", "protected_chance", "join_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, is {getattr(self, name):g}")
        if self.spoken_chance + self.bare_chance + self.protected_chance > 1:
            raise ValueError("spoken_chance, bare_chance and protected_chance must together be at most 1")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Muon for matrices, AdamW for the rest; a linear warm-up, a constant rate, a fall to zero at the end.

    The fall can be put off: a run whose ``steps`` are raised goes on from where its fall began.
    """

    lr: float = 0.01  # of Muon
    adam_lr: float = 0.002
    steps: int = 4000
    warmup: int = 300
    cooldown: int = 1200  # steps of the fall
    momentum: float = 0.95
    weight_decay: float = 0.03
    betas: tuple[float, float] = (0.9, 0.98)
    ema: float = 0.998  # most that the average over steps keeps of itself at a step
    smoothing: float = 0.1  # of labels

    def __post_init__(self) -> None:
        for name in ("steps", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")
        if not 0 <= self.cooldown <= self.steps:
            raise ValueError(f"cooldown must be 0 to steps ({self.steps}), is {self.cooldown}")
        for name in ("lr", "adam_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, is {getattr(self, name):g}")
        for name in ("momentum", "weight_decay", "ema", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1, is {getattr(self, name):g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be 0 or more and below 1, are {self.betas}")

    @property
    def fall(self) -> int:
        """Steps before the rate falls."""
        return self.steps - self.cooldown


@dataclass(frozen=True, slots=True)
class Running:
    """How the run goes. Nothing here but ``seed``, ``precision`` and ``device`` changes what is learnt."""

    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the machine computes in it
    device: str = "auto"  # cpu, cuda, cuda:1; auto: a GPU where there is one
    threads: int = 0  # each computes batches of its own; 0: as many as there are cores
    checkpoint_every: int = 100  # steps
    evaluate_every: int = 300  # steps

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("threads", 0), ("checkpoint_every", 1), ("evaluate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, is {getattr(self, name)}")
        if self.device not in ("auto", "cpu", "cuda") and not self.device.removeprefix("cuda:").isdecimal():
            raise ValueError(f"device must be auto, cpu, cuda or cuda:NUMBER, is {self.device!r}")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole training run."""

    kind: Literal["translation"]
    data: Pairs
    net: TranslationConfig = field(default_factory=TranslationConfig)
    mix: Mix = field(default_factory=Mix)
    optimiser: Schedule = field(default_factory=Schedule)
    run: Running = field(default_factory=Running)


def check_net(net: TranslationConfig) -> None:
    """See that a net can be built so.

    Raises:
        ValueError: beginning with the field.
    """
    for name in ("dim", "heads", "feed_forward", "encoder_layers", "decoder_layers"):
        if getattr(net, name) < 1:
            raise ValueError(f"{name} must be at least 1, is {getattr(net, name)}")
    if net.dim % (2 * net.heads):
        raise ValueError(f"dim must be a multiple of twice the heads ({2 * net.heads}), is {net.dim}")
    if not 0 <= net.dropout < 1:
        raise ValueError(f"dropout must be 0 or more and below 1, is {net.dropout:g}")
    if not 0 < net.vocabulary <= LARGEST_VOCABULARY:
        raise ValueError(f"vocabulary must be 1 to {LARGEST_VOCABULARY}, is {net.vocabulary}")
