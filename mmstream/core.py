"""Packet, Operator, Source: all that the author of an operator needs.

An operator is one small class. Its constructor signature is its configuration in ``pipeline.yaml``, its class
attributes say which payloads it takes and gives, and a session's memory lives in a state object apart from it::

    class Loudness(Operator[None]):
        accepts = (AudioChunk,)
        emits = (Features,)

        def open(self, session: str) -> None: ...

        def process(self, packet: Packet[AudioChunk], state: None) -> Iterable[Packet[Features]]:
            level = np.abs(packet.data.samples).max(keepdims=True)
            yield packet.derive(Features(level[None, :], rate_hz=1 / (packet.end - packet.start)))

It is tested with a list in and a list out (``mmstream.testing.run_operator``): no Ray, no thread, no sleep.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from mmstream.clock import SYSTEM_CLOCK, Clock

Data = TypeVar("Data", covariant=True)
Other = TypeVar("Other")
State = TypeVar("State")

Place = Literal["worker", "driver"]


class MmstreamError(Exception):
    """A fault that one line explains: the command line prints that line and exits non-zero."""


class MediaLost(MmstreamError):  # noqa: N818 - what happened is a loss, not a mistake
    """Raised by a source whose media broke off for good, such as an unplugged microphone.

    What it gave before is good: it comes out whole, as at the end of the media, and then the session ends with this.
    """


@dataclass(frozen=True, slots=True)
class Packet(Generic[Data]):
    """One payload with its place in time. Packets of one edge and session arrive in order of ``start``."""

    session: str
    start: float  # media seconds, derived from the samples or frames received
    end: float  # media seconds; start <= end
    data: Data
    captured_at: float  # wall-clock seconds at which the media at ``end`` was captured; for latency only

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled in a third of the time that slots take: packets go over every edge between processes."""
        return Packet, (self.session, self.start, self.end, self.data, self.captured_at)

    def derive(self, data: Other, start: float | None = None, end: float | None = None) -> Packet[Other]:
        """A packet made from this one: same session and capture time, other payload, and times where given.

        With another ``end``, ``captured_at`` moves with it, so latency keeps being measured from the media.
        """
        new_end = self.end if end is None else end
        return Packet(
            session=self.session,
            start=self.start if start is None else start,
            end=new_end,
            data=data,
            captured_at=self.captured_at + (new_end - self.end),
        )


@dataclass(frozen=True, slots=True)
class NodeBefore:
    """A node that a recogniser needs in front of it: its operator, and the nodes or payloads that it takes."""

    use: str
    takes: Sequence[str | type]
    max_skew_ms: float | None = None


Before = Mapping[str, NodeBefore]  # by name, in order: what a recogniser's class says in ``before``


@dataclass(frozen=True, slots=True)
class End:
    """Control payload: nothing more comes on this edge for this session. Operators see it as ``flush``."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Control payload: nothing that starts before the packet's ``start`` will still come on this edge."""


@dataclass(frozen=True, slots=True)
class Barrier:
    """Control payload: what came before it on this edge is in the session's snapshot ``number``, the rest is not."""

    number: int


class Operator(ABC, Generic[State]):
    """A node that turns packets into packets. Built once per worker, called by one thread, serves many sessions.

    Whatever belongs to one session lives in ``State``, which should be a picklable dataclass; ``self`` holds
    configuration and models only. What comes out depends on the state and the packets alone: then a session goes on
    in another process, from a copy of its state, as if nothing had happened. Raise on a fault: the runtime adds node,
    session and media time.
    """

    accepts: ClassVar[tuple[type, ...]]
    emits: ClassVar[tuple[type, ...]]
    runs_on: ClassVar[Place] = "worker"  # where it runs when the file does not say: a worker, or the user's process
    any_order: ClassVar[bool] = False  # of packets from several inputs: nobody waits for a slow one to keep media order
    clock: Clock = SYSTEM_CLOCK  # set by the worker

    @abstractmethod
    def open(self, session: str) -> State:
        """The memory of a new session."""

    @abstractmethod
    def process(self, packet: Packet[Any], state: State) -> Iterable[Packet[Any]]:
        """What ``packet`` gives. Usually a generator.

        A ``Gap`` arrives here only where ``accepts`` names it. Otherwise the runtime flushes the state, passes
        the gap on and opens a fresh state, so that nothing is computed across lost media.
        """

    def flush(self, state: State) -> Iterable[Packet[Any]]:
        """What is left at the end of the stream: the last words, the rest of a buffer, the finished file."""
        return ()

    def discard(self, state: State) -> None:
        """The session failed or was abandoned: release what ``state`` holds and leave nothing half-written."""
        return

    def watermark(self, state: State, reached: float) -> float:
        """The earliest start of what may still come out, once nothing before ``reached`` can still come in.

        Override it in an operator that holds media back. Unit: media seconds.
        """
        return reached

    def close(self) -> None:
        """The worker ends: release what ``self`` holds."""
        return


class BatchOperator(Operator[State]):
    """An operator whose work is shared: the worker gathers packets of several sessions into one call.

    ``batch: {max_size, max_wait_ms}`` of the worker bounds the call. A batch holds at most one packet per
    session, so order within a session is kept.
    """

    @abstractmethod
    def process_batch(self, packets: Sequence[Packet[Any]], states: Sequence[State]) -> Iterable[Iterable[Packet[Any]]]:
        """One iterable of packets for each packet given, in the same order.

        Where it raises it leaves the states as they were: each packet is then tried alone, to find the one at fault.
        """

    def process(self, packet: Packet[Any], state: State) -> Iterable[Packet[Any]]:
        return next(iter(self.process_batch([packet], [state])))


class Sink(Operator[State]):
    """An operator at the end of the graph: it writes or shows, in the user's process unless the file says otherwise.

    A sink that writes a file makes it appear whole in ``flush`` and never in ``discard``.
    """

    emits: ClassVar[tuple[type, ...]] = ()
    runs_on: ClassVar[Place] = "driver"

    def ready(self, state: State) -> bool:
        """Whether it can take a packet now. While it cannot, its session waits, and no other; ask again soon."""
        return True


class Source(ABC):
    """A node that packets come from. Built once per session; ``packets`` runs in a thread of its own.

    A subclass with a constructor calls ``super().__init__()``.
    """

    emits: ClassVar[tuple[type, ...]]
    live: ClassVar[bool] = False  # a capture device or live stream: it cannot be asked to wait
    runs_on: ClassVar[Place] = "worker"
    clock: Clock = SYSTEM_CLOCK  # set by the worker
    missing: frozenset[type] = frozenset()  # payloads of ``emits`` that will not come: known with the first packet
    repeats: bool = False  # built again, it gives the same packets again at once: nothing is kept for a replay

    def __init__(self) -> None:
        self.stopping = threading.Event()

    def __str__(self) -> str:
        """What it listens to, for people, once packets come; nothing where nobody is to be told."""
        return type(self).__name__

    @classmethod
    def comes_live(cls, arguments: Mapping[str, Any]) -> bool:
        """Whether, with these arguments, its media comes at the pace of the wall clock, so that it can be too late."""
        return cls.live

    @abstractmethod
    def packets(self, session: str) -> Iterator[Packet[Any]]:
        """Every packet of the session, in media order, until the media ends or ``stopping`` is set."""

    def stop(self) -> None:
        """End the stream soon, from any thread; what was captured until now still comes out."""
        self.stopping.set()
