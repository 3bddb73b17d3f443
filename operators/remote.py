"""Recognition by a server of mmstream: sound -> captions and translations, with the network between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmstream.client import SAMPLE_RATE, Heard, RemoteSession
from mmstream.client_address import token_in
from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk, Caption, Gap, Translation, Word
from operators.audio.timeline import Timeline


@dataclass
class RemoteState:
    """One session here, and its session there."""

    name: str
    session: RemoteSession
    timeline: Timeline | None = None  # counts the samples that were fed
    captured_at: float = 0.0  # wall-clock second of media second 0, by the latest packet
    gaps: deque[Packet[Gap]] = field(default_factory=lambda: deque(maxlen=256))  # not told yet


class Remote(Operator[RemoteState]):
    """Captions of a server for mono sound at 16 kHz. What is lost here is silence there, so that times agree.

    ``translate``: languages that the server translates them into. What it says comes out with the next packet that
    comes in. Errors: MmstreamError where there is no such server, or it
    says no.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk, Gap)
    emits: ClassVar[tuple[type, ...]] = (Caption, Translation, Gap)

    def __init__(
        self,
        server: str,
        token_file: str | None = None,
        model: str = "auto",
        language: str | None = None,
        translate: Sequence[str] = (),
    ) -> None:
        """``server``: ws://host:port; ``token_file``: holds what lets us in; ``model`` and ``language``: asked for."""
        self.server, self.model, self.language, self.translate = server, model, language, translate
        self.token = None if token_file is None else token_in(Path(token_file))

    def open(self, session: str) -> RemoteState:
        remote = RemoteSession(self.server, self.token, self.model, self.language, self.translate)
        remote.open()
        return RemoteState(session, remote)

    def process(self, packet: Packet[Any], state: RemoteState) -> Iterator[Packet[Any]]:
        if isinstance(packet.data, Gap):
            state.gaps.append(packet)
        else:
            _feed(packet, state)
        for heard in state.session.take():
            yield from _told(heard, state)

    def flush(self, state: RemoteState) -> Iterator[Packet[Any]]:
        """The last words."""
        state.session.finish()
        while found := state.session.take(wait=True):
            for heard in found:
                yield from _told(heard, state)
        yield from state.gaps
        state.session.close()

    def discard(self, state: RemoteState) -> None:
        state.session.close()

    def watermark(self, state: RemoteState, reached: float) -> float:
        origin = state.timeline.origin if state.timeline is not None else reached
        return min(reached, origin + state.session.settled)


def _feed(packet: Packet[AudioChunk], state: RemoteState) -> None:
    chunk = packet.data
    if chunk.sample_rate != SAMPLE_RATE or chunk.samples.shape[1] != 1:
        raise MmstreamError("Remote takes mono sound at 16000 Hz: put operators.audio:Resample before it")
    timeline = state.timeline = state.timeline or Timeline(packet.start, SAMPLE_RATE)
    if timeline.broken_by(packet.start):
        missing = round((packet.start - timeline.end) * SAMPLE_RATE)
        state.session.feed_silence(missing)
        timeline.count += missing
    timeline.count += len(chunk.samples)
    state.captured_at = packet.captured_at - packet.end
    samples = np.clip(np.round(chunk.samples[:, 0] * 32768), -32768, 32767)
    state.session.feed(samples.astype("<i2").tobytes())


def _told(heard: Heard, state: RemoteState) -> Iterator[Packet[Any]]:
    """What the server has heard as a packet, behind the gaps before it."""
    origin = state.timeline.origin if state.timeline is not None else 0.0
    start, end, data = origin + heard.start, origin + heard.end, heard.data
    if origin and isinstance(data, Caption | Translation):
        data = replace(data, stable=_moved(data.stable, origin), unstable=_moved(data.unstable, origin))
    while state.gaps and state.gaps[0].start <= start:
        yield state.gaps.popleft()
    yield Packet(state.name, start, end, data, state.captured_at + end)


def _moved(words: tuple[Word, ...], seconds: float) -> tuple[Word, ...]:
    return tuple(replace(word, start=word.start + seconds, end=word.end + seconds) for word in words)
