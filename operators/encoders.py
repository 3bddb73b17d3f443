"""The recogniser's front ends as operators: mel frames and mouths -> vectors on one grid of 40 ms steps.

Step k of either covers media seconds [0.04 k, 0.04 (k + 1)), so that fusion need not interpolate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Packet
from mmstream.lockstep import Lockstep, Work
from mmstream.media import Features, Gap, Mouth, VisualFeatures
from mmstream.nets import STEP_S
from mmstream.nets.stacking import Answer, Ask, Row, begun, finished, stepped

RATE_HZ = 1 / STEP_S
MELS_PER_STEP = 4
HOLD_STEPS = 4  # a mouth that is not seen is taken to be as it was, for so many steps
HOLD_TRUST = 0.8  # and each of them costs this factor of trust
TELL_S = 1.0  # a loss of video that goes on is told at least so often

Given = Work[Ask, Answer, list[Packet[Any]]]


@dataclass
class HeardState:
    """One session: mel frames of a step that is not complete, what the net remembers, and the next step to give."""

    mel: NDArray[np.float32]  # (frame, mel)
    net: Row | None = None  # None: nothing has come yet
    next_step: int = 0
    to_skip: int = 0  # vectors that the net gives before they mean anything
    last: Packet[Features] | None = None


class AudioEncoder(Lockstep[HeardState, Ask, Answer]):
    """Log-mel frames at 100 Hz -> vectors at 25 Hz, as late as the net looks ahead.

    ``model``: ``avsr``, or a folder that ``mmstream export`` has written.

    Errors: MmstreamError for features that are not what the net was trained on, or a model that does not load.
    """

    accepts: ClassVar[tuple[type, ...]] = (Features,)
    emits: ClassVar[tuple[type, ...]] = (Features,)

    def __init__(self, model: str = "avsr") -> None:
        from mmstream.weights import recogniser

        self._net = recogniser(model).audio

    def open(self, session: str) -> HeardState:
        return HeardState(np.zeros((0, self._net.n_mels), np.float32))

    def work(self, packet: Packet[Features], state: HeardState) -> Given:
        values = packet.data.values
        if values.shape[1] != self._net.n_mels or packet.data.rate_hz != RATE_HZ * MELS_PER_STEP:
            raise MmstreamError(
                f"AudioEncoder takes {self._net.n_mels} mel bands at {RATE_HZ * MELS_PER_STEP:g} Hz, not "
                f"{values.shape[1]} at {packet.data.rate_hz:g} Hz: set LogMel's n_mels and hop_ms"
            )
        if state.net is None:
            values = self._begin(packet, state)
        state.mel = np.concatenate([state.mel, values])
        state.last = packet
        return (yield from self._encode(len(state.mel) // MELS_PER_STEP, state))

    def rest(self, state: HeardState) -> Given:
        if state.net is None:
            return []
        given: list[Packet[Any]] = []
        if len(state.mel):
            state.mel = np.concatenate([state.mel, self._silence(-len(state.mel) % MELS_PER_STEP)])
            given += yield from self._encode(1, state)
        given += self._give(finished(self._net.finish, state.net), state)
        state.net = None
        return given

    def answer(self, asked: Sequence[Ask]) -> Sequence[Answer]:
        return stepped(self._net.step, asked)

    def watermark(self, state: HeardState, reached: float) -> float:
        return reached if state.net is None else min(reached, state.next_step * STEP_S)

    def _begin(self, packet: Packet[Features], state: HeardState) -> NDArray[np.float32]:
        """Put the stream on the grid: silence fills the step in which it begins."""
        first = round(packet.start * RATE_HZ * MELS_PER_STEP)
        state.next_step, missing = divmod(first, MELS_PER_STEP)
        state.to_skip = self._net.lookahead
        state.net = begun(self._net.start)
        return np.concatenate([self._silence(missing), packet.data.values])

    def _silence(self, frames: int) -> NDArray[np.float32]:
        return np.full((frames, self._net.n_mels), math.log(1e-6), np.float32)

    def _encode(self, steps: int, state: HeardState) -> Given:
        if not steps:
            return []
        assert state.net is not None
        frames, state.mel = np.split(state.mel, [steps * MELS_PER_STEP])
        values, state.net = yield Ask((frames,), state.net)
        return self._give(values, state)

    def _give(self, values: NDArray[np.float32], state: HeardState) -> list[Packet[Any]]:
        skipped = min(state.to_skip, len(values))
        state.to_skip -= skipped
        values = values[skipped:]
        if not len(values):
            return []
        start = state.next_step * STEP_S
        state.next_step += len(values)
        assert state.last is not None
        return [state.last.derive(Features(values, RATE_HZ), start, state.next_step * STEP_S)]


@dataclass
class SeenState:
    """One session: the mouth on show, what the net remembers, and the next step to give."""

    shown: NDArray[np.uint8] | None = None  # the last mouth, (size, size)
    trust: float = 0.0  # its quality
    age: int = 0  # steps for which it has been held without being seen
    since: float = 0.0  # media second from which it is on show
    grid: int | None = None  # next step to be put on the grid
    net: Row | None = None
    next_step: int = 0
    to_skip: int = 0
    trusts: list[float] = field(default_factory=list)  # of the steps that the net has not given yet
    lost: Packet[Gap] | None = None  # a loss under way that was not told yet
    losses: list[Packet[Gap]] = field(default_factory=list)  # to be told once the steps before them were given
    last: Packet[Any] | None = None


class VideoEncoder(Lockstep[SeenState, Ask, Answer]):
    """Mouths at any frame rate -> vectors at 25 Hz, as late as the net looks ahead.

    A step shows the mouth that is there at its middle. While no mouth is seen, steps go on: the last one for
    HOLD_STEPS, then none, with trust 0. ``model``: as for AudioEncoder.

    Errors: MmstreamError for mouths of another size than the net was trained on, or a model that does not load.
    """

    accepts: ClassVar[tuple[type, ...]] = (Mouth, Gap)
    emits: ClassVar[tuple[type, ...]] = (VisualFeatures, Gap)

    def __init__(self, model: str = "avsr") -> None:
        from mmstream.nets.visual import CROP
        from mmstream.weights import recogniser

        self._net = recogniser(model).video
        self._size = CROP

    def open(self, session: str) -> SeenState:
        return SeenState()

    def work(self, packet: Packet[Any], state: SeenState) -> Given:
        if isinstance(packet.data, Mouth) and packet.data.pixels.shape != (self._size, self._size):
            height, width = packet.data.pixels.shape
            raise MmstreamError(
                f"VideoEncoder takes mouths of {self._size} x {self._size} pixels, not {width} x {height}"
            )
        if state.grid is None:
            self._begin(packet, state)
        # What was shown until now is known for every step whose middle lies before this packet.
        given = yield from self._encode(self._steps_until(packet.start, state), packet, state, held=True)
        state.last = packet
        if isinstance(packet.data, Mouth):
            given += self._told(state)
            state.shown, state.trust, state.age = packet.data.pixels, packet.data.quality, 0
            given += yield from self._encode(self._steps_until(packet.end, state), packet, state)
        else:
            given += yield from self._lose(packet, state)
        return given

    def rest(self, state: SeenState) -> Given:
        if state.grid is None or state.last is None:
            return []
        given = yield from self._encode(self._steps_until(state.last.end, state), state.last, state, held=True)
        assert state.net is not None
        given += self._give(finished(self._net.finish, state.net), state.last, state)
        given += [*self._told(state), *state.losses]
        state.grid, state.losses = None, []
        return given

    def answer(self, asked: Sequence[Ask]) -> Sequence[Answer]:
        from mmstream.nets.visual import middle

        return stepped(lambda crops, mask, memory: self._net.step(middle(crops), mask, memory), asked)

    def watermark(self, state: SeenState, reached: float) -> float:
        return reached if state.grid is None else min(reached, state.next_step * STEP_S)

    def _begin(self, packet: Packet[Any], state: SeenState) -> None:
        state.grid = state.next_step = round(packet.start * RATE_HZ)
        state.to_skip = self._net.lookahead
        state.net = begun(self._net.start)

    def _steps_until(self, until: float, state: SeenState) -> int:
        """How many steps, from the next on, have their middle before media second ``until``."""
        assert state.grid is not None
        return max(0, math.ceil(until * RATE_HZ - 0.5 - 1e-6) - state.grid)

    def _lose(self, packet: Packet[Gap], state: SeenState) -> Given:
        """A stretch without a mouth: steps go on, held or empty, and the loss is told now and then."""
        given: list[Packet[Any]] = []
        before = state.lost
        if before is not None and before.data == packet.data and packet.start <= before.end + STEP_S:
            lost = packet.derive(packet.data, start=before.start)
        else:
            given += self._told(state)
            lost = packet
        state.lost = lost
        given += yield from self._encode(self._steps_until(packet.end, state), packet, state, held=True)
        if lost.end - lost.start >= TELL_S:
            given += self._told(state)
        return given

    def _told(self, state: SeenState) -> list[Packet[Any]]:
        if state.lost is not None:
            state.losses.append(state.lost)
        state.lost = None
        return self._reached(state)

    def _reached(self, state: SeenState) -> list[Packet[Any]]:
        """The losses that no step will still begin before: the net is behind the pictures."""
        told = [loss for loss in state.losses if loss.start <= state.next_step * STEP_S + 1e-6]
        del state.losses[: len(told)]
        return [*told]

    def _encode(self, steps: int, packet: Packet[Any], state: SeenState, held: bool = False) -> Given:
        """Give the net ``steps`` more steps of what is on show."""
        if not steps:
            return []
        assert state.grid is not None
        assert state.net is not None
        crops = np.zeros((steps, self._size, self._size), np.uint8)
        trusts = np.zeros(steps, np.float32)
        for k in range(steps):
            if k or held:
                state.age += 1  # of one picture's steps, only the first saw something new
            if state.shown is not None and state.age <= HOLD_STEPS:
                crops[k], trusts[k] = state.shown, state.trust * HOLD_TRUST**state.age
        state.grid += steps
        state.trusts += trusts.tolist()
        values, state.net = yield Ask((crops, trusts > 0), state.net)
        return self._give(values, packet, state)

    def _give(self, values: NDArray[np.float32], packet: Packet[Any], state: SeenState) -> list[Packet[Any]]:
        skipped = min(state.to_skip, len(values))
        state.to_skip -= skipped
        values = values[skipped:]
        if not len(values):
            return []
        trusts = np.array(state.trusts[: len(values)], np.float32)
        del state.trusts[: len(values)]
        start, told = state.next_step * STEP_S, self._reached(state)
        state.next_step += len(values)
        return [*told, packet.derive(VisualFeatures(values, trusts, RATE_HZ), start, state.next_step * STEP_S)]
