"""Fusion as an operator: sound and lips of the same steps, one of them missing where it must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Packet
from mmstream.lockstep import Lockstep
from mmstream.media import Features, FusedFeatures, Gap, VisualFeatures
from mmstream.nets import STEP_S
from mmstream.nets.stacking import Answer, Ask, Row, begun, stepped
from operators.encoders import RATE_HZ, Given

Vector = NDArray[np.float32]
Name = Literal["audio", "video"]


@dataclass
class Stream:
    """What has come of one medium and was not fused yet."""

    vectors: dict[int, Vector] = field(default_factory=dict)  # by step
    trust: dict[int, float] = field(default_factory=dict)
    reached: int | None = None  # the step after the last one that came; None: nothing came yet
    awaited: bool = True  # whether the other medium still waits for it


@dataclass
class FuseState:
    """One session."""

    audio: Stream = field(default_factory=Stream)
    video: Stream = field(default_factory=Stream)
    first_step: int = 0
    next_step: int | None = None
    net: Row | None = None
    late: Packet[Gap] | None = None  # video that came when its steps were gone, not told yet
    last: Packet[Any] | None = None


class Fuse(Lockstep[FuseState, Ask, Answer]):
    """Joins vectors of sound (Features) and lips (VisualFeatures) step by step, and says how far video counts.

    A step goes on once both media have come that far, or once the order of the packets says that nothing more comes
    for it. A medium that is silent for more than ``max_wait_ms`` of media time is not even waited for so long, until
    it comes again: its steps count as missing. Video that comes too late is left out, with a ``Gap`` that says so.

    ``model``: ``avsr``, or a folder that ``mmstream export`` has written.
    """

    accepts: ClassVar[tuple[type, ...]] = (Features, VisualFeatures, Gap)
    emits: ClassVar[tuple[type, ...]] = (FusedFeatures, Gap)

    def __init__(self, model: str = "avsr", max_wait_ms: float = 200.0) -> None:
        from mmstream.weights import recogniser

        if max_wait_ms < 0:
            raise ValueError(f"max_wait_ms is 0 or more, not {max_wait_ms}")
        self.max_wait_steps = round(max_wait_ms / 1000 * RATE_HZ)
        self._net = recogniser(model).fusion

    def open(self, session: str) -> FuseState:
        return FuseState()

    def work(self, packet: Packet[Any], state: FuseState) -> Given:
        if isinstance(packet.data, Gap):
            return [packet]
        state.last = packet
        heard = isinstance(packet.data, Features)
        stream = state.audio if heard else state.video
        first = round(packet.start * RATE_HZ)
        if state.next_step is None:
            state.first_step = state.next_step = first
        for k, vector in enumerate(packet.data.values, start=first):
            if k >= state.next_step:
                stream.vectors[k] = vector
                stream.trust[k] = 1.0 if heard else float(packet.data.trust[k - first])
        stream.reached = max(stream.reached or 0, first + len(packet.data.values))
        stream.awaited = state.next_step - stream.reached <= self.max_wait_steps
        if not heard and first < state.next_step:
            state.late = self._later(packet, state)
        return (yield from self._go_on(packet, state))

    def rest(self, state: FuseState) -> Given:
        given: list[Packet[Any]] = []
        if state.last is not None and state.next_step is not None:
            until = max(state.audio.reached or 0, state.video.reached or 0)
            given += yield from self._fuse(until, state.last, state)
        if state.late is not None:
            given.append(state.late)
        return given

    def answer(self, asked: Sequence[Ask]) -> Sequence[Answer]:
        return stepped(self._net.step, asked)

    def watermark(self, state: FuseState, reached: float) -> float:
        return reached if state.next_step is None else min(reached, state.next_step * STEP_S)

    def _go_on(self, packet: Packet[Any], state: FuseState) -> Given:
        """Fuse every step for which nothing more is waited for."""
        assert state.next_step is not None
        streams = (state.audio, state.video)
        promised = round(packet.start * RATE_HZ)  # nothing comes for steps before it: packets are in order of start
        furthest = max(stream.reached or 0 for stream in streams)
        limit = furthest
        for stream in streams:
            reached = state.first_step if stream.reached is None else stream.reached
            if stream.awaited and promised - reached > self.max_wait_steps:
                stream.awaited = False
            if stream.awaited:
                limit = min(limit, reached)
        limit = max(limit, min(promised, furthest))
        if limit <= state.next_step:
            return []
        given = yield from self._fuse(limit, packet, state)
        if state.late is not None and state.video.awaited:
            given.append(state.late)
            state.late = None
        return given

    def _fuse(self, until: int, packet: Packet[Any], state: FuseState) -> Given:
        """The steps before ``until``."""
        assert state.next_step is not None
        steps = range(state.next_step, until)
        if not steps:
            return []
        audio, video = (np.zeros((len(steps), self._net.dim), np.float32) for _ in range(2))
        trust = np.zeros((len(steps), 2), np.float32)
        for column, (stream, vectors) in enumerate(((state.audio, audio), (state.video, video))):
            for row, k in enumerate(steps):
                if k in stream.vectors:
                    vectors[row] = stream.vectors.pop(k)
                    trust[row, column] = stream.trust.pop(k)
        fused, state.net = yield Ask((audio, video, trust), state.net or begun(self._net.start))
        state.next_step = until
        values = FusedFeatures(fused.vectors, fused.share, RATE_HZ)
        return [packet.derive(values, steps.start * STEP_S, until * STEP_S)]

    def _later(self, packet: Packet[VisualFeatures], state: FuseState) -> Packet[Gap]:
        reason = f"pictures came more than {self.max_wait_steps * STEP_S * 1000:.0f} ms after the sound"
        start = packet.start if state.late is None else state.late.start
        return packet.derive(Gap("video", reason), start=start)
