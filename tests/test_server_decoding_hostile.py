"""Hostile media: whatever a stranger sends opens nothing, and gives packets or one clear line."""

from __future__ import annotations

import http.server
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.server.decoding import BadMedia, Decoder, DecodingLimits, decode_file
from tests.decoding import (  # noqa: F401
    EBML,
    only_child_of,
    outcome,
    pieces_of,
    refusal,
    refusal_of_file,
    refusal_of_live,
    until,
    webm,
    writing,
    zygote,
)
from tests.media_samples import noise, write_wav

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


@pytest.mark.parametrize("begin", [b"RIFF....AVI LIST", b"ID3\x04", b"FORM....AIFF", b"<html>", b"GET / HTTP/1.1\r\n"])
def test_what_cannot_come_live_is_refused_at_its_first_bytes(begin):
    decoder = Decoder()
    with writing(decoder, [begin.ljust(200)], end=False):
        assert refusal(decoder) == "the media is neither WebM (Matroska), Ogg, MPEG-TS, fragmented MP4, WAV nor FLAC"


BEGINNINGS = (b"", EBML, b"OggS", b"G", b"\0\0\0\x18ftypisom", b"RIFF....WAVEfmt ", b"fLaC")


@given(data=st.binary(max_size=4_000), begin=st.sampled_from(BEGINNINGS))
@settings(max_examples=60, deadline=None)
def test_random_bytes_never_do_more_than_end_the_session(data, begin):
    decoder = Decoder()
    with writing(decoder, [begin + data]):
        outcome(decoder)


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["change", "cut", "double", "wipe"]), st.integers(0, 255)),
    min_size=1,
    max_size=8,
)


@given(edits=EDITS)
@settings(max_examples=60, deadline=None)
def test_damaged_media_gives_packets_or_one_line(webm, edits):  # noqa: F811
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
        outcome(decoder)


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


def test_the_limits_hold_in_a_child_at_work(zygote):  # noqa: F811
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
