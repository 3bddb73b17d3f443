"""Sound of telephones, G.711, as the samples that the service takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BIAS = 0x84  # of mu-law

Codes = NDArray[np.int32]


def _mulaw(codes: Codes) -> Codes:
    inverted = codes ^ 0xFF
    size = ((((inverted & 0x0F) << 3) + BIAS) << ((inverted & 0x70) >> 4)) - BIAS
    return np.where(inverted & 0x80, -size, size).astype(np.int32)


def _alaw(codes: Codes) -> Codes:
    toggled = codes ^ 0x55
    segment = (toggled & 0x70) >> 4
    step = ((toggled & 0x0F) << 4) + np.where(segment == 0, 0x08, 0x108)
    size: Codes = step << np.maximum(segment - 1, 0)
    return np.where(toggled & 0x80, size, -size).astype(np.int32)


def _decoder(law: Callable[[Codes], Codes]) -> Callable[[bytes], bytes]:
    samples = law(np.arange(256, dtype=np.int32)).astype("<i2")  # by code
    return lambda data: samples[np.frombuffer(data, np.uint8)].tobytes()


# Bytes of each encoding to 16-bit little-endian samples, any number of them at a time.
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "linear16": lambda data: data,
    "mulaw": _decoder(_mulaw),
    "alaw": _decoder(_alaw),
}
