"""What a training run is made of. ``config_file`` reads it from YAML; every field is a key of the same name there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mmstream.nets.recogniser import NetConfig
from mmstream.training.batches import MixConfig
from mmstream.training.loss import LossConfig

Kind = Literal["audio-visual", "audio"]
Modality = Literal["audio", "video", "av"]

N_MELS = 80


@dataclass(frozen=True, slots=True)
class About:
    """What the model card says of a corpus."""

    what: str = ""
    licence: str = ""
    attribution: str = ""
    closed_grammar: str = ""  # where sentences follow a fixed pattern: which


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A manifest to learn from, and how its clips are served."""

    manifest: Path
    kind: Kind = "audio"
    name: str = ""  # in logs; by default after the manifest
    limit: int | None = None  # only the first so many clips
    select: str = ""  # only clips whose media matches this pattern, such as train/s1/b*
    skip_unreadable: bool = False  # leave out clips that cannot be used, instead of stopping
    weight: float = 1.0  # of its loss: less for what cannot be learnt well, so that it does not outweigh the rest
    whole_words: bool = False  # each of its words gets a token of its own
    mix: MixConfig = field(default_factory=MixConfig)
    about: About = field(default_factory=About)

    def __post_init__(self) -> None:
        _at_least(1, limit=self.limit)
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be above 0, is {self.weight:g}")
        _check_mix(self.mix)


@dataclass(frozen=True, slots=True)
class DevSet:
    """A manifest to measure error rates on while training goes on."""

    manifest: Path
    kind: Kind = "audio"
    name: str = ""
    limit: int | None = None
    select: str = ""
    skip_unreadable: bool = False
    modalities: tuple[Modality, ...] = ()  # by default audio, and for audio-visual sets video and av too

    def __post_init__(self) -> None:
        _at_least(1, limit=self.limit)
        if self.kind == "audio" and set(self.modalities) - {"audio"}:
            raise ValueError("modalities of an audio set are [audio]; for others give kind: audio-visual")

    @property
    def measured(self) -> tuple[Modality, ...]:
        return self.modalities or (("audio", "video", "av") if self.kind == "audio-visual" else ("audio",))


@dataclass(frozen=True, slots=True)
class NoiseFolder:
    """Recordings of noise that are mixed under speech."""

    folder: Path
    select: str = "*"  # file names
    about: About = field(default_factory=About)


@dataclass(frozen=True, slots=True)
class Data:
    """What to learn from, and what to measure on."""

    train: tuple[TrainingSet, ...]
    noise: NoiseFolder | None = None
    babble: bool = True  # mix voices of the training sets into noise
    pieces: int = 0  # tokens for pieces of words, learnt from the sets whose words are not whole tokens
    dev: tuple[DevSet, ...] = ()

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one set")
        _at_least(0, pieces=self.pieces)


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW, with a linear warm-up and a cosine down to ``floor``."""

    lr: float = 8e-4  # at its highest
    steps: int = 2000
    warmup: int = 300  # steps
    floor: float = 0.02  # of lr, at the end
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 2.0  # largest norm of all gradients together
    ema: float = 0.999  # most that the average over steps keeps of itself at a step

    def __post_init__(self) -> None:
        _at_least(1, steps=self.steps, warmup=self.warmup)
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, is {getattr(self, name):g}")
        for name in ("floor", "weight_decay", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, is {getattr(self, name):g}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be 0 or more and below 1, are {self.betas}")


@dataclass(frozen=True, slots=True)
class Running:
    """How the run goes. Nothing here but ``seed`` and ``precision`` changes what is learnt."""

    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the machine computes in it
    device: str = "auto"  # cpu, cuda, cuda:1; auto: a GPU where there is one
    workers: int = 1  # processes that share every batch, through Ray Train
    loaders: int = 1  # processes of each worker that make batches ahead; 0: none
    threads: int = 0  # of torch, for each worker; 0: as many as there are cores
    checkpoint_every: int = 200  # steps
    evaluate_every: int = 200  # steps
    keep: int = 0  # older checkpoints that stay, as step-00000200.pt

    def __post_init__(self) -> None:
        _at_least(1, workers=self.workers, checkpoint_every=self.checkpoint_every, evaluate_every=self.evaluate_every)
        _at_least(0, loaders=self.loaders, threads=self.threads, keep=self.keep, seed=self.seed)
        if self.device not in ("auto", "cpu", "cuda") and not self.device.removeprefix("cuda:").isdecimal():
            raise ValueError(f"device must be auto, cpu, cuda or cuda:NUMBER, is {self.device!r}")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole training run."""

    data: Data
    net: NetConfig = field(default_factory=NetConfig)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss: LossConfig = field(default_factory=LossConfig)
    run: Running = field(default_factory=Running)
    begin_with: Path | None = None  # last.pt of an earlier run, whose average a new run begins with: a curriculum


def check_net(net: NetConfig) -> None:
    """See that a recogniser can be built so.

    Raises:
        ValueError: beginning with the field.
    """
    sizes = ("dim", "layers", "heads", "expansion", "chunk", "lookahead")
    _at_least(1, **{name: getattr(net, name) for name in sizes})
    _at_least(2, kernel=net.kernel)
    _at_least(0, left=net.left)
    if net.dim % (2 * net.heads):
        raise ValueError(f"dim must be a multiple of twice the heads ({2 * net.heads}), is {net.dim}")
    if net.n_mels != N_MELS:
        raise ValueError(f"n_mels must be {N_MELS}, as the cached features have them, is {net.n_mels}")
    if net.alignment_classes:
        raise ValueError("alignment_classes is worked out from the data: leave it out")
    if not net.visual_channels or min(net.visual_channels) < 1:
        raise ValueError("visual_channels must name at least one size of 1 or more")
    if not 0 <= net.dropout < 1:
        raise ValueError(f"dropout must be 0 or more and below 1, is {net.dropout:g}")
    if " " not in net.characters or len(set(net.characters)) < len(net.characters):
        raise ValueError("characters must hold a space, and each character once")


def _check_mix(mix: MixConfig) -> None:
    _at_least(1, **{"mix: join": mix.join})
    if not 0 < mix.seconds < float("inf"):
        raise ValueError(f"mix: seconds must be above 0, is {mix.seconds:g}")
    for part, name in ((one, name) for one in (mix, mix.sound, mix.sight) for name in type(one).__dataclass_fields__):
        value = getattr(part, name)
        if name.endswith("_chance") or name in ("audio_only", "video_only", "mismatched", "empty"):
            if not 0 <= value <= 1:
                raise ValueError(f"mix: {name} must be 0 to 1, is {value:g}")
        elif isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"mix: {name} must be [low, high], is {list(value)}")
    for name, low in (("rate", mix.sound.rate[0]), ("warp", mix.sound.warp[0]), ("zoom", mix.sight.zoom[0])):
        if low <= 0:
            raise ValueError(f"mix: {name} must be above 0, is {low:g}")
    if mix.audio_only + mix.video_only > 1:
        raise ValueError("mix: audio_only and video_only must together be at most 1; the rest is both")


def _at_least(least: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, is {value}")
