"""Layers that round alike however many streams share a call, so that a stream gets the same bits in any company.

Torch computes small inputs otherwise than large ones, which changes the last bits of a result. So measured with
torch 2.14 and one thread on x86 CPUs of AMD and of Intel, where MKL must be asked for it besides (``MKL_CBWR``, see
``mmstream/__init__.py``); elsewhere results are as close as rounding lets them be.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

LEAST_ROWS = 4  # fewer are multiplied by another routine


def convolved(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """``layer`` of (batch, channel, height, width): by oneDNN, where torch would take that for large inputs only."""
    padding = layer.padding
    here = maps.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if torch.is_grad_enabled() or not here or isinstance(padding, str):
        return layer(maps)  # type: ignore[no-any-return]
    return torch.mkldnn_convolution(maps, layer.weight, layer.bias, padding, layer.stride, layer.dilation, layer.groups)


def multiplied(layer: nn.Linear, vectors: Tensor) -> Tensor:
    """``layer`` of (..., feature): never of fewer than LEAST_ROWS rows."""
    flat = vectors.flatten(0, -2)
    missing = max(0, LEAST_ROWS - len(flat))
    products = linear(pad(flat, (0, 0, 0, missing)) if missing else flat, layer.weight, layer.bias)
    return products[: len(flat)].reshape(*vectors.shape[:-1], -1)


def weighed(layer: nn.Linear, vectors: Tensor) -> Tensor:
    """``layer``, which has one output, of (..., feature): (...)."""
    return (vectors * layer.weight[0]).sum(-1) + layer.bias
