"""What goes between the server and a decoding child: fixed headers, lengths with a limit, nothing that runs code.

The child reads what strangers send, so the server believes nothing that it says: ``read_packet`` checks each message.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, Medium, VideoFrame

# With the zygote: one byte each, the server's with the descriptors of a child; and how a child ended.
READY, SPAWN = b"r", b"s"
STATUS = struct.Struct("!i")  # as ``os.waitpid`` says; COULD_NOT_FORK if there never was one
COULD_NOT_FORK = -1

# Up, one socket: the job (length, JSON), and in live mode pieces of media. The socket's end is the end of the media.
LENGTH = struct.Struct("!I")
PIECE = struct.Struct("!dI")  # wall-clock second of arrival, bytes that follow
PIECE_BYTES = 1 << 16  # at most in one piece

# Down: kind; start, end, captured_at in seconds; three numbers as the kind wants them; bytes that follow.
HEADER = struct.Struct("!BdddIIII")
OPENED, AUDIO, VIDEO, GAP, END, REFUSED, FAULT = range(1, 8)  # kinds
TEXT_BYTES = 1_000  # of a message for people; in UTF-8

_BITS: dict[Medium, int] = {"audio": 1, "video": 2}  # in the first number of OPENED and GAP


class WireError(Exception):
    """The child said something that no sound child says."""


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What one session may cost and send. Beyond them the session ends with one line that says so."""

    memory_mb: int = 512  # that the child may take, above the libraries
    cpu_s: int = 20  # processor time without a packet
    total_cpu_s: int = 3_600  # processor time in all
    stalled_s: float = 30.0  # wall-clock time without a packet, while media waits to be decoded
    silent_mb: float = 16.0  # live media without a packet
    media_s: float = 14_400.0  # media time
    megapixels: float = 16.8  # of a picture as it is coded: 4096x4096
    short_side: int = 480  # pixels; larger pictures are scaled down to it, as for finding faces
    long_side: int = 1_280  # pixels; the same
    frame_rate: float = 40.0  # pictures a second; a faster film loses every second picture, or more
    sample_rate: int = 192_000  # Hz
    channels: int = 16
    chunk_ms: int = 100

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)!r}")

    @property
    def payload_bytes(self) -> int:
        """The longest message: a picture, or a chunk; tracks cut sound into chunks of ``chunk_ms``."""
        sound = self.sample_rate * self.channels * 4 * self.chunk_ms // 1000
        return max(self.short_side * self.long_side * 3, sound, TEXT_BYTES)


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is asked to do."""

    mode: Literal["live", "file"]
    streams: Literal["any", "audio"]
    limits: DecodingLimits


def write_packet(packet: Packet[Any]) -> tuple[bytes, Any]:
    """Header and payload of a packet."""
    data = packet.data
    payload: Any
    if isinstance(data, AudioChunk):
        kind, numbers = AUDIO, (data.sample_rate, *data.samples.shape)
        payload = np.ascontiguousarray(data.samples, "<f4").data.cast("B")
    elif isinstance(data, VideoFrame):
        kind, numbers, payload = VIDEO, data.pixels.shape, np.ascontiguousarray(data.pixels).data.cast("B")
    else:
        kind, numbers, payload = GAP, (_BITS[data.medium], 0, 0), data.reason.encode()[:TEXT_BYTES]
    return HEADER.pack(kind, packet.start, packet.end, packet.captured_at, *numbers, len(payload)), payload


def write_opened(media: tuple[Medium, ...]) -> bytes:
    """The message that comes first: which media follow."""
    return HEADER.pack(OPENED, 0, 0, 0, sum(_BITS[medium] for medium in media), 0, 0, 0)


def write_end(kind: int, text: str = "") -> tuple[bytes, bytes]:
    """Header and payload of the last message: END, REFUSED (for the user) or FAULT (for the log)."""
    payload = text.encode(errors="replace")[:TEXT_BYTES]
    return HEADER.pack(kind, 0, 0, 0, 0, 0, 0, len(payload)), payload


def read_opened(bits: int) -> tuple[Medium, ...]:
    """Raises WireError."""
    media = tuple(medium for medium, bit in _BITS.items() if bits & bit)
    if not media or bits != sum(_BITS[medium] for medium in media):
        raise WireError(f"media {bits}")
    return media


def read_packet(
    kind: int, times: tuple[float, float, float], numbers: tuple[int, int, int], payload: bytearray,
    session: str, limits: DecodingLimits,
) -> Packet[AudioChunk | VideoFrame | Gap]:  # fmt: skip
    """The packet of a message from a child, checked.

    Raises:
        WireError: it is none that a sound child sends.
    """
    start, end, captured_at = times
    if not (math.isfinite(captured_at) and 0 <= start <= end < math.inf):
        raise WireError(f"times {times}")
    data: AudioChunk | VideoFrame | Gap
    if kind == AUDIO:
        data = _sound(numbers, payload, limits)
    elif kind == VIDEO:
        data = _picture(numbers, payload, limits)
    elif kind == GAP:
        data = Gap(read_opened(numbers[0])[0], read_text(payload))
    else:
        raise WireError(f"kind {kind}")
    return Packet(session, start, end, data, captured_at)


def _sound(numbers: tuple[int, int, int], payload: bytearray, limits: DecodingLimits) -> AudioChunk:
    rate, count, channels = numbers
    if not (0 < rate <= limits.sample_rate and 0 < channels <= limits.channels and count > 0):
        raise WireError(f"sound {numbers}")
    if count * channels * 4 != len(payload):
        raise WireError(f"sound {numbers} in {len(payload)} bytes")
    samples = np.frombuffer(payload, "<f4").reshape(count, channels)
    if not (samples.min() >= -1 and samples.max() <= 1):  # a NaN is neither
        raise WireError("samples beyond -1..1")
    return AudioChunk(samples, rate)


def _picture(numbers: tuple[int, int, int], payload: bytearray, limits: DecodingLimits) -> VideoFrame:
    height, width, channels = numbers
    if channels != 3 or not 0 < height * width * 3 == len(payload):
        raise WireError(f"picture {numbers} in {len(payload)} bytes")
    if min(height, width) > limits.short_side or max(height, width) > limits.long_side:
        raise WireError(f"picture {numbers}")
    return VideoFrame(np.frombuffer(payload, np.uint8).reshape(height, width, 3))


def read_text(payload: bytes | bytearray) -> str:
    """One line for people, whatever the child sent."""
    text = payload.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)[:300]
