"""Operators whose work is written for one session and computed for many: side by side, from call to call of a model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

from mmstream.core import BatchOperator, Packet, State

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
Result = TypeVar("Result")

Work = Generator[Asked, Answer, Result]  # yields what it asks of a model, gets the answer, returns its result


class Lockstep(BatchOperator[State], Generic[State, Asked, Answer]):
    """A BatchOperator that is written as if for one session: ``answer = yield asked`` where it needs its model.

    What the sessions of a batch ask at the same time is answered by one call of ``answer``. Their work is done on
    copies of their states, which take the states' place at the end: a fault leaves every state as it was.
    """

    @abstractmethod
    def work(self, packet: Packet[Any], state: State) -> Work[Asked, Answer, list[Packet[Any]]]:
        """What ``packet`` gives."""

    @abstractmethod
    def rest(self, state: State) -> Work[Asked, Answer, list[Packet[Any]]]:
        """What is left at the end of the stream."""

    @abstractmethod
    def answer(self, asked: Sequence[Asked]) -> Sequence[Answer]:
        """The answers, in the order of what was asked; one does not depend on what else is asked."""

    def process_batch(self, packets: Sequence[Packet[Any]], states: Sequence[State]) -> list[list[Packet[Any]]]:
        trials = [copied(state) for state in states]
        works = [self.work(packet, state) for packet, state in zip(packets, trials, strict=True)]
        given = side_by_side(works, self.answer)
        for state, trial in zip(states, trials, strict=True):
            take_over(state, trial)
        return given

    def process(self, packet: Packet[Any], state: State) -> list[Packet[Any]]:
        return self.process_batch([packet], [state])[0]

    def flush(self, state: State) -> list[Packet[Any]]:
        return side_by_side([self.rest(state)], self.answer)[0]


def side_by_side(
    works: Sequence[Work[Asked, Answer, Result]], answer: Callable[[Sequence[Asked]], Sequence[Answer]]
) -> list[Result]:
    """The result of every work. Those that still ask something get their answers from one call."""
    results: dict[int, Result] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(works)))  # a generator begins with None
    while answers:
        asked: dict[int, Asked] = {}
        for k, one in answers.items():
            try:
                asked[k] = works[k].send(one)
            except StopIteration as end:
                results[k] = end.value
        answers = dict(zip(asked, answer(list(asked.values())), strict=True)) if asked else {}
    return [results[k] for k in range(len(works))]


def copied(value: Any) -> Any:
    """A copy of what operators change in place: dataclasses, and lists, dictionaries and deques. All else is shared."""
    if isinstance(value, (list, dict, deque)):
        return copy.copy(value)
    if not is_dataclass(value) or isinstance(value, type) or value.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return value
    twin = copy.copy(value)
    for field in fields(twin):
        setattr(twin, field.name, copied(getattr(twin, field.name)))
    return twin


def take_over(state: Any, other: Any) -> None:
    """Let a dataclass hold what another of its kind holds."""
    for field in fields(state):
        setattr(state, field.name, getattr(other, field.name))
