"""How a session ends in one worker, and the fault of a node that ends it."""

from __future__ import annotations

from dataclasses import dataclass

from mmstream.core import MmstreamError
from mmstream.graph import Node
from mmstream.lane import LaneReport


class OperatorError(MmstreamError):
    """A fault inside a node, with its place. Picklable, so it crosses actors as it is."""

    def __init__(self, node: str, use: str, session: str, media_time: float, cause: str) -> None:
        super().__init__(node, use, session, media_time, cause)
        self.node = node
        self.use = use
        self.session = session
        self.media_time = media_time  # seconds
        self.cause = cause

    def __str__(self) -> str:
        place = f", session {self.session!r}, at {self.media_time:.3f} s" if self.session else ""
        return f"node {self.node!r} ({self.use}){place}: {self.cause}"

    @classmethod
    def of(cls, node: Node, session: str, media_time: float, error: BaseException) -> OperatorError:
        """The fault ``error``, raised in ``node``; an error that explains itself keeps its words."""
        if isinstance(error, OperatorError):
            return error
        cause = str(error) if isinstance(error, MmstreamError) else f"{type(error).__name__}: {error}"
        return cls(node.name, node.use, session, media_time, cause)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended in one worker."""

    session: str
    worker: str
    error: MmstreamError | None
    lanes: tuple[LaneReport, ...]
    drained: bool = False  # all that the session had to say has come out, with or without an error
    epoch: int | None = 0  # of the session: one that was put back since is not meant; None: whichever it is
