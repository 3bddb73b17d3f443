"""Whether the person on camera says it: moving lips join the detection of voice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from mmstream.core import Operator, Packet
from mmstream.media import Gap, Mouth, Speech
from operators.video.lips import Lips
from operators.video.mouth_crop import NO_FACE

# Tuned on ../shared/data/grid/train.jsonl.
SMOOTH_S = 0.44  # over which lip motion is averaged: longer than lips stay closed within speech
BEGINS, ENDS = 0.03, 0.02  # mean motion at which lips start and stop speaking
DELAY_S = SMOOTH_S / 2  # what a mean over the past tells is true half of its length ago

KEEP_S = 30.0  # of what was seen: more than a packet of speech reaches back
MAX_WAIT_S = 1.0  # for pictures that are behind the sound
BACKLOG_S = 1.0  # of speech that comes out after all once lips move: they may begin after the voice detector does
COMES_ON, GOES_OFF = 0.3, 0.1  # share of moving lips in the last BACKLOG_S of speech


@dataclass
class Sight:
    """What the lips on camera did for a while."""

    start: float  # media seconds
    end: float
    moved: bool | None  # as in speech; False too where nobody is in sight; None: they could not be seen


@dataclass
class OnCameraState:
    """One session, bounded by KEEP_S of sights and by MAX_WAIT_S and BACKLOG_S of speech."""

    lips: Lips = field(default_factory=Lips)
    moving: bool = False
    sights: deque[Sight] = field(default_factory=deque)
    seen: float = float("-inf")  # media second up to which it is known what the lips did
    newest: float = float("-inf")  # latest media second that came in
    held: deque[Packet[Speech]] = field(default_factory=deque)  # speech that waits for pictures
    backlog: deque[Packet[Speech]] = field(default_factory=deque)  # speech that was left out a moment ago
    recent: deque[tuple[float, float | None]] = field(default_factory=deque)  # its seconds and share on camera
    ending: Packet[Speech] | None = None  # what would end the utterance of which a part was given


class OnCamera(Operator[OnCameraState]):
    """Speech, each packet with ``on_camera``: in what share of its time the lips on camera moved as in speech.

    It is None where pictures are missing, frozen or too bad for more than half of the time, and 0 where nobody is in
    sight. Speech waits for its pictures and 220 ms more, but never for longer than a second of media, and not at all
    for a camera that has been silent for that long.

    ``only_on_camera`` leaves out what a voice off camera says: from where lips have been still for a second of speech
    and until they move again; the second before that comes with it, so that no first word is lost. Speech without
    pictures to judge it by is never left out. An utterance of which a part came out always ends with ``last``.
    """

    accepts: ClassVar[tuple[type, ...]] = (Speech, Mouth, Gap)
    emits: ClassVar[tuple[type, ...]] = (Speech,)

    def __init__(self, only_on_camera: bool = False) -> None:
        self.only_on_camera = only_on_camera

    def open(self, session: str) -> OnCameraState:
        return OnCameraState()

    def process(self, packet: Packet[Any], state: OnCameraState) -> Iterator[Packet[Any]]:
        state.newest = max(state.newest, packet.end)
        if isinstance(packet.data, Speech):
            state.held.append(packet)
        elif isinstance(packet.data, Mouth):
            _see(packet, state)
        elif packet.data.medium == "video":
            _see_nothing(packet, state)
        else:
            yield from self.flush(state)
            yield packet
        while state.held and not _must_wait(state.held[0], state):
            yield from self._judge(state.held.popleft(), state)

    def flush(self, state: OnCameraState) -> Iterator[Packet[Speech]]:
        """What still waits, judged by what was seen."""
        while state.held:
            yield from self._judge(state.held.popleft(), state)
        _forget_utterance(state)

    def watermark(self, state: OnCameraState, reached: float) -> float:
        """Speech that waits, or that may come out after all, is older than what comes in."""
        return min([reached, *(waiting[0].start for waiting in (state.held, state.backlog) if waiting)])

    def _judge(self, packet: Packet[Speech], state: OnCameraState) -> Iterator[Packet[Speech]]:
        """Mark the packet; give it, unless it is of a voice off camera that is to be left out."""
        share = _share_moved(packet.start, packet.end, state.sights)
        marked = packet.derive(replace(packet.data, on_camera=share))
        if not self.only_on_camera:
            yield marked
            return
        state.recent.append((packet.end - packet.start, share))
        while sum(seconds for seconds, _ in state.recent) > BACKLOG_S and len(state.recent) > 1:
            state.recent.popleft()
        state.backlog.append(marked)
        if _is_on(state):
            yield from state.backlog
            state.backlog.clear()
            nothing = replace(marked.data, samples=marked.data.samples[:0], last=True)
            state.ending = marked.derive(nothing, start=marked.end)
        else:
            if state.ending is not None:
                yield state.ending
                state.ending = None
            while packet.end - state.backlog[0].start > BACKLOG_S and len(state.backlog) > 1:
                state.backlog.popleft()
        if packet.data.last:
            _forget_utterance(state)


def _forget_utterance(state: OnCameraState) -> None:
    state.backlog.clear()
    state.recent.clear()
    state.ending = None


def _is_on(state: OnCameraState) -> bool:
    """Whether the utterance under way is said on camera, as far as that is known."""
    known = [(seconds, share) for seconds, share in state.recent if share is not None]
    length = sum(seconds for seconds, _ in known)
    if length == 0 or length < sum(seconds for seconds, _ in state.recent) / 2:
        return True
    moved = sum(seconds * share for seconds, share in known) / length
    return moved >= (COMES_ON if state.ending is None else GOES_OFF)


def _must_wait(packet: Packet[Speech], state: OnCameraState) -> bool:
    """Whether pictures of the packet's time may still come, and have not been waited for long enough."""
    is_seen = packet.end <= state.seen + 1e-6
    camera_is_alive = packet.start - state.seen < MAX_WAIT_S
    return not is_seen and camera_is_alive and state.newest - packet.end < MAX_WAIT_S


def _see(packet: Packet[Mouth], state: OnCameraState) -> None:
    """Note whether lips move, for the time that their smoothed motion is true of."""
    state.lips.see(packet.data.pixels, packet.start)
    level = state.lips.level(packet.start, SMOOTH_S)
    state.moving = level is not None and level > (ENDS if state.moving else BEGINS)
    _note(packet.start, packet.end - DELAY_S, None if level is None else state.moving, state)


def _see_nothing(packet: Packet[Gap], state: OnCameraState) -> None:
    """Note that there were no lips to see, or nobody."""
    state.moving, state.lips = False, Lips()
    _note(packet.start, packet.end, False if packet.data.reason == NO_FACE else None, state)


def _note(start: float, end: float, moved: bool | None, state: OnCameraState) -> None:
    """Put a sight after those before it; they reach to DELAY_S before ``start``."""
    start = max(state.seen, start - DELAY_S)
    if end <= start:
        return
    last = state.sights[-1] if state.sights else None
    if last is not None and last.moved == moved and start - last.end < 1e-6:
        last.end = end
    else:
        state.sights.append(Sight(start, end, moved))
    state.seen = end
    while state.sights[0].end < end - KEEP_S:
        state.sights.popleft()


def _share_moved(start: float, end: float, sights: Iterable[Sight]) -> float | None:
    """The share of moving lips in the time from ``start`` to ``end`` that is known; None where too little is."""
    known = moved = 0.0
    for sight in sights:
        seconds = min(end, sight.end) - max(start, sight.start)
        if seconds > 0 and sight.moved is not None:
            known += seconds
            moved += seconds * sight.moved
    return moved / known if known > 0 and known >= (end - start) / 2 else None
