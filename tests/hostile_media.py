"""Media that means harm: small files that claim, nest or repeat more than anybody should have to bear."""

from __future__ import annotations

import random
import struct
import tempfile
from pathlib import Path

import numpy as np

from tests.media_samples import ffmpeg, noise, talking_picture, write_timed, write_wav

TEN_HOURS = 36_000  # seconds
EBML_HEADER = bytes.fromhex(
    "1a45dfa3 9f 4286810142f7810142f2810442f381084282847765626d42878104428581 02".replace(" ", "")
)
UNKNOWN = b"\x01" + b"\xff" * 7  # an EBML size: as far as it goes

RECORDED = {  # how each kind of container is made for tests: short, of pictures and sound where it has both
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "ogg": ("-vn", "-c:a", "libopus", "-page_duration", "100000"),
    "mp4": ("-c:v", "libx264", "-tune", "zerolatency", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"),
    "ts": ("-c:v", "libx264", "-tune", "zerolatency", "-c:a", "aac"),
    "wav": ("-vn",),
    "mp3": ("-vn",),
    "flac": ("-vn",),
}


def recordings(seconds: float = 0.6) -> dict[str, bytes]:
    """A sound recording of each kind."""
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for kind, options in RECORDED.items():
            path = Path(folder) / f"recorded.{kind}"
            made[kind] = talking_picture(path, seconds, *options).read_bytes()
        return made


def mutated(media: bytes, seed: int) -> bytes:
    """``media`` with bytes changed, cut out, doubled and wiped, as the seed has it."""
    dice = random.Random(seed)
    data = bytearray(media)
    for _ in range(dice.randint(1, 12)):
        place = dice.randrange(len(data)) if data else 0
        length = dice.choice((1, 1, 2, 4, 8, 100))
        match dice.randrange(6):
            case 0:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length * 10]
            case 3:
                data[place : place + length] = bytes(length)
            case 4:
                data[place : place + length] = b"\xff" * length
            case 5:
                del data[place:]
    return bytes(data)


def bombs() -> dict[str, bytes]:
    """By what they try."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mp4 = folder / "plain.mp4"
        write_wav(folder / "noise.wav", noise(1.0))
        ffmpeg("-i", folder / "noise.wav", "-c:a", "aac", mp4)
        ffmpeg("-i", folder / "noise.wav", folder / "noise.mp3")
        plain, mp3 = mp4.read_bytes(), (folder / "noise.mp3").read_bytes()
        wav = (folder / "noise.wav").read_bytes()
        late = write_timed(folder / "late.mkv", [(0.0, noise(1.0)), (float(TEN_HOURS), noise(1.0))]).read_bytes()
    return {
        "a WAV file that claims ten hours": _with_size(wav, TEN_HOURS * 32_000),
        "an MP4 file whose first sample lasts ten hours": _with_first_sample(plain, TEN_HOURS * 16_000),
        "a Matroska file that goes on after ten hours": late,
        "an MP4 file that claims a billion samples": _with_samples(plain, 1_000_000_000),
        "an MP4 box in a box, 5,000 deep": nested_boxes(5_000),
        "an MP4 box that claims all there is": struct.pack(">I4sQ", 1, b"moov", 2**63 - 1) + bytes(1_000),
        "a Matroska tag in a tag, 5,000 deep": nested_tags(5_000),
        "a Matroska file of 20,000 tracks": many_tracks(20_000),
        "an Ogg file of 5,000 streams": many_streams(5_000),
        "an MPEG-TS of 8,000 programs": many_programs(),
        "an ID3 tag that claims 256 MB": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"APIC\x7f\x7f\x7f\x7f\0\0" + mp3,
        "ID3 tags without end": b"ID3\x04\0\0\0\0\0\x0a" * 50_000 + mp3,
    }


def _with_size(wav: bytes, size: int) -> bytes:
    at = wav.index(b"data") + 4
    return wav[:at] + struct.pack("<I", size) + wav[at + 4 :]


def _with_first_sample(mp4: bytes, lasts: int) -> bytes:
    at = mp4.index(b"stts") + 12
    return mp4[:at] + struct.pack(">II", 1, lasts) + mp4[at + 8 :]


def _with_samples(mp4: bytes, count: int) -> bytes:
    """All of one byte, all at once: a table that takes no room in the file."""
    at = mp4.index(b"stsz") + 8
    mp4 = mp4[:at] + struct.pack(">II", 1, count) + mp4[at + 8 :]
    at = mp4.index(b"stts") + 8
    mp4 = mp4[:at] + struct.pack(">III", 1, count, 1) + mp4[at + 12 :]
    at = mp4.index(b"stsc") + 8
    return mp4[:at] + struct.pack(">IIII", 1, 1, count, 1) + mp4[at + 16 :]


def nested_boxes(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = struct.pack(">I4s", len(data) + 8, b"moov") + data
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + data


def _element(tag: str, content: bytes) -> bytes:
    return bytes.fromhex(tag) + struct.pack(">Q", 1 << 56 | len(content)) + content


def nested_tags(depth: int) -> bytes:
    """Segment, Tags, Tag, and then SimpleTag in SimpleTag."""
    return (
        EBML_HEADER
        + b"".join(bytes.fromhex(tag) + UNKNOWN for tag in ("18538067", "1254c367", "7373"))
        + ((b"\x67\xc8" + UNKNOWN) * depth)
    )


def many_tracks(count: int) -> bytes:
    track = _element("ae", _element("d7", b"\x01") + _element("83", b"\x02") + _element("86", b"A_PCM/INT/LIT"))
    return EBML_HEADER + bytes.fromhex("18538067") + UNKNOWN + _element("1654ae6b", track * count)


def many_streams(count: int) -> bytes:
    """Each begins with the head of Opus."""
    head = b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0"
    return b"".join(
        b"OggS\0\x02" + bytes(8) + struct.pack("<III", number, 0, 0) + bytes([1, len(head)]) + head
        for number in range(count)
    )


def many_programs() -> bytes:
    """Tables of programs, each with a place for its own table, and a packet in every place."""
    packets = []
    for pid in range(32, 8_190):
        section = struct.pack(">BHHBBB", 0, 0xB00D, 1, 0xC1, 0, 0) + struct.pack(">HH", pid, 0xE000 | pid) + bytes(4)
        packets.append(_ts(0, b"\0" + section))
        packets.append(_ts(pid, b"\0\0\x01\xc0\0\0\x80\0\0" + bytes(50)))
    return b"".join(packets)


def _ts(pid: int, content: bytes) -> bytes:
    return (b"\x47" + struct.pack(">HB", 0x4000 | pid, 0x10) + content).ljust(188, b"\xff")


def silence(hours: float) -> bytes:
    """FLAC of nothing at all: hours in a few kilobytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "silence.flac"
        write_wav(Path(folder) / "one.wav", np.zeros((round(hours * 3_600 * 8_000), 1), np.int16), 8_000)
        ffmpeg("-i", Path(folder) / "one.wav", path)
        return path.read_bytes()
