"""Packets from memory as sources, and a sink that keeps them there: what is costly to make is made once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mmstream.core import Packet, Sink, Source
from mmstream.media import AudioChunk, Gap, Mouth, VideoFrame


class Replay(Source):
    """Packets that were recorded, or are made on the way, as if they came now; under the name of the new session.

    They must be in order of ``start``. Their capture times are made anew: at pace ``fast`` the moment at which each
    is given, at ``realtime`` the moment of its end, with media second 0 at wall time ``origin`` or, for None, where
    the first packet puts it. Sources with one ``origin`` keep step.

    ``packets`` comes with each session: a file can name a ``Replay``, but not what it plays.
    """

    emits: ClassVar[tuple[type, ...]] = (AudioChunk, VideoFrame, Mouth)

    def __init__(
        self, packets: Any = (), pace: Literal["realtime", "fast"] = "fast", origin: float | None = None
    ) -> None:
        """``packets``: an iterable of ``Packet``; it is iterated once in each session."""
        super().__init__()
        if pace not in ("realtime", "fast"):
            raise ValueError(f"pace must be realtime or fast, not {pace!r}")
        if not isinstance(packets, Iterable):
            raise ValueError(f"packets must be an iterable of packets, not {packets!r}")
        self._packets: Iterable[Packet[Any]] = packets
        self.pace, self.origin = pace, origin

    @classmethod
    def comes_live(cls, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("pace") == "realtime"

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        origin = self.origin
        for packet in self._packets:
            if self.stopping.is_set():
                return
            now = self.clock.now()
            if self.pace == "fast":
                yield dataclasses.replace(packet, session=session, captured_at=now)
                continue
            if origin is None:
                origin = now - packet.start
            due = origin + packet.end
            if self.clock.wait(due - now, self.stopping):
                return
            yield dataclasses.replace(packet, session=session, captured_at=due)


class ReplayAudio(Replay):
    """Sound from memory, see ``Replay``."""

    emits: ClassVar[tuple[type, ...]] = (AudioChunk,)


class ReplayVideo(Replay):
    """Frames from memory, see ``Replay``."""

    emits: ClassVar[tuple[type, ...]] = (VideoFrame,)


class ReplayMouths(Replay):
    """Mouths from memory, see ``Replay``."""

    emits: ClassVar[tuple[type, ...]] = (Mouth,)


@dataclass
class Recorded:
    """One session."""

    session: str
    packets: list[Packet[Any]] = field(default_factory=list)


class Record(Sink[Recorded]):
    """Keeps every packet of a session in memory; ``kept`` holds them under its name once it has ended well.

    ``kept`` is shared with whoever made the graph, in one process only: it is no argument for a file.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk, VideoFrame, Mouth, Gap)

    def __init__(self, kept: Any = None) -> None:
        self.kept: dict[str, list[Packet[Any]]] = {} if kept is None else kept

    def open(self, session: str) -> Recorded:
        return Recorded(session)

    def process(self, packet: Packet[Any], state: Recorded) -> Iterable[Packet[Any]]:
        state.packets.append(packet)
        return ()

    def flush(self, state: Recorded) -> Iterable[Packet[Any]]:
        self.kept[state.session] = state.packets
        return ()
