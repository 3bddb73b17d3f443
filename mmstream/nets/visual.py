"""The visual front end: mouth crops at 25 Hz -> vectors at 25 Hz.

A 3-D convolution over a few frames, then a small residual trunk on every frame, as in Stafylakis and Tzimiropoulos,
"Combining residual networks with LSTMs for lipreading" (Interspeech 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmstream.nets.rounding import convolved, multiplied

SIZE = 56  # pixels of a side that the net sees
MARGIN = 4  # pixels around it in a crop, for jitter in training
CROP = SIZE + 2 * MARGIN

VisualState = Tensor


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016); ``stride`` halves the picture."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        same = stride == 1 and inside == outside
        self.shortcut = nn.Identity() if same else nn.Conv2d(inside, outside, 1, bias=False)
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        inner = torch.relu(self.first_norm(convolved(self.first, maps)))
        # Not a strided 1x1 convolution: with two threads and few channels, oneDNN's (torch 2.14) overruns its memory.
        thinned = maps[:, :, :: self.stride, :: self.stride]
        return torch.relu(self.shortcut(thinned) + self.second_norm(convolved(self.second, inner)))


class VisualFrontEnd(nn.Module):
    """Grey crops (batch, step, SIZE, SIZE) in 0..255 -> (batch, step, dim), seeing ``lookahead`` steps ahead."""

    def __init__(self, dim: int, channels: tuple[int, ...] = (32, 64, 96), lookahead: int = 2) -> None:
        super().__init__()
        self.lookahead, self.dim = lookahead, dim
        self.stem = nn.Conv3d(1, channels[0], (2 * lookahead + 1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False)
        self.stem_norm = nn.BatchNorm2d(channels[0])
        self.trunk = nn.Sequential(
            *(
                ResidualBlock(inside, outside, 1 if k == 0 else 2)
                for k, (inside, outside) in enumerate(zip((channels[0], *channels), channels, strict=False))
            )
        )
        self.area = 4  # the trunk's last maps, averaged to area x area: where on the mouth it moves is kept
        self.project = nn.Linear(channels[-1] * self.area**2, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, crops: Tensor, mask: Tensor) -> Tensor:
        """``mask``: (batch, step), false where no crop is or a sequence has ended."""
        frames = _standardised(crops, mask)
        return self._steps(pad(frames, (0, 0, 0, 0, self.lookahead, self.lookahead)))

    def start(self, batch: int) -> VisualState:
        return self.project.weight.new_zeros(batch, 2 * self.lookahead, SIZE, SIZE)

    def step(self, crops: Tensor, mask: Tensor, state: VisualState) -> tuple[Tensor, VisualState]:
        """As many steps as came in, ``lookahead`` late: a stream's first ``lookahead`` vectors mean nothing."""
        frames = torch.cat([state, _standardised(crops, mask)], dim=1)
        return self._steps(frames), frames[:, len(frames[0]) - 2 * self.lookahead :]

    def finish(self, state: VisualState) -> Tensor:
        """The last ``lookahead`` steps, for which nothing follows."""
        return self._steps(pad(state, (0, 0, 0, 0, 0, self.lookahead)))

    def _steps(self, frames: Tensor) -> Tensor:
        """(batch, 2 * lookahead + step, SIZE, SIZE) -> (batch, step, dim)."""
        maps = self.stem(frames[:, None]).transpose(1, 2)  # (batch, step, channel, height, width)
        batch, steps = maps.shape[:2]
        maps = maps.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        maps = torch.relu(self.stem_norm(maps))
        maps = self.trunk(nn.functional.max_pool2d(maps, 3, 2, 1))
        vectors = multiplied(self.project, nn.functional.adaptive_avg_pool2d(maps, self.area).flatten(1))
        return self.norm(vectors).unflatten(0, (batch, steps))  # type: ignore[no-any-return]


def middle(crops: Tensor) -> Tensor:
    """(..., CROP, CROP) -> (..., SIZE, SIZE): the part that the net sees outside training."""
    return crops[..., MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]


def _standardised(crops: Tensor, mask: Tensor) -> Tensor:
    """Each crop to zero mean and unit variance, so that light and contrast do not matter; zeros where none is."""
    pixels = crops.float()
    deviation, mean = torch.std_mean(pixels, dim=(-2, -1), keepdim=True)
    return (pixels - mean) / (deviation + 4.0) * mask[..., None, None]
