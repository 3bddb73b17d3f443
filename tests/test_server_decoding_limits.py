"""Limits of decoding: size, memory and time, whatever the media claims, and one clear line where it goes beyond."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from pathlib import Path

import av
import pytest

from mmstream.server.decoding import BadMedia, BrokenMedia, Decoder, DecodingLimits, decode_file
from tests.decoding import (  # noqa: F401
    WAIT_S,
    decode_live,
    only_child_of,
    outcome,
    refusal,
    refusal_of_file,
    refusal_of_live,
    webm,
    writing,
    zygote,
)
from tests.hostile_media import bombs, silence
from tests.media_samples import noise, write_timed, write_wav


def write_pictures(path: Path, codec: str, side: int, count: int = 1, pixel_format: str = "yuvj420p") -> Path:
    """Black squares: much to decode in few bytes."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = pixel_format
        black = av.VideoFrame(side, side, pixel_format)
        for plane in black.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(count):
            black.pts = number
            for packet in stream.encode(black):
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


# Size


def test_pictures_that_are_too_large_are_refused_before_they_are_decoded(tmp_path):
    bomb = write_pictures(tmp_path / "bomb.mkv", "mjpeg", 8_000)
    assert bomb.stat().st_size < 3_000_000  # of 96 MB of pixels
    says = "the media: its pictures have 8000x8000 pixels; at most 16.8 megapixels are taken"
    assert refusal_of_file(bomb, memory_mb=100) == says
    assert refusal_of_live(bomb.read_bytes(), memory_mb=100) == says


@pytest.mark.parametrize(("side", "memory_mb"), [(8_000, 60), (4_000, 512)])
def test_a_header_that_lies_about_the_size_of_its_pictures_does_not_help(tmp_path, side, memory_mb):
    """The header says 64x64; what comes is larger, up to what is allowed or beyond it."""
    bomb = write_pictures(tmp_path / "bomb.mkv", "mjpeg", side)
    size = struct.pack(">H", side)
    data = (
        bomb.read_bytes().replace(b"\xb0\x82" + size, b"\xb0\x82\0\x40").replace(b"\xba\x82" + size, b"\xba\x82\0\x40")
    )
    assert data != bomb.read_bytes()
    try:
        packets = decode_live(data, limits=DecodingLimits(memory_mb=memory_mb))
    except BadMedia:
        assert side == 8_000
    else:
        assert {packet.data.pixels.shape for packet in packets} == {(480, 480, 3)}


def test_a_header_that_claims_huge_pictures_takes_no_memory(webm):  # noqa: F811
    data = webm
    for tag, value in ((b"\xb0\x81\xa0", b"\xb0\x82\x3e\x80"), (b"\xba\x81\x78", b"\xba\x82\x3e\x80")):
        at = data.index(tag)
        data = data[:at] + value[: len(tag)] + data[at + len(tag) :]
    decoder = Decoder(limits=DecodingLimits(memory_mb=60))
    with writing(decoder, [data]):
        outcome(decoder)


def test_more_memory_than_allowed_is_refused(tmp_path):
    path = write_pictures(tmp_path / "large.mkv", "mpeg4", 4_000, 3, "yuv420p")
    assert list(decode_file(path, "any").packets("test"))
    assert refusal_of_file(path, memory_mb=30) == "the media takes more than 30 MB of memory to decode"
    assert refusal_of_live(path.read_bytes(), memory_mb=30) == "the media takes more than 30 MB of memory to decode"


def test_sound_beyond_the_limits_is_refused(tmp_path):
    path = write_wav(tmp_path / "wide.wav", noise(0.5, 16_000, 24))
    assert "16000 Hz and 24 channels; at most 192000 Hz and 16 channels are taken" in refusal_of_file(path)
    path = write_wav(tmp_path / "fast.wav", noise(0.1, 400_000), 400_000)
    assert "400000 Hz and 1 channels" in refusal_of_file(path)


def test_media_longer_than_allowed_is_refused(tmp_path):
    path = write_timed(tmp_path / "jump.mkv", [(0.0, noise(1.0)), (1e6, noise(1.0))])
    assert refusal_of_file(path) == "the media is longer than 14400 s"
    path = write_wav(tmp_path / "long.wav", noise(3.0))
    assert refusal_of_file(path, media_s=2) == "the media is longer than 2 s"


# Bombs


@pytest.fixture(scope="module")
def all_bombs():
    return bombs()


@pytest.mark.parametrize("mode", ["file", "live"])
def test_a_bomb_costs_no_more_than_the_limits(tmp_path, all_bombs, mode):
    """Limits lower than usual, so that it is over sooner; memory is as usual."""
    lines = {}
    for name, data in all_bombs.items():
        (tmp_path / "bomb").write_bytes(data)
        limits = DecodingLimits(cpu_s=2, stalled_s=10)
        began = time.monotonic()
        if mode == "file":
            lines[name] = outcome(decode_file(tmp_path / "bomb", "any", limits))
        else:
            decoder = Decoder(limits=limits)
            with writing(decoder, [data]):
                lines[name] = outcome(decoder)
        assert time.monotonic() - began < WAIT_S, name
    heard = {
        "file": {"ID3 tags without end"},
        "live": {"a Matroska file that goes on after ten hours", "an MP4 file that claims a billion samples"},
    }
    harmless = {"a WAV file that claims ten hours", *heard[mode]}  # what is there is heard
    assert {name for name, line in lines.items() if line is None} == harmless


def test_hours_of_nothing_in_a_small_file_end_at_the_longest_that_is_taken(tmp_path):
    path = tmp_path / "silence.flac"
    path.write_bytes(silence(0.5))
    assert path.stat().st_size < 500_000
    assert refusal_of_file(path, media_s=1_000.0) == "the media is longer than 1000 s"


# Time


def test_an_endless_stream_without_media_ends(webm):  # noqa: F811
    """A header, and then nothing but elements to skip, for ever."""
    header = webm[: webm.index(b"\x1f\x43\xb6\x75")]  # up to the first cluster
    skipped = b"\xec" + struct.pack(">Q", 1 << 56 | 60_000) + bytes(60_000)
    decoder = Decoder(limits=DecodingLimits(silent_mb=2))

    def endless():
        yield header
        for _ in range(1_000):
            yield skipped

    with writing(decoder, endless()):
        assert refusal(decoder) == "2 MB of the media gave no sound or picture"


def test_processor_time_is_limited(tmp_path, webm):  # noqa: F811
    """A header and then very many zeros, to be searched for the next element."""
    path = tmp_path / "search.mkv"
    path.write_bytes(webm[: webm.index(b"\x1f\x43\xb6\x75")])
    with path.open("ab") as file:
        file.truncate(1 << 36)  # on disk it is a hole
    began = time.monotonic()
    says = "the media takes more processor time to decode than the 1 s that it may"
    assert refusal_of_file(path, cpu_s=1, stalled_s=100) == says
    assert time.monotonic() - began < WAIT_S


def test_a_child_that_is_stuck_is_ended(tmp_path, zygote):  # noqa: F811
    path = write_wav(tmp_path / "in.wav", noise(20.0, 48_000, 2), 48_000)
    decoding = decode_file(path, limits=DecodingLimits(stalled_s=0.3))
    os.kill(only_child_of(zygote.pid), signal.SIGSTOP)
    drained = []
    with pytest.raises(BadMedia, match="gave no sound or picture within"):
        drained.extend(decoding.packets("test"))


def test_a_live_child_that_is_stuck_is_ended_once_it_owes_something(webm, zygote):  # noqa: F811
    decoder = Decoder(limits=DecodingLimits(stalled_s=0.3))
    decoder.write(webm[: len(webm) // 2])
    packets = decoder.packets("test")
    next(packets)
    os.kill(only_child_of(zygote.pid), signal.SIGSTOP)
    with (
        writing(decoder, [bytes(60_000)] * 100),
        pytest.raises(BrokenMedia, match=r"no sound or picture within 0\.3 s"),
    ):
        list(packets)


def test_a_client_that_pauses_is_no_child_that_is_stuck(webm):  # noqa: F811
    decoder = Decoder(limits=DecodingLimits(stalled_s=0.1))
    received = []
    reader = threading.Thread(target=lambda: received.extend(decoder.packets("test")))
    reader.start()
    decoder.write(webm[: len(webm) // 2])
    reader.join(0.5)  # five times as long as a child may be stuck
    assert reader.is_alive()
    decoder.write(webm[len(webm) // 2 :])
    decoder.end()
    reader.join(WAIT_S)
    assert received[-1].end > 0.9
