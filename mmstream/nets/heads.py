"""What turns encoder steps into tokens: CTC, and an RNN transducer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss

BLANK = 0
FORBIDDEN = -60.0  # log-probability of a token out of its time: next to nothing, and finite, so that gradients are


class CtcHead(nn.Module):
    """Connectionist temporal classification (Graves et al., ICML 2006)."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.classify = nn.Linear(dim, tokens)

    def forward(self, steps: Tensor) -> Tensor:
        """(batch, step, dim) -> log-probabilities (batch, step, token)."""
        return self.classify(steps).float().log_softmax(-1)  # type: ignore[no-any-return]

    def loss(
        self, steps: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """Negative log-likelihood of every sequence in nats (batch,); 0 where no alignment fits.

        ``allowed``: (batch, step, token), whether a token may come there; None: anywhere.
        """
        scores = self(steps)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, FORBIDDEN)
        scores = scores.transpose(0, 1)
        return ctc_loss(scores, targets, lengths, target_lengths, BLANK, reduction="none", zero_infinity=True)


class TransducerHead(nn.Module):
    """RNN transducer (Graves, 2012), its predictor a GRU over the tokens so far."""

    def __init__(self, dim: int, tokens: int, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.predict = nn.GRU(width, width, batch_first=True)
        self.from_encoder = nn.Linear(dim, width)
        self.classify = nn.Linear(width, tokens)
        self.width = width

    def start(self, batch: int) -> tuple[Tensor, Tensor]:
        """The predictor before any token: its output (batch, width) and memory (batch, width)."""
        blanks = torch.zeros(batch, dtype=torch.long, device=self.classify.weight.device)
        return self.extend(blanks, self.classify.weight.new_zeros(batch, self.width))

    def extend(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The predictor after one more token each (batch,)."""
        out, memory = self.predict(self.embed(tokens)[:, None], memory[None])
        return out[:, 0], memory[0]

    def scores(self, steps: Tensor, predicted: Tensor) -> Tensor:
        """Log-probabilities of the next token, for encoder steps (..., dim) with predictions (..., width)."""
        return self.classify(torch.tanh(self.from_encoder(steps) + predicted)).float().log_softmax(-1)  # type: ignore[no-any-return]

    def loss(self, steps: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Negative log-likelihood of every sequence in nats (batch,)."""
        from torchaudio.functional import rnnt_loss

        begun = torch.nn.functional.pad(targets, (1, 0), value=BLANK)
        predicted, _ = self.predict(self.embed(begun))
        joint = torch.tanh(self.from_encoder(steps)[:, :, None] + predicted[:, None])
        logits = self.classify(joint).float()
        return rnnt_loss(  # type: ignore[no-any-return]
            logits, targets.int(), lengths.int(), target_lengths.int(), blank=BLANK, reduction="none"
        )
