"""What the server goes by: where it listens, who may come in, and how much each may ask for."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmstream.server.limits import Limits
from mmstream.server.tokens import Tokens


@dataclass(frozen=True)
class Settings:
    """Of one server. What is not said has a safe value: loopback, no foreign origin, every limit on."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any that is free
    tokens: Tokens = field(default_factory=lambda: Tokens(()))
    origins: tuple[str, ...] = ()  # in normal form: see ``guard.origins``
    limits: Limits = field(default_factory=Limits)
    sessions: int = 64  # open at a time, live ones and files together
    first_message_s: float = 10.0  # a client that has not said what it wants by then is sent away
    resume_s: float = 30.0  # after a dropped connection
    drain_s: float = 10.0  # for the last words, when the server ends
