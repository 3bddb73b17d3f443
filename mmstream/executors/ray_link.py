"""The link between two processes on Ray: one call in flight per peer, in order, as large as what waits.

Sent at once when idle and in larger batches when busy, since a call costs 1-2.5 ms of CPU whatever its size. The
receiver's free lane places come back with each call as credits: that is the backpressure.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Replica
from mmstream.executors.outbox import Batch, Outbox, Question
from mmstream.lane import LaneKey
from mmstream.overload import LagBound

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30.0  # a peer that has not answered by then counts as lost
SEND_SPACING_S = 0.01  # between two batches of a crowded link: each costs 2 ms of CPU, however little is in it
ROOM_POLL_S = 5.0  # how long a peer holds a question about room before it answers that there is none


class LinkError(MmstreamError):
    """A peer is lost: it died, or it did not answer in time."""


Lost = Callable[[Replica, LinkError], None]
Failed = Callable[[str, MmstreamError], None]


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
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, GetTimeoutError):
        return LinkError(f"{name} did not answer within {timeout_s:.0f} s")
    if isinstance(error, RayActorError):
        # Ray's first line says how the actor died, but where it never lived, the last one says why.
        return LinkError(f"{name} died: {lines[-1 if 'creation task' in lines[0] else 0]}")
    return LinkError(f"{name} failed: {lines[-1]}")


class Sender(threading.Thread):
    """Empties an outbox into one peer actor. ``lost`` hears once that nothing more can be sent to it.

    ``failed`` hears of each session whose packets cannot be sent, such as a payload that cannot be pickled.
    """

    def __init__(
        self,
        link: str,
        peer: Replica,
        actor: Any,
        lost: Lost,
        failed: Failed,
        on_room: Callable[[], None],
        deadline_s: float = CALL_TIMEOUT_S,
        bound: LagBound | None = None,
        spacing_s: float = SEND_SPACING_S,
    ) -> None:
        """``deadline_s``: a peer that has not answered by then is lost; ``bound``: as for ``Outbox``.

        ``spacing_s``: between two batches where many sessions share the link.
        """
        super().__init__(name=f"mmstream-link-{peer[0]}-{peer[1]}", daemon=True)
        self.outbox = Outbox(on_room, bound)
        self._deadline_s = deadline_s
        self._spacing_s = spacing_s
        self._sent_at = 0.0  # monotonic seconds of the last batch
        self._link = link
        self._peer = peer
        self._actor = actor
        self._lost = lost
        self._failed = failed
        self._incarnation: str | None = None
        self._seq = 0
        self._unanswered: BaseException | None = None  # why a question got no answer

    def run(self) -> None:
        try:
            while not self.outbox.closed:
                if self.outbox.crowded:
                    self.outbox.gather(self._sent_at + self._spacing_s - time.monotonic())
                batch, question = self.outbox.take()
                if question:
                    self._ask_for_room(question)
                if batch:
                    self._send(batch)
            if self._unanswered is not None:
                raise lost(self._peer, self._unanswered)
        except LinkError as error:
            self.outbox.close()
            self._lost(self._peer, error)

    def _send(self, batch: Batch) -> None:
        """Send a batch. What cannot be pickled ends its session; the others have their packets sent all the same."""
        self._sent_at = time.monotonic()
        try:
            reference = self._actor.put.remote(self._link, self._seq, batch)
        except Exception as error:  # noqa: BLE001 - whatever a payload raises when it is pickled
            sessions = list(dict.fromkeys(packet.session for *_, packet in batch))
            if len(sessions) == 1:
                reason = next(iter(str(error).splitlines()), "")
                edges = ", ".join(dict.fromkeys(edge for edge, *_ in batch))
                self._failed(sessions[0], MmstreamError(f"{edges}: a packet cannot be sent: {reason}"))
                return
            for session in sessions:
                self._send([entry for entry in batch if entry[2].session == session])
            return
        receipt: Receipt = ask(reference, self._peer, self._deadline_s)
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
