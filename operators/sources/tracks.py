"""From decoded frames to packets: one track per stream, one timeline per container, media time made here.

Media time counts samples, and is anchored to the timestamps of the container:

- A timestamp more than ``TOLERANCE_S`` ahead of the count is lost media: a ``Gap``, and the count goes on after it.
- One that is ahead by less, but by more than ``PAD_S``, is filled up with silence, so that sound and picture stay
  together without a break: files joined from clips whose sound is a little short, a capture clock that runs slow.
- One that is more than ``TOLERANCE_S`` behind is a discontinuity (files joined end to end, a clock that was set): the
  clock never runs backwards, so the media goes on from where it is, and the other streams of the container follow.
- Smaller differences are the container's rounding; the count wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, Medium, VideoFrame

TOLERANCE_S = 0.2  # a timestamp this far from the sample count is no rounding
PAD_S = 0.03  # sound that is short by this much is filled up
DAMAGED_S = 0.005  # the same straight after data that could not be decoded: there the loss is certain
CHUNK_MS = (10, 10_000)  # legal chunk lengths
FOLLOW_S = 1.0  # how far apart the streams of a container may be when they cross a discontinuity

_EVER = float("inf")


def check_chunk_ms(chunk_ms: int) -> None:
    """Raise ValueError where ``chunk_ms`` is no sensible length of an audio chunk."""
    if not CHUNK_MS[0] <= chunk_ms <= CHUNK_MS[1]:
        raise ValueError(f"chunk_ms must be {CHUNK_MS[0]} to {CHUNK_MS[1]}, not {chunk_ms}")


class Timeline:
    """Turns timestamps of one container into media seconds that never run backwards, alike for all its streams.

    ``longest_gap_s`` bounds what a live stream believes: a timestamp further ahead is a discontinuity, not a loss.
    """

    def __init__(self, longest_gap_s: float = _EVER) -> None:
        self._longest_gap_s = longest_gap_s
        self._offsets = [0.0]  # media seconds of timestamp 0, for every stretch between discontinuities
        self._stretches: dict[Medium, int] = {}  # which stretch a stream is in

    def restart(self, offset: float) -> None:
        """A new container goes on with this timeline; ``offset`` is the media second of its timestamp 0."""
        self._offsets = [offset]
        self._stretches = {}

    def place(self, medium: Medium, timestamp: float, reached: float | None, expected: float) -> float:
        """The media second of ``timestamp`` in a stream that has come to ``reached`` (None: it only begins).

        After a discontinuity the media goes on at ``expected``.
        """
        own = self._stretches.get(medium, 0)
        for stretch in range(len(self._offsets) - 1, own - 1, -1):
            time = timestamp + self._offsets[stretch]
            if reached is None or -TOLERANCE_S <= time - reached <= FOLLOW_S:
                self._stretches[medium] = stretch
                return time
        time = timestamp + self._offsets[own]
        if reached is not None and 0 <= time - reached <= self._longest_gap_s:
            return time
        self._offsets.append(expected - timestamp)
        self._stretches[medium] = len(self._offsets) - 1
        return expected


class AudioTrack:
    """Chunks of a constant number of samples out of frames of any size; the last one before a break is shorter.

    ``since`` and ``until`` (media seconds) cut to the sample. ``captured_at`` of a packet follows from the
    ``received_at`` of the frames: the wall-clock second at which a frame's end arrived.
    """

    medium: Medium = "audio"

    def __init__(
        self, session: str, timeline: Timeline, chunk_ms: int, *, since: float = 0.0, until: float = _EVER
    ) -> None:
        self._session = session
        self._timeline = timeline
        self._chunk_ms = chunk_ms
        self._since, self._until = since, until
        self._sample_rate = 0
        self._channels = 0
        self._anchor: float | None = None  # media second at which the samples counted below begin
        self._count = 0
        self._held: list[NDArray[np.float32]] = []  # (time, channel) each: at the end of those counted
        self._held_count = 0
        self._damage: str | None = None
        self._received_at = 0.0

    @property
    def position(self) -> float | None:
        """Media seconds up to which media came in; None before the first."""
        if self._anchor is None:
            return None
        return self._anchor + (self._count / self._sample_rate if self._count else 0.0)

    @property
    def complete(self) -> bool:
        """Whether ``until`` is reached."""
        return self.position is not None and self.position >= self._until - 1e-6

    def add(
        self, samples: NDArray[np.float32], sample_rate: int, timestamp: float | None, received_at: float = 0.0
    ) -> Iterator[Packet[AudioChunk | Gap]]:
        """Take ``samples`` (time, channel), whose first one has ``timestamp`` on the container's clock."""
        if (sample_rate, samples.shape[1]) != (self._sample_rate, self._channels):
            yield from self.flush()
            self._anchor, self._count = self.position, 0
            self._sample_rate, self._channels = sample_rate, samples.shape[1]
        if timestamp is not None or self._anchor is None:
            time = self._timeline.place(self.medium, timestamp or 0.0, self.position, self.position or 0.0)
            if self._anchor is None:
                samples = samples[max(0, round((self._since - time) * sample_rate)) :]
                if not len(samples):
                    return
                self._anchor = max(time, self._since)
            else:
                yield from self._fill(time, received_at)
        self._damage = None
        room = (self._until - self._expected) * sample_rate
        self._hold(samples if room >= len(samples) else samples[: max(0, round(room))])
        self._received_at = received_at
        yield from self._chunks(max(1, sample_rate * self._chunk_ms // 1000))

    def _fill(self, time: float, received_at: float) -> Iterator[Packet[AudioChunk | Gap]]:
        """Make up for what is missing before ``time``: as a gap, or if it is little, as silence."""
        missing_s = time - self._expected
        if missing_s > (TOLERANCE_S if self._damage is None else DAMAGED_S):
            yield from self.lose_until(time, self._damage or "the timestamps jump ahead", received_at)
        elif missing_s > PAD_S:
            self._hold(np.zeros((round(missing_s * self._sample_rate), self._channels), np.float32))

    @property
    def _expected(self) -> float:
        assert self.position is not None
        return self.position

    def _hold(self, samples: NDArray[np.float32]) -> None:
        if len(samples):
            self._held.append(samples)
            self._held_count += len(samples)
            self._count += len(samples)

    def _chunks(self, size: int) -> Iterator[Packet[AudioChunk]]:
        """As many chunks of ``size`` samples as are held."""
        if self._held_count < size or not size:
            return
        assert self._anchor is not None
        held = np.concatenate(self._held)
        first = self._count - len(held)
        for begin in range(0, len(held) - size + 1, size):
            start = self._anchor + (first + begin) / self._sample_rate
            end = self._anchor + (first + begin + size) / self._sample_rate
            chunk = AudioChunk(held[begin : begin + size], self._sample_rate)
            captured_at = self._received_at - (self._expected - end)
            yield Packet(self._session, start, end, chunk, captured_at)
        rest = held[len(held) // size * size :]
        self._held, self._held_count = ([rest] if len(rest) else []), len(rest)

    def lose_until(self, time: float, reason: str, received_at: float) -> Iterator[Packet[AudioChunk | Gap]]:
        """Give out what is held, and say that the media up to the media second ``time`` is lost."""
        if self._anchor is None:
            return
        yield from self.flush()
        start, end = self._expected, min(time, self._until)
        if end > start:
            self._anchor, self._count = end, 0
            yield Packet(self._session, start, end, Gap(self.medium, reason), received_at)

    def damaged(self, reason: str) -> None:
        """Some data could not be decoded: whatever the next timestamp leaves out is lost for this ``reason``."""
        self._damage = reason

    def flush(self) -> Iterator[Packet[AudioChunk]]:
        """What is held, as one shorter chunk."""
        yield from self._chunks(self._held_count)


class VideoTrack:
    """Frames that last until the next one begins, so one is held back; the last lasts as long as it says itself.

    A frame that stays long is no loss (a variable frame rate); what lies between undecodable data is.
    """

    medium: Medium = "video"

    def __init__(
        self, session: str, timeline: Timeline, frame_s: float, *, since: float = 0.0, until: float = _EVER
    ) -> None:
        self._session = session
        self._timeline = timeline
        self._frame_s = frame_s
        self._since, self._until = since, until
        self._pixels: Callable[[], NDArray[np.uint8]] | None = None  # of the frame that is held
        self._start: float | None = None
        self._lasts_s = frame_s  # as it says itself, or as frames usually do
        self._end: float | None = None  # of what came out last
        self._damage: str | None = None
        self._received_at = 0.0

    @property
    def position(self) -> float | None:
        """Media seconds up to which media came in; None before the first frame."""
        if self._pixels is None or self._start is None:
            return self._end
        return self._start + self._lasts_s

    @property
    def complete(self) -> bool:
        """Whether ``until`` is reached."""
        return self._end is not None and self._end >= self._until - 1e-6

    def add(
        self,
        pixels: Callable[[], NDArray[np.uint8]],
        timestamp: float | None,
        received_at: float = 0.0,
        lasts_s: float | None = None,
    ) -> Iterator[Packet[VideoFrame | Gap]]:
        """Take a frame; ``pixels`` makes its (height, width, 3) RGB, and is only called if the frame comes out."""
        expected = self.position
        if timestamp is None:
            time = expected or 0.0
        else:
            reached = None if expected is None else self._reached
            time = self._timeline.place(self.medium, timestamp, reached, expected or 0.0)
        if time < self._since - 1e-6:
            return
        time = max(time, self._reached)
        if self._damage is not None and expected is not None and time - expected > self._frame_s / 2:
            yield from self.lose_until(time, self._damage, received_at)
        self._damage = None
        yield from self._give(min(time, self._until), received_at)
        if time < self._until - 1e-6:
            self._pixels, self._start, self._received_at = pixels, time, received_at
            self._lasts_s = lasts_s or self._frame_s

    @property
    def _reached(self) -> float:
        """The media second before which no frame may begin any more."""
        return max(self._since, self._end or 0.0, self._start if self._pixels and self._start else 0.0)

    def _give(self, end: float, captured_at: float) -> Iterator[Packet[VideoFrame]]:
        if self._pixels is None or self._start is None:
            return
        frame, self._pixels, self._end = VideoFrame(self._pixels()), None, max(end, self._start)
        yield Packet(self._session, self._start, self._end, frame, captured_at)

    def lose_until(self, time: float, reason: str, received_at: float) -> Iterator[Packet[VideoFrame | Gap]]:
        """Give out the frame that is held, and say that the media up to the media second ``time`` is lost."""
        yield from self.flush()
        start, end = self._end, min(time, self._until)
        if start is not None and end > start:
            self._end = end
            yield Packet(self._session, start, end, Gap(self.medium, reason), received_at)

    def damaged(self, reason: str) -> None:
        """Some data could not be decoded: what lies before the next frame is lost for this ``reason``."""
        self._damage = reason

    def flush(self) -> Iterator[Packet[VideoFrame]]:
        """The frame that is held."""
        if self._start is not None:
            yield from self._give(min(self._start + self._lasts_s, self._until), self._received_at)


Track = AudioTrack | VideoTrack


def in_order(items: Iterator[tuple[float, Medium, Any]], hold_s: Mapping[Medium, float]) -> Iterator[Any]:
    """The third elements of (time, medium, item), audio and video merged by time.

    One medium waits while the other may still bring something earlier, but for no more than ``hold_s`` of it.
    """
    waiting: dict[Medium, list[tuple[float, Any]]] = {"audio": [], "video": []}
    for time, medium, item in items:
        waiting[medium].append((time, item))
        while all(waiting.values()) or time - waiting[medium][0][0] > hold_s[medium]:
            yield _earliest(waiting)
            if not waiting[medium]:
                break
    while any(waiting.values()):
        yield _earliest(waiting)


def _earliest(waiting: dict[Medium, list[tuple[float, Any]]]) -> Any:
    queue = min((queue for queue in waiting.values() if queue), key=lambda queue: queue[0][0])
    return queue.pop(0)[1]
