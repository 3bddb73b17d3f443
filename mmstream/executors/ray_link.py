"""The link between two processes on Ray: one call in flight per peer, in order, as large as what waits.

Sent at once when idle and in larger batches when busy, since a call costs 1-2.5 ms of CPU whatever its size. The
receiver's free lane places come back with each call as credits: that is the backpressure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Replica
from mmstream.executors.outbox import Batch, LaneKey, Outbox, Question

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30.0  # a peer that has not answered by then counts as lost
ROOM_POLL_S = 5.0  # how long a peer holds a question about room before it answers that there is none


class LinkError(MmstreamError):
    """A peer is lost: it died, or it did not answer in time."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A peer's answer to a batch."""

    incarnation: str  # changes when the peer has been restarted, and with it everything it remembered
    next_seq: int  # packets taken on this link so far
    credits: Mapping[LaneKey, int | None]  # free places of the lanes in the batch; None: no such session


def ask(reference: Any, peer: Replica, timeout_s: float | None = None) -> Any:
    """The answer to a call to ``peer``, waited for as long as ``timeout_s`` or ``CALL_TIMEOUT_S``.

    Raises:
        LinkError: the peer died, did not answer within ``timeout_s``, or failed inside.
    """
    timeout_s = CALL_TIMEOUT_S if timeout_s is None else timeout_s
    try:
        return ray.get(reference, timeout=timeout_s)
    except RayError as error:
        raise lost(peer, error, timeout_s) from error


def lost(peer: Replica, error: BaseException, timeout_s: float = 0.0) -> LinkError:
    """What a failed call to ``peer`` means, in one line."""
    name = f"worker {peer[0]!r} (replica {peer[1]})"
    if isinstance(error, GetTimeoutError):
        return LinkError(f"{name} did not answer within {timeout_s:.0f} s")
    if isinstance(error, RayActorError):
        return LinkError(f"{name} died: {str(error).splitlines()[0]}")
    return LinkError(f"{name} failed: {str(error).strip().splitlines()[-1]}")


class Sender(threading.Thread):
    """Empties an outbox into one peer actor. ``lost`` hears once, with the outbox's sessions still in it."""

    def __init__(self, link: str, peer: Replica, actor: Any, lost: Callable[[Replica, LinkError], None]) -> None:
        super().__init__(name=f"mmstream-link-{peer[0]}-{peer[1]}", daemon=True)
        self.outbox = Outbox()
        self._link = link
        self._peer = peer
        self._actor = actor
        self._lost = lost
        self._incarnation: str | None = None
        self._seq = 0
        self._unanswered: BaseException | None = None  # why a question got no answer
        self.fault: LinkError | None = None  # why nothing more can be sent

    def run(self) -> None:
        try:
            while not self.outbox.closed:
                batch, question = self.outbox.take()
                if question:
                    self._ask_for_room(question)
                if batch:
                    self._send(batch)
            if self._unanswered is not None:
                raise lost(self._peer, self._unanswered)
        except LinkError as error:
            self.fault = error
            self.outbox.close()
            self._lost(self._peer, error)

    def _send(self, batch: Batch) -> None:
        try:
            reference = self._actor.put.remote(self._link, self._seq, batch)
        except Exception as error:  # whatever the pickling of a payload raises
            reason = str(error).strip().splitlines()[0]
            raise LinkError(f"worker {self._peer[0]!r} cannot be sent a packet: {reason}") from error
        receipt: Receipt = ask(reference, self._peer)
        if self._incarnation not in (None, receipt.incarnation):
            raise LinkError(f"worker {self._peer[0]!r} was restarted and has lost its sessions")
        self._incarnation = receipt.incarnation
        self._seq = receipt.next_seq
        self.outbox.grant(receipt.credits)

    def _ask_for_room(self, question: Question) -> None:
        """Ask without waiting: lanes that do have room go on meanwhile."""

        def take(future: Future[Mapping[LaneKey, int | None]]) -> None:
            error = future.exception()
            if error is None:
                self.outbox.answer(question, future.result())
            else:
                self._unanswered = error
                self.outbox.close()

        self._actor.wait_for_room.remote(self._link, question, ROOM_POLL_S).future().add_done_callback(take)
