"""The audio front end: log-mel frames at 100 Hz -> vectors at 25 Hz."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mmstream.nets.rounding import convolved, multiplied

STRIDE = 4  # mel frames in a step
MEL_MEAN, MEL_SCALE = -6.0, 4.0  # brings speech at an ordinary level to about zero mean and unit variance

AudioState = tuple[Tensor, Tensor]


class AudioFrontEnd(nn.Module):
    """Two strided convolutions over time and mel, then one over time that sees ``lookahead`` steps ahead.

    Takes (batch, STRIDE * step, mel), gives (batch, step, dim). The strided ones are causal.
    """

    def __init__(self, n_mels: int, dim: int, channels: int = 32, lookahead: int = 2) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=(0, 1))
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=(0, 1))
        bands = (n_mels + 3) // 4
        self.project = nn.Linear(channels * bands, dim)
        self.context = nn.Conv1d(dim, dim, 2 * lookahead + 1, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.n_mels, self.dim = n_mels, dim

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """``mel``: log-mel, (batch, STRIDE * step, mel); ``mask``: (batch, step), false beyond a sequence's end."""
        steps = self._steps(pad(_scaled(mel), (0, 0, 3, 0))) * mask[..., None]
        return self._context(pad(steps, (0, 0, self.lookahead, self.lookahead)))

    def start(self, batch: int) -> AudioState:
        weight = self.project.weight
        return (
            weight.new_zeros(batch, 3, self.n_mels),
            weight.new_zeros(batch, 2 * self.lookahead, self.dim),
        )

    def step(self, mel: Tensor, state: AudioState) -> tuple[Tensor, AudioState]:
        """As many steps as came in, ``lookahead`` late: a stream's first ``lookahead`` vectors mean nothing."""
        frames = torch.cat([state[0], _scaled(mel)], dim=1)
        return self._continue(self._steps(frames), frames[:, -3:], state[1])

    def finish(self, state: AudioState) -> Tensor:
        """The last ``lookahead`` steps, for which nothing follows."""
        nothing = state[1].new_zeros(len(state[1]), self.lookahead, self.dim)
        return self._continue(nothing, state[0], state[1])[0]

    def _continue(self, steps: Tensor, frames: Tensor, before: Tensor) -> tuple[Tensor, AudioState]:
        seen = torch.cat([before, steps], dim=1)
        return self._context(seen), (frames, seen[:, len(seen[0]) - 2 * self.lookahead :])

    def _steps(self, frames: Tensor) -> Tensor:
        """(batch, 3 + STRIDE * step, mel) -> (batch, step, dim). Step k sees the frames 4k - 3 to 4k + 3."""
        maps = torch.relu(convolved(self.second, torch.relu(convolved(self.first, frames[:, None]))))
        return multiplied(self.project, maps.transpose(1, 2).flatten(2))

    def _context(self, steps: Tensor) -> Tensor:
        inner = steps[:, self.lookahead : len(steps[0]) - self.lookahead]
        return self.norm(inner + self.context(steps.transpose(1, 2)).transpose(1, 2))  # type: ignore[no-any-return]


def _scaled(mel: Tensor) -> Tensor:
    return (mel - MEL_MEAN) / MEL_SCALE
