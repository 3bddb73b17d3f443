"""A checkpoint -> the folder that is shipped: weights (the average over steps), their description, a model card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmstream.atomic import AtomicFile, sync_folder
from mmstream.core import MmstreamError
from mmstream.nets import STEP_S, weights
from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig
from mmstream.nets.weights import DESCRIPTION, FORMAT, WEIGHTS, Precision
from mmstream.training import checkpoint, measure
from mmstream.training.card import Source, model_card

CARD = "MODEL_CARD.md"
METRICS = "metrics.jsonl"
SOURCES = "sources.json"  # what training says it was fed, for the card
TRIAL_STEPS = 100


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how far rounding moved it."""

    folder: Path
    bytes: int  # of the weights
    parameters: int
    difference: float  # largest, of a probability, from the net in float32
    agreement: float  # 0..1: steps whose best token stays the same


def export(run: Path, folder: Path, *, precision: Precision = "float16", sources: Sequence[Source] = ()) -> Exported:
    """Write the weights of ``run/last.pt`` to ``folder``, described, with a model card.

    ``sources``: what it was trained on, for the card. The description is written last: a folder that has one is whole.

    Raises:
        MmstreamError: there is no checkpoint, or the folder cannot be written.
    """
    stored = checkpoint.load(run / checkpoint.NAME)
    net, config = _inference_net(stored)
    metrics = last_metrics(run / METRICS)
    delays = [figures["emission_delay_s"] for _, _, figures in measure.sets(metrics) if "emission_delay_s" in figures]
    if delays:
        config = dataclasses.replace(config, emission_delay_s=float(np.median(delays)))
    parameters = sum(one.numel() for one in net.parameters())
    packed = weights.packed(net.state_dict(), precision)
    content = _serialised(packed)
    description = {
        "format": FORMAT,
        "kind": "streaming audio-visual recogniser",
        "net": config.as_dict(),
        "vocabulary": ["<blank>", *config.characters, *config.pieces],
        "step_s": STEP_S,
        "look_ahead_s": round(config.lookahead * STEP_S, 4),
        "chunk_s": round(config.chunk * STEP_S, 4),
        "algorithmic_latency_s": round(config.algorithmic_latency_s, 4),
        "parameters": parameters,
        "precision": precision,
        "steps": stored.step,
        "weights": WEIGHTS,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "metrics": metrics,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        _write(folder / WEIGHTS, content)
    except OSError as fault:
        raise MmstreamError(f"{fault.filename or folder}: cannot be written: {fault.strerror or fault}") from fault
    with AtomicFile(folder / CARD) as card:
        card.write(model_card(description, sources))
    with AtomicFile(folder / DESCRIPTION) as file:
        file.write(json.dumps(description, indent=2) + "\n")
    difference, agreement = compared(net, weights.load(folder))
    return Exported(folder, len(content), parameters, difference, agreement)


def last_metrics(path: Path) -> dict[str, Any]:
    """The newest line of ``metrics.jsonl``; nothing where training has not been evaluated.

    Raises:
        MmstreamError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
        newest = json.loads(lines[-1]) if lines else {}
    except (OSError, ValueError) as fault:
        raise MmstreamError(f"{path}: cannot be read as JSON lines: {fault}") from fault
    if not isinstance(newest, dict):
        raise MmstreamError(f"{path}: its last line is no JSON object")
    return newest


def recorded_sources(run: Path) -> list[Source]:
    """What ``run`` was trained on, as training noted it; nothing where it did not.

    Raises:
        MmstreamError: the note cannot be read.
    """
    path = run / SOURCES
    if not path.exists():
        return []
    try:
        return [Source(**one) for one in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as fault:
        raise MmstreamError(f"{path}: cannot be read: {fault}") from fault


@torch.no_grad()
def compared(one: AudioVisualRecogniser, other: AudioVisualRecogniser) -> tuple[float, float]:
    """How far two nets are apart on made-up input: largest difference of a probability, share of equal best tokens."""
    draw = torch.Generator().manual_seed(0)
    mel = torch.randn(2, 4 * TRIAL_STEPS, one.config.n_mels, generator=draw).cumsum(1) * 0.3 - 6
    crops = torch.rand(2, TRIAL_STEPS, 56, 56, generator=draw) * 255
    trust, mask = torch.ones(2, TRIAL_STEPS, 2), torch.ones(2, TRIAL_STEPS, dtype=torch.bool)
    first, second = (net.ctc(net(mel, crops, trust, mask).steps) for net in (one, other))
    difference = (first.exp() - second.exp()).abs().max()
    return float(difference), float((first.argmax(-1) == second.argmax(-1)).float().mean())


def _inference_net(stored: checkpoint.Checkpoint) -> tuple[AudioVisualRecogniser, NetConfig]:
    """The averaged net without what only training needs."""
    config = dataclasses.replace(stored.net_config, alignment_classes=0)
    net = AudioVisualRecogniser(config)
    state = {name: value for name, value in stored.ema.items() if not name.startswith("align.")}
    try:
        net.load_state_dict(state)
    except RuntimeError as fault:
        said = " ".join(str(fault).split())
        raise MmstreamError(f"the checkpoint's weights do not fit its own description of the net: {said}") from fault
    return net.eval(), config


def _serialised(packed: dict[str, torch.Tensor]) -> bytes:
    try:
        import safetensors.torch
    except ImportError as fault:
        raise MmstreamError("export needs the package safetensors: run python -m pip install safetensors") from fault
    content: bytes = safetensors.torch.save(packed, metadata={"format": "pt"})
    return content


def _write(path: Path, content: bytes) -> None:
    """Bytes that appear whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
