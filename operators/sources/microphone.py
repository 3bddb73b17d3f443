"""A microphone as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Packet, Place, Source
from mmstream.media import AudioChunk, Gap
from operators.sources.devices import InputDevice, choose_device, import_sounddevice, list_devices
from operators.sources.errors import SourceError, SourceLost
from operators.sources.handoff import Handoff

QUEUE_S = 2.0  # sound that may wait between the device's thread and the graph
BLOCK_MS = (5, 1_000)  # legal block lengths
MAX_DELAY_S = 2.0  # a device that claims to be further behind than this has a broken clock


@dataclass(frozen=True, slots=True)
class _Block:
    """What one call of PortAudio brought."""

    samples: NDArray[np.float32]  # (time, channel)
    captured_at: float  # wall-clock seconds of its end
    overflowed: bool  # the device lost sound before it
    missed: int  # samples before it that found no room in the queue


class Microphone(Source):
    """Sound of a capture device, in blocks as the device gives them. Media time counts samples from the first one.

    Sound that the device or the queue lost is a ``Gap`` of the estimated length; ``overflows`` counts the losses.
    """

    emits = (AudioChunk,)
    live = True
    runs_on: ClassVar[Place] = "driver"

    def __init__(
        self,
        device: str | int | None = None,
        sample_rate: int | None = None,
        channels: int = 1,
        block_ms: int = 50,
        stall_timeout_s: float = 5.0,
    ) -> None:
        """Record from ``device``: its number, its name or a part of it; None for the system's default.

        ``sample_rate`` in Hz, by default the device's own. ``block_ms``: length of a block, and the least latency.
        ``stall_timeout_s``: a device that gives nothing for so long counts as unplugged.
        """
        super().__init__()
        if isinstance(device, str) and not device.strip():
            raise ValueError("device must be a number or a name (`mmstream devices` lists them), not empty")
        if sample_rate is not None and not 1_000 <= sample_rate <= 768_000:
            raise ValueError(f"sample_rate must be 1000 to 768000 Hz, not {sample_rate}")
        if channels < 1:
            raise ValueError(f"channels must be at least 1, not {channels}")
        if not BLOCK_MS[0] <= block_ms <= BLOCK_MS[1]:
            raise ValueError(f"block_ms must be {BLOCK_MS[0]} to {BLOCK_MS[1]}, not {block_ms}")
        if stall_timeout_s <= 0:
            raise ValueError(f"stall_timeout_s must be more than 0, not {stall_timeout_s:g}")
        self.device = device
        self.sample_rate = sample_rate
        self.channels = channels
        self.block_ms = block_ms
        self.stall_timeout_s = stall_timeout_s
        self.overflows = 0
        self._name = ""  # of the open device
        self._rate = 0  # Hz, of the open stream
        self._latency_s = 0.0  # of the open stream, as PortAudio expects it
        self._missed = 0
        self._blocks: Handoff[_Block] = Handoff(max(4, round(QUEUE_S * 1000 / block_ms)))

    def __str__(self) -> str:
        return f"microphone {self._name!r}"

    def stop(self) -> None:
        super().stop()
        self._blocks.close()

    def packets(self, session: str) -> Iterator[Packet[AudioChunk | Gap]]:
        """The sound until ``stop``.

        Raises:
            SourceError: there is no such device, or it cannot be opened.
            SourceLost: it was unplugged.
        """
        device = choose_device(self.device, list_devices())
        self._name = device.name
        stream = self._open(device)
        ended = 0.0
        try:
            for packet in self._timed(session):
                ended = packet.end
                yield packet
        finally:
            stream.abort()
            stream.close()
        if not self.stopping.is_set():
            raise SourceLost(
                f"microphone {device.name!r} stopped giving sound at {ended:.2f} s; was it unplugged or switched off?"
            )

    def _open(self, device: InputDevice) -> Any:
        """A started stream on ``device``."""
        if self.channels > device.channels:
            raise SourceError(f"microphone {device.name!r} has {device.channels} channels, not {self.channels}")
        sounddevice = import_sounddevice()
        self._rate = self.sample_rate or device.sample_rate
        try:
            stream = sounddevice.InputStream(
                device=device.index,
                samplerate=self._rate,
                channels=self.channels,
                dtype="float32",
                blocksize=max(1, self._rate * self.block_ms // 1000),
                callback=self._receive,
                finished_callback=self._blocks.close,
            )
            self._latency_s = float(stream.latency)
            stream.start()
        except sounddevice.PortAudioError as error:
            how = f"{self._rate} Hz, {self.channels} channel{'s' * (self.channels > 1)}"
            raise SourceError(f"microphone {device.name!r} cannot be opened ({how}): {error}") from error
        return stream

    def _receive(self, samples: NDArray[np.float32], count: int, time: Any, status: Any) -> None:
        """PortAudio's callback, in its own thread: it must never wait."""
        delay_s = time.currentTime - time.inputBufferAdcTime  # since the first sample was recorded
        if not 0 <= delay_s <= MAX_DELAY_S:
            delay_s = self._latency_s
        captured_at = self.clock.now() - max(0.0, delay_s - count / self._rate)
        block = _Block(samples.copy(), captured_at, bool(status.input_overflow), self._missed)
        self._missed = 0 if self._blocks.offer(block) else self._missed + count

    def _timed(self, session: str) -> Iterator[Packet[AudioChunk | Gap]]:
        """Blocks with their media time, and gaps where some are missing, until the device or ``stop`` ends them."""
        received = 0  # samples
        lost_s = 0.0
        before: float | None = None  # wall-clock end of the last block
        while (block := self._blocks.take(self.stall_timeout_s)) is not None:
            length_s = len(block.samples) / self._rate
            start = lost_s + received / self._rate
            missed_s = block.missed / self._rate
            begun_at = block.captured_at - length_s
            if before is not None and (block.overflowed or block.missed):
                self.overflows += 1
                if block.overflowed:
                    missed_s = max(missed_s, begun_at - before)
                reason = "the microphone's buffer overflowed" if block.overflowed else "the graph fell behind"
                yield Packet(session, start, start + missed_s, Gap("audio", reason), begun_at)
                lost_s += missed_s
                start += missed_s
            received += len(block.samples)
            before = block.captured_at
            end = lost_s + received / self._rate
            yield Packet(session, start, end, AudioChunk(block.samples, self._rate), block.captured_at)
