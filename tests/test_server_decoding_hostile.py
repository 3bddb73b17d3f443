"""Hostile media: whatever a stranger sends costs no more than the limits, opens nothing, and gives one clear line."""

from __future__ import annotations

import http.server
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.server.decoding import BadMedia, BrokenMedia, Decoder, DecodingLimits, decode_file, warm_up
from mmstream.server.decoding_zygote import shared_zygote
from tests.decoding import WAIT_S, children_of, decode_live, only_child_of, pieces_of, refusal, until, writing
from tests.media_samples import noise, talking_picture, write_timed, write_wav

EBML = b"\x1aE\xdf\xa3"


@pytest.fixture(scope="module", autouse=True)
def zygote():
    warm_up()
    yield shared_zygote()
    until(lambda: not children_of(shared_zygote().pid), "children left")


@pytest.fixture(scope="module")
def webm(tmp_path_factory):
    path = tmp_path_factory.mktemp("media") / "recorded.webm"
    return talking_picture(path, 1.0, "-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus").read_bytes()


def refusal_of_file(path: Path, streams="any", **limits) -> str:
    return refusal(decode_file(path, streams, DecodingLimits(**limits)))


def refusal_of_live(data: bytes, **limits) -> str:
    decoder = Decoder(limits=DecodingLimits(**limits))
    with writing(decoder, [data]):
        return refusal(decoder)


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


# What is no media


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x00", "cannot be read as media"),
        (b"hello, I am text\n" * 100, "cannot be read as media"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "cannot be read as media"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "cannot be read as media"),
        (EBML + b"\xff" * 200, "cannot be read as media"),
        (b"OggS" + bytes(500), "cannot be read as media"),
        (b"\x00\x00\x00\x20ftypisom" + bytes(500), "cannot be read as media"),
    ],
)
def test_what_is_no_media_is_refused(tmp_path, content, says):
    path = tmp_path / "upload"
    path.write_bytes(content)
    assert says in refusal_of_file(path)
    live = refusal_of_live(content)
    assert live.startswith("the media ")
    assert live == "the media is empty (0 bytes)" or content


@pytest.mark.parametrize(
    "begin", [b"RIFF....WAVE", b"ID3\x04", b"fLaC\x00\x00\x00\x22", b"<html>", b"GET / HTTP/1.1\r\n"]
)
def test_what_cannot_come_live_is_refused_at_its_first_bytes(begin):
    decoder = Decoder()
    with writing(decoder, [begin.ljust(200)], end=False):
        assert refusal(decoder) == "the media is neither WebM (Matroska), Ogg, MPEG-TS nor fragmented MP4"


def packets_or_line(decoding) -> str | None:
    """Decode it all; the one line that it was refused with, if it was."""
    try:
        packets = list(decoding.packets("test"))
    except BadMedia as error:
        return str(error)
    assert all(isinstance(packet.data, AudioChunk | VideoFrame | Gap) for packet in packets)
    return None


@given(data=st.binary(max_size=4_000), begin=st.sampled_from([b"", EBML, b"OggS", b"G", b"\0\0\0\x18ftypisom"]))
@settings(max_examples=60, deadline=None)
def test_random_bytes_never_do_more_than_end_the_session(data, begin):
    decoder = Decoder()
    with writing(decoder, [begin + data]):
        assert "\n" not in (packets_or_line(decoder) or "")


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["change", "cut", "double", "wipe"]), st.integers(0, 255)),
    min_size=1,
    max_size=8,
)


@given(edits=EDITS)
@settings(max_examples=60, deadline=None)
def test_damaged_media_gives_packets_or_one_line(webm, edits):
    """Bytes of a good recording changed, cut and doubled."""
    media = bytearray(webm)
    for where, edit, value in edits:
        place = int(where * (len(media) - 1))
        match edit:
            case "change":
                media[place] = value
            case "cut":
                del media[max(1, place) :]
            case "double":
                media[place:place] = media[place : place + 500]
            case "wipe":
                media[place : place + 50] = bytes(len(media[place : place + 50]))
    decoder = Decoder()
    with writing(decoder, pieces_of(bytes(media), 5)):
        assert "\n" not in (packets_or_line(decoder) or "")


def test_a_file_that_is_none_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", ".", "pipe"):
        with pytest.raises(BadMedia):
            decode_file(tmp_path / name)


# References to elsewhere


@pytest.fixture
def visited():
    """The address of a web server, and the paths that were asked of it."""
    asked = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    thread.join()
    server.server_close()


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{there}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{there}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=control:{there}\n",
    "dash": (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/wav"><Representation id="1" '
        'bandwidth="1"><BaseURL>{there}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ),
    "asx": '<ASX version="3.0"><Entry><Ref href="{there}"/></Entry></ASX>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{there}"/></svg>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("where", ["web", "file", "beside"])
def test_a_file_that_refers_to_others_is_refused_and_nothing_is_opened(tmp_path, visited, kind, where):
    address, asked = visited
    secret = write_wav(tmp_path / "secret.wav", noise(1.0))
    there = {"web": f"{address}/secret.wav", "file": f"file://{secret}", "beside": "secret.wav"}[where]
    path = tmp_path / f"list.{kind}"
    path.write_text(PLAYLISTS[kind].format(there=there))
    assert "cannot be read as media" in refusal_of_file(path)
    refusal_of_live(path.read_bytes())
    assert asked == []


def test_a_name_that_is_an_address_or_a_protocol_is_only_a_name(tmp_path, visited, monkeypatch):
    address, asked = visited
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a.wav", noise(0.5))
    for name in (f"{address}/a.wav", "concat:a.wav|a.wav", "file:a.wav", "subfile,,start,0,end,0,,:a.wav"):
        with pytest.raises(BadMedia, match="No such file"):
            decode_file(Path(name))
    for name in ("http:a.wav", "concat:a.wav|a.wav", "pipe:0", "-i"):
        path = write_wav(tmp_path / name, noise(0.25))
        assert list(decode_file(Path(path.name)).packets("test"))[-1].end == 0.25
    assert asked == []


CONFINED = """
import os, socket, subprocess, sys, tempfile
from mmstream.server.decoding_child import _confine
from mmstream.server.decoding_wire import DecodingLimits
file = os.open(tempfile.mkstemp()[1], os.O_RDWR)
os.closerange(file + 1, 256)
_confine(DecodingLimits(memory_mb=50), os.getppid(), open_files=file + 1)
def tried(what):
    try:
        what()
    except (OSError, MemoryError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return "done"
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
print("open", tried(lambda: os.open("/etc/passwd", os.O_RDONLY)))
print("connect", tried(lambda: socket.socket()))
print("run", tried(lambda: subprocess.run(["/bin/true"])))
print("write", tried(lambda: os.write(file, b"x")))
print("memory", tried(lambda: bytearray(80_000_000)))
print("raise", resource.getrlimit(resource.RLIMIT_NOFILE)[1] == file + 1)
print("core", resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_a_child_can_open_connect_run_and_write_nothing():
    answer = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert answer.split("\n")[:-1] == [
        "open OSError",
        "connect OSError",
        "run OSError",
        "write OSError",
        "memory MemoryError",
        "raise True",
        "core (0, 0)",
    ]


def test_the_limits_hold_in_a_child_at_work(zygote):
    decoder = Decoder(limits=DecodingLimits(memory_mb=100, cpu_s=7, total_cpu_s=50))
    child = only_child_of(zygote.pid)

    def limit(which):
        return resource.prlimit(child, which)

    until(lambda: limit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY, "no limit came")
    assert limit(resource.RLIMIT_NOFILE) == (4, 4)
    assert limit(resource.RLIMIT_CORE) == limit(resource.RLIMIT_FSIZE) == limit(resource.RLIMIT_NPROC) == (0, 0)
    assert limit(resource.RLIMIT_AS)[1] < 1_000_000_000
    assert limit(resource.RLIMIT_CPU) == (8, 51)
    assert sorted(os.listdir(f"/proc/{child}/fd"), key=int) == ["0", "1", "2", "3"]  # noqa: PTH208
    decoder.close()


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


def test_a_header_that_claims_huge_pictures_takes_no_memory(webm):
    data = webm
    for tag, value in ((b"\xb0\x81\xa0", b"\xb0\x82\x3e\x80"), (b"\xba\x81\x78", b"\xba\x82\x3e\x80")):
        at = data.index(tag)
        data = data[:at] + value[: len(tag)] + data[at + len(tag) :]
    decoder = Decoder(limits=DecodingLimits(memory_mb=60))
    with writing(decoder, [data]):
        assert "\n" not in (packets_or_line(decoder) or "")


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


# Time


def test_an_endless_stream_without_media_ends(webm):
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


def test_processor_time_is_limited(tmp_path, webm):
    """A header and then very many zeros, to be searched for the next element."""
    path = tmp_path / "search.mkv"
    path.write_bytes(webm[: webm.index(b"\x1f\x43\xb6\x75")])
    with path.open("ab") as file:
        file.truncate(1 << 36)  # on disk it is a hole
    began = time.monotonic()
    says = "the media takes more processor time to decode than the 1 s that it may"
    assert refusal_of_file(path, cpu_s=1, stalled_s=100) == says
    assert time.monotonic() - began < WAIT_S


def test_a_child_that_is_stuck_is_ended(tmp_path, zygote):
    path = write_wav(tmp_path / "in.wav", noise(20.0, 48_000, 2), 48_000)
    decoding = decode_file(path, limits=DecodingLimits(stalled_s=0.3))
    os.kill(only_child_of(zygote.pid), signal.SIGSTOP)
    drained = []
    with pytest.raises(BadMedia, match="gave no sound or picture within"):
        drained.extend(decoding.packets("test"))


def test_a_live_child_that_is_stuck_is_ended_once_it_owes_something(webm, zygote):
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


def test_a_client_that_pauses_is_no_child_that_is_stuck(webm):
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
