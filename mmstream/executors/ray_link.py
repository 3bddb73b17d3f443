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
from mmstream.executors.outbox import Batch, LaneKey, Outbox

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


def ask(reference: Any, peer: Replica, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """The answer to a call to ``peer``.

    Raises:
        LinkError: the peer died, did not answer within ``timeout_s``, or failed inside.
    """
    name = f"worker {peer[0]!r} (replica {peer[1]})"
    try:
        return ray.get(reference, timeout=timeout_s)
    except GetTimeoutError as error:
        raise LinkError(f"{name} did not answer within {timeout_s:.0f} s") from error
    except RayActorError as error:
        raise LinkError(f"{name} died: {str(error).splitlines()[0]}") from error
    except RayError as error:
        raise LinkError(f"{name} failed: {str(error).strip().splitlines()[-1]}") from error


class Sender(threading.Thread):
    """Empties an outbox into one peer actor. ``lost`` hears once, with the outbox's sessions still in it."""

    def __init__(self, link: str, peer: Replica, actor: Any, lost: Callable[[Replica, LinkError], None]) -> None:
        super().__init__(name=f"mmstream-link-{peer[0]}-{peer[1]}", daemon=True)
        self.outbox = Outbox(credited=True)
        self._link = link
        self._peer = peer
        self._actor = actor
        self._lost = lost
        self._incarnation: str | None = None
        self._seq = 0

    def run(self) -> None:
        try:
            while not self.outbox.closed:
                batch, starving = self.outbox.take()
                if starving:
                    self._ask_for_room(starving)
                if batch:
                    self._send(batch)
        except LinkError as error:
            self.outbox.close()
            self._lost(self._peer, error)

    def _send(self, batch: Batch) -> None:
        receipt: Receipt = ask(self._actor.put.remote(self._link, self._seq, batch), self._peer)
        if self._incarnation not in (None, receipt.incarnation):
            raise LinkError(f"worker {self._peer[0]!r} was restarted and has lost its sessions")
        self._incarnation = receipt.incarnation
        self._seq = receipt.next_seq
        self.outbox.grant(receipt.credits)

    def _ask_for_room(self, lanes: tuple[LaneKey, ...]) -> None:
        """Ask without waiting: lanes that do have room go on meanwhile."""
        future: Future[Mapping[LaneKey, int | None]] = self._actor.wait_for_room.remote(lanes, ROOM_POLL_S).future()
        future.add_done_callback(self._take_room)

    def _take_room(self, future: Future[Mapping[LaneKey, int | None]]) -> None:
        # A dead peer makes no room; the next batch to it finds that out and says so.
        self.outbox.grant({} if future.exception() else future.result(), answers=True)
