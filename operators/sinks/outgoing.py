"""Sinks that hand packets to whoever listens to a session: the server's way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from mmstream.core import Packet, Sink
from mmstream.media import Caption, Gap, Sight, Translation


class Outlet(Protocol):
    """Where the packets of one session go. Called from the sink's thread; never waits."""

    @property
    def ready(self) -> bool:
        """Whether it takes a packet now."""

    def put(self, packet: Packet[Any]) -> None:
        """Take a packet."""


class Outgoing(Sink[Outlet]):
    """Hands captions, translations and gaps to the outlet of their session. Where that is not ready, its session waits.

    What was said does not wait for its translation.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Translation, Gap)
    any_order: ClassVar[bool] = True

    def __init__(self, outlets: Any = None) -> None:
        """``outlets``: an ``Outlet`` by session, there before the session is opened."""
        self.outlets: Mapping[str, Outlet] = {} if outlets is None else outlets

    def open(self, session: str) -> Outlet:
        return self.outlets[session]

    def ready(self, state: Outlet) -> bool:
        return state.ready

    def process(self, packet: Packet[Any], state: Outlet) -> Iterable[Packet[Any]]:
        state.put(packet)
        return ()


class OutgoingSights(Outgoing):
    """Hands over what was seen. It never makes a session wait: who does not look in time sees the newest only."""

    accepts: ClassVar[tuple[type, ...]] = (Sight,)

    def ready(self, state: Outlet) -> bool:
        return True
