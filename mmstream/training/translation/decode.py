"""Greedy translation with the net as it is trained, to measure it and to compare what was exported with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mmstream.nets.translation import BEGIN, END, MOST_TOKENS, TranslationNet, padding_mask
from mmstream.training.measure import Stopped
from mmstream.training.translation.batches import padded

AT_ONCE = 64  # sentences


@torch.no_grad()
def greedy(
    net: TranslationNet, sources: Sequence[Sequence[int]], stopping: Callable[[], bool] = lambda: False
) -> list[list[int]]:
    """The tokens of each translation, without END. ``sources`` begin with the language and end with END.

    Raises:
        Stopped: ``stopping`` says so.
    """
    net.eval()
    found: list[list[int]] = [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    for at in range(0, len(order), AT_ONCE):
        if stopping():
            raise Stopped
        rows = order[at : at + AT_ONCE]
        longest = min(MOST_TOKENS - 1, 2 * max(len(sources[row]) for row in rows) + 10)
        for row, tokens in zip(rows, _together(net, [list(sources[row]) for row in rows], longest), strict=True):
            found[row] = tokens
    return found


def _together(net: TranslationNet, sources: list[list[int]], longest: int) -> list[list[int]]:
    device = net.embedding.device
    tokens = padded(sources).to(device)
    mask = padding_mask(tokens)
    encoded = net.encode(tokens, mask)
    target = torch.full((len(sources), 1), BEGIN, device=device)
    ended = torch.zeros(len(sources), dtype=torch.bool, device=device)
    while target.shape[1] <= longest and not bool(ended.all()):
        best = net.scores(net.decode(target, encoded, mask)[:, -1]).argmax(-1)
        target = torch.cat([target, best.masked_fill(ended, END)[:, None]], dim=1)
        ended |= best == END
    rows: list[list[int]] = target[:, 1:].tolist()
    return [row[: row.index(END)] if END in row else row for row in rows]
