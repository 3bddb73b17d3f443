"""Streams in one call of a net: what it remembers of each, put together along the batch and taken apart again."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Row:
    """What a net remembers of one stream: its row of tensors that hold the rows of several.

    Streams that go on together, call after call, are never copied. Those that part are, so that nobody holds the
    memory of others. Pickled, a row is its own part alone.
    """

    def __init__(self, shared: Any, index: int, mates: weakref.WeakSet[Row]) -> None:
        """``shared``: tensors (row, ...), in tuples; ``mates``: all that have a row in them, this one among them."""
        self._shared, self._index, self._mates = shared, index, mates
        mates.add(self)

    def alone(self) -> Any:
        """Its own tensors (1, ...)."""
        return _mapped(lambda tensor: tensor[self._index : self._index + 1], self._shared)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (_mapped(lambda tensor: tensor.cpu().numpy().copy(), self.alone()),)


class Ask(NamedTuple):
    """One stream's next call of a net: ``inputs``, arrays (step, ...), and what the net remembers."""

    inputs: tuple[NDArray[Any], ...]
    memory: Row


class Answer(NamedTuple):
    """``output``: what the net gave, arrays (step, ...) in tuples as the net has them."""

    output: Any
    memory: Row


def begun(start: Callable[[int], Any]) -> Row:
    """What a net remembers of a stream that begins."""
    import torch

    with torch.inference_mode():
        return rows(start(1), 1)[0]


def stepped(step: Callable[..., tuple[Any, Any]], asked: Sequence[Ask]) -> list[Answer]:
    """``step(*inputs, memory)``, which gives (output, memory), in one call for all whose inputs have equal shapes."""
    import torch

    groups: dict[Any, list[int]] = defaultdict(list)
    for k, ask in enumerate(asked):
        groups[tuple(one.shape for one in ask.inputs)].append(k)
    answers: dict[int, Answer] = {}
    with torch.inference_mode():
        for group in groups.values():
            group.sort(key=lambda k: (id(asked[k].memory._shared), asked[k].memory._index))
            together = zip(*(asked[k].inputs for k in group), strict=True)
            inputs = [torch.from_numpy(np.stack(one)) for one in together]
            output, memory = step(*inputs, stack([asked[k].memory for k in group]))
            outputs = _mapped(lambda tensor: tensor.cpu().numpy(), output)
            for place, (k, row) in enumerate(zip(group, rows(memory, len(group)), strict=True)):
                answers[k] = Answer(_mapped(lambda array, place=place: array[place], outputs), row)
    return [answers[k] for k in range(len(asked))]


def finished(finish: Callable[[Any], Any], memory: Row) -> NDArray[np.float32]:
    """What a net still gives at the end of a stream, (step, ...)."""
    import torch

    with torch.inference_mode():
        values: NDArray[np.float32] = finish(memory.alone())[0].cpu().numpy()
    return values


def rows(shared: Any, count: int) -> list[Row]:
    """The rows of new tensors."""
    mates: weakref.WeakSet[Row] = weakref.WeakSet()
    return [Row(shared, index, mates) for index in range(count)]


def stack(chosen: Sequence[Row]) -> Any:
    """Tensors of the rows, in their order."""
    import torch

    parts: list[Any] = []
    begin = 0
    for end in range(1, len(chosen) + 1):  # a run of rows that share tensors is one part
        if end == len(chosen) or chosen[end]._shared is not chosen[begin]._shared:
            parts.append(_taken(chosen[begin:end]))
            begin = end
    return parts[0] if len(parts) == 1 else _mapped(lambda *tensors: torch.cat(tensors), *parts)


def _taken(chosen: Sequence[Row]) -> Any:
    """Tensors of rows that share theirs; the rows that stay behind get tensors of their own."""
    shared, indices = chosen[0]._shared, [row._index for row in chosen]
    if indices == list(range(_length(shared))):
        return shared
    going = set(chosen)
    left = [row for row in chosen[0]._mates if row not in going]
    if left:
        own, mates = _selected(shared, [row._index for row in left]), weakref.WeakSet(left)
        for index, row in enumerate(left):
            row._shared, row._index, row._mates = own, index, mates
    return _selected(shared, indices)


def _selected(shared: Any, indices: list[int]) -> Any:
    import torch

    return _mapped(lambda tensor: tensor.index_select(0, torch.tensor(indices, device=tensor.device)), shared)


def _length(shared: Any) -> int:
    while isinstance(shared, tuple):
        shared = shared[0]
    return len(shared)


def _restored(own: Any) -> Row:
    import torch

    return rows(_mapped(torch.from_numpy, own), 1)[0]


def _mapped(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """``function`` of the tensors, or of those that have the same place in ``others``; tuples keep their kind."""
    if first is None:
        return None
    if not isinstance(first, tuple):
        return function(first, *others)
    parts = [_mapped(function, *place) for place in zip(first, *others, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
