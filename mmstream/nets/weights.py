"""Weights of the recogniser on disk: a folder with ``model.json`` and ``weights.safetensors``, never a pickle.

``model.json`` says how the net is shaped, which characters it writes, how late it is, and the sha256 of the weights.
Matrices are stored in float16, in float32, or in int8 with one scale per output (weight-only: they are floating point
again once loaded); all else, such as normalisations and biases, is small and stays in float32.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmstream.core import MmstreamError
from mmstream.nets.recogniser import AudioVisualRecogniser, NetConfig

FORMAT = 1
DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
SCALE = "::scale"  # added to the name of an int8 matrix: the name of its scales

Precision = Literal["float16", "float32", "int8"]


class WeightsError(MmstreamError):
    """Weights that are missing, damaged, or of another shape than they should be."""


def load(folder: Path) -> AudioVisualRecogniser:
    """The recogniser in ``folder``, in float32 on the CPU, ready to infer: no dropout, no gradients.

    Raises:
        WeightsError: a file is missing, changed or not readable, of another format, or does not fit its description.
    """
    description = describe(folder)
    config = net_config(description, folder / DESCRIPTION)
    stored = _stored(folder / WEIGHTS, description)
    with torch.device("meta"):  # nothing is initialised only to be overwritten, and no random number is drawn
        net = AudioVisualRecogniser(config)
    state = unpacked(stored)
    _check_shapes(net.state_dict(), state, folder / WEIGHTS)
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(False).eval()


def describe(folder: Path) -> dict[str, Any]:
    """What ``model.json`` in ``folder`` says.

    Raises:
        WeightsError: it is missing, not JSON, or of a format that this version does not read.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text("utf-8"))
    except OSError as fault:
        hint = "; mmstream export makes such a folder" if isinstance(fault, FileNotFoundError) else ""
        raise WeightsError(f"{path}: {_said(fault)}{hint}") from fault
    except ValueError as fault:
        raise WeightsError(f"{path}: not JSON: {fault}") from fault
    if not isinstance(description, dict) or "format" not in description:
        raise WeightsError(f"{path}: not the description of a recogniser: it has no 'format'")
    if description["format"] != FORMAT:
        raise WeightsError(
            f"{path}: format {description['format']!r} is not {FORMAT}, the one that this version of mmstream reads; "
            "export the weights again, or install the mmstream that wrote them"
        )
    return description


def packed(state: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """A net's ``state_dict`` as it is stored."""
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point() or tensor.dim() < 2 or precision == "float32":
            stored[name] = tensor.float() if tensor.is_floating_point() else tensor
        elif precision == "float16" or tensor.dim() > 2:
            stored[name] = tensor.half()
        else:
            stored[name], stored[name + SCALE] = quantised(tensor)
        stored[name] = stored[name].contiguous().clone()
    return stored


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A ``state_dict`` in float32, of what ``packed`` gave."""
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE):
            continue
        scale = stored.get(name + SCALE)
        if scale is not None:
            state[name] = tensor.float() * scale[:, None]
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) -> int8 (out, in) and float32 scales (out,): symmetric, the largest weight of a row at 127."""
    matrix = matrix.float()
    scale = matrix.abs().amax(1).clamp(min=1e-12) / 127
    return (matrix / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def _stored(path: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    try:
        import safetensors.torch
    except ImportError as fault:
        raise WeightsError("weights need the package safetensors: run python -m pip install safetensors") from fault
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise WeightsError(f"{path}: {_said(fault)}") from fault
    expected = description.get("sha256")
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        shown = f"{expected[:12]}..." if isinstance(expected, str) else repr(expected)
        raise WeightsError(f"{path} has the wrong checksum (sha256 {found[:12]}... instead of {shown})")
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as fault:
        raise WeightsError(f"{path}: not safetensors: {fault}") from fault


def net_config(description: Mapping[str, Any], path: Path) -> NetConfig:
    """How the net of a description is shaped; ``path`` is named in errors."""
    given = description.get("net")
    if not isinstance(given, dict):
        raise WeightsError(f"{path}: 'net' must say how the net is shaped, is {given!r}")
    known = {field.name for field in dataclasses.fields(NetConfig)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise WeightsError(f"{path}: 'net' holds {unknown[0]!r}, which this version of mmstream does not know")
    try:
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in given.items()}
        config = NetConfig(**values)
        with torch.device("meta"):
            AudioVisualRecogniser(config)
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as fault:  # whatever a net is built of
        raise WeightsError(f"{path}: 'net' describes no recogniser: {type(fault).__name__}: {fault}") from fault
    return config


def _check_shapes(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in expected.items():
        if name not in state:
            raise WeightsError(f"{path}: {name!r} is missing")
        if state[name].shape != tensor.shape:
            raise WeightsError(
                f"{path}: {name!r} has the shape {tuple(state[name].shape)}; {DESCRIPTION} says {tuple(tensor.shape)}"
            )
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise WeightsError(f"{path}: {unknown[0]!r} belongs to no part of the net that {DESCRIPTION} describes")


def _said(fault: OSError) -> str:
    return "there is no such file" if isinstance(fault, FileNotFoundError) else fault.strerror or str(fault)
