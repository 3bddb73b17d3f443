"""What the tests of decoding share: feeding a decoder, and looking at its processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.server.decoding import BadMedia, Decoder, DecodingLimits, decode_file, warm_up
from mmstream.server.decoding_zygote import shared_zygote
from tests.media_samples import talking_picture

WAIT_S = 20.0
EBML = b"\x1aE\xdf\xa3"  # with which Matroska begins


def pieces_of(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


@contextmanager
def writing(decoder: Decoder, pieces: Iterable[bytes], *, end: bool = True) -> Iterator[threading.Thread]:
    """A thread that writes them, and must come to its end."""

    def write() -> None:
        for piece in pieces:
            decoder.write(piece)
        if end:
            decoder.end()

    thread = threading.Thread(target=write, name="writer under test")
    thread.start()
    try:
        yield thread
    finally:
        if end:
            thread.join(WAIT_S)
            decoder.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def decode_live(data: bytes, count: int = 1, **options) -> list[Packet]:
    """All packets of ``data``, written in so many pieces."""
    decoder = Decoder(**options)
    with writing(decoder, pieces_of(data, count)):
        return list(decoder.packets("test"))


def refusal(decoding) -> str:
    """The one line that the media is refused with."""
    with pytest.raises(BadMedia) as caught:
        list(decoding.packets("test"))
    message = str(caught.value)
    assert "\n" not in message
    assert "/" not in message.replace("MPEG-TS", "")  # no path of ours
    return message


def outcome(decoding) -> str | None:
    """Decode it all; the one line that it was refused with, if it was."""
    try:
        packets = list(decoding.packets("test"))
    except BadMedia as error:
        line = str(error)
    else:
        line = None
        assert all(isinstance(packet.data, AudioChunk | VideoFrame | Gap) for packet in packets)
    assert line is None or (line.isprintable() and len(line) < 400)
    return line


def chunks(packets: Iterable[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, AudioChunk)]


def frames(packets: Iterable[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, VideoFrame)]


def gaps(packets: Iterable[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, Gap)]


def assert_same_media(packets: list[Packet], others: list[Packet]) -> None:
    """The same places in time with the same content, each medium for itself."""
    for select in (chunks, frames, gaps):
        assert [(p.start, p.end) for p in select(packets)] == [(p.start, p.end) for p in select(others)]
    for packet, other in zip(chunks(packets), chunks(others), strict=True):
        assert packet.data.sample_rate == other.data.sample_rate
        np.testing.assert_array_equal(packet.data.samples, other.data.samples)
    for packet, other in zip(frames(packets), frames(others), strict=True):
        np.testing.assert_array_equal(packet.data.pixels, other.data.pixels)


def children_of(pid: int | None) -> set[int]:
    """The processes that ``pid`` has made and not buried."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # gone meanwhile
            if int(fields[1]) == pid:
                found.add(int(folder.name))
    return found


def only_child_of(pid: int | None) -> int:
    """The one child, as soon as it is made."""
    until(lambda: children_of(pid), "no child was made")
    (child,) = children_of(pid)
    return child


def open_files(pid: int | str | None = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - one descriptor less than with Path


def until(holds, what: str) -> None:
    """Wait for what another process brings about."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture(scope="module", autouse=True)
def zygote():
    """The process that decoders are forked from; at the end none of them is left."""
    warm_up()
    yield shared_zygote()
    until(lambda: not children_of(shared_zygote().pid), "children left")


@pytest.fixture(scope="module")
def webm(tmp_path_factory):
    """A recording of a second, as browsers make them."""
    path = tmp_path_factory.mktemp("media") / "recorded.webm"
    return talking_picture(path, 1.0, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus").read_bytes()


def refusal_of_file(path: Path, streams="any", **limits) -> str:
    return refusal(decode_file(path, streams, DecodingLimits(**limits)))


def refusal_of_live(data: bytes, **limits) -> str:
    decoder = Decoder(limits=DecodingLimits(**limits))
    with writing(decoder, [data]):
        return refusal(decoder)
