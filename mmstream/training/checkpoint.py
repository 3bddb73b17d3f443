"""Checkpoints: one file ``last.pt``, replaced whole, from which training goes on to the step.

It holds plain tensors and values only and is read with ``weights_only``, so a checkpoint cannot run code.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from mmstream.atomic import sync_folder
from mmstream.core import MmstreamError
from mmstream.nets.recogniser import NetConfig
from mmstream.spelling import did_you_mean

NAME = "last.pt"
KEYS = ("net", "ema", "opt", "step", "cfg")
SHAPELESS = ("dropout", "emission_delay_s")  # fields of NetConfig that may change from one run to the next


class Shape(Protocol):
    """How a net is shaped: ``NetConfig``, ``TranslationConfig``."""

    def as_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where training stood after ``step`` steps."""

    net: dict[str, Any]  # state_dict
    ema: dict[str, Any]  # the same, averaged over steps: what is exported
    opt: dict[str, Any]  # state_dict of the optimiser
    step: int
    cfg: dict[str, Any]  # of NetConfig, or of the shape of another net
    recent: dict[str, list[float]] = field(default_factory=dict)  # sums and counts of loss terms not yet reported

    @property
    def net_config(self) -> NetConfig:
        """How the net is shaped."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in self.cfg.items()
        }
        return NetConfig(**fields)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Put ``checkpoint`` at ``path`` in place of what stands there, safe against SIGKILL and loss of power.

    Raises:
        MmstreamError: it cannot be written (a full disk); what stood there before still does.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({key: getattr(checkpoint, key) for key in (*KEYS, "recent")}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as fault:  # torch's writer reports a short write as RuntimeError
        with contextlib.suppress(OSError):
            partial.unlink()
        cause = fault if isinstance(fault, OSError) else fault.__cause__ or fault.__context__
        said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(fault).partition("\n")[0]
        raise MmstreamError(f"{path}: cannot be written: {said}; the checkpoint before it is kept") from fault


def load(path: Path) -> Checkpoint:
    """The checkpoint at ``path``, on the CPU.

    Raises:
        MmstreamError: there is none, or it is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as fault:
        raise MmstreamError(f"{path}: there is no such checkpoint; mmstream train makes it") from fault
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as fault:
        said = str(fault).strip().partition("\n")[0]
        raise MmstreamError(f"{path}: is no checkpoint, or is damaged: {said}") from fault
    missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise MmstreamError(f"{path}: is no checkpoint of mmstream: it lacks {', '.join(missing)}")
    return Checkpoint(**{key: content[key] for key in KEYS}, recent=content.get("recent", {}))


def check_same_net(path: Path, stored: Checkpoint, config: Shape) -> None:
    """See that a checkpoint is of the net that ``config`` describes.

    Raises:
        MmstreamError: naming the fields that differ.
    """
    wanted = config.as_dict()
    unknown = [name for name in stored.cfg if name not in wanted]
    if unknown:
        raise MmstreamError(f"{path}: its net has {unknown[0]!r}{did_you_mean(unknown[0], wanted, 'nets have')}")
    differing = [
        f"{name} is {_plain(stored.cfg.get(name))!r} there, {_plain(value)!r} in the config"
        for name, value in wanted.items()
        if name not in SHAPELESS and _plain(stored.cfg.get(name)) != _plain(value)
    ]
    if differing:
        raise MmstreamError(
            f"{path}: is a checkpoint of another net: {'; '.join(differing)}; train into another folder (--run), "
            "or delete this one"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
