"""Operators run one behind another over packets, in the thread that asks: no graph, no queue, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mmstream.core import Operator, Packet
from mmstream.media import Gap


def through(operators: Iterable[Operator[Any]], packets: Iterable[Packet[Any]], session: str) -> Iterator[Packet[Any]]:
    """What comes of ``packets`` and the end of the stream behind a chain of operators, lazily.

    As in a pipeline, a gap ends what an operator that does not take gaps has begun.
    """
    stream = iter(packets)
    for operator in operators:
        stream = _through_one(operator, stream, session)
    return stream


def _through_one(operator: Operator[Any], packets: Iterator[Packet[Any]], session: str) -> Iterator[Packet[Any]]:
    state = operator.open(session)
    for packet in packets:
        if isinstance(packet.data, Gap) and Gap not in operator.accepts:
            yield from operator.flush(state)
            yield packet
            state = operator.open(session)
        else:
            yield from operator.process(packet, state)
    yield from operator.flush(state)
