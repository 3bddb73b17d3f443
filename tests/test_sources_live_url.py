"""LiveUrl: real streams of a real ffmpeg on loopback, their death and their return."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.testing import ManualClock
from operators.sources import LiveUrl, SourceError, SourceLost
from operators.sources.connection import masked
from tests.media_samples import ffmpeg, require, talking_picture

SOUND = ("-f", "lavfi", "-i", "sine=440:sample_rate=16000")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25")
CODECS = ("-c:a", "aac", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def publishing(*arguments: str) -> Iterator[subprocess.Popen]:
    """An ffmpeg that sends in real time until the block ends, when it is killed as a server that dies."""
    command = [require("ffmpeg"), "-nostdin", "-loglevel", "error", "-re", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Listener(threading.Thread):
    """Gathers the packets of a source as they come, each with its time of arrival."""

    def __init__(self, source: LiveUrl) -> None:
        super().__init__(daemon=True)
        self.source = source
        self.packets: list[Packet] = []
        self.arrived: list[float] = []
        self.error: SourceError | None = None
        self.start()

    def run(self) -> None:
        try:
            for packet in self.source.packets("test"):
                self.packets.append(packet)
                self.arrived.append(time.monotonic())
        except SourceError as error:
            self.error = error

    def wait_for(self, condition, timeout_s: float = 15.0) -> None:
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < give_up_at, f"waited in vain; {len(self.packets)} packets came"
            time.sleep(0.02)

    def count(self, payload: type) -> int:
        return sum(isinstance(packet.data, payload) for packet in self.packets)

    def of(self, medium: str) -> list[Packet]:
        return [packet for packet in self.packets if packet.data.medium == medium]


def test_a_udp_stream_dies_and_comes_back(tmp_path):
    """Sound and picture keep one clock through it; the gap is as long as the silence was."""
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    send = (*SOUND, *PICTURE, *CODECS, "-f", "mpegts", f"{url}?pkt_size=1316")
    listener = Listener(LiveUrl(url, streams="both", read_timeout_s=0.8))
    with publishing(*send):
        listener.wait_for(lambda: listener.count(AudioChunk) >= 10 and listener.count(VideoFrame) >= 20)
    before = listener.count(AudioChunk)
    listener.wait_for(lambda: listener.count(Gap) >= 2)  # said as soon as it is noticed, for sound and picture
    with publishing(*send):
        listener.wait_for(lambda: listener.count(AudioChunk) >= before + 15)
        listener.source.stop()
        listener.join(3)
    assert not listener.is_alive()
    assert listener.error is None
    audio, video = listener.of("audio"), listener.of("video")
    for medium in (audio, video):
        assert all(first.end <= second.start + 1e-6 for first, second in pairwise(medium))
        lost = [packet for packet in medium if isinstance(packet.data, Gap)]
        assert lost[0].data.reason == "connection lost: nothing came for 0.8 s"
        assert lost[-1].end - lost[0].start > 0.8
        assert all(first.end == second.start for first, second in pairwise(lost))
    # The media clock kept to the wall clock across the loss of 1.3 s or more (a busy sender may begin up to 1 s late).
    lags = [packet.captured_at - packet.end for packet in audio if isinstance(packet.data, AudioChunk)]
    assert min(lags[:before]) == pytest.approx(min(lags[before:]), abs=1.0)
    assert audio[-1].end == pytest.approx(video[-1].end, abs=0.3)


def test_an_http_server_that_ends_the_stream_is_asked_again(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/live.ts"
    send = (*SOUND, "-c:a", "aac", "-f", "mpegts", "-listen", "1", url)
    listener = Listener(LiveUrl(url, read_timeout_s=2.0))
    with publishing("-t", "1.5", *send) as server:
        listener.wait_for(lambda: listener.count(AudioChunk) >= 5)
        server.wait(10)
    before = listener.count(AudioChunk)
    with publishing(*send):
        listener.wait_for(lambda: listener.count(AudioChunk) >= before + 12)
        listener.source.stop()
        listener.join(3)
    assert not listener.is_alive()
    gap = next(packet for packet in listener.packets if isinstance(packet.data, Gap))
    assert gap.data.reason == "connection lost: the server ended the stream"
    assert all(first.end <= second.start + 1e-6 for first, second in pairwise(listener.packets))
    assert np.abs(listener.packets[-1].data.samples).max() > 0.05


def test_a_server_that_is_not_there_is_named_with_the_cause_and_without_the_password():
    source = LiveUrl(f"http://user:secret@127.0.0.1:{free_port()}/live?key=abc", give_up_after_s=60)
    source.clock = clock = ManualClock(0.0)
    with pytest.raises(SourceError, match="cannot be opened: Connection refused") as caught:
        list(source.packets("test"))
    assert not isinstance(caught.value, SourceLost)
    assert "secret" not in str(caught.value)
    assert "abc" not in str(caught.value)
    assert clock.now() == 0.5 + 1 + 2 + 4 + 8 + 10 + 10 + 10 + 10  # the backoff doubles up to max_backoff_s


def test_a_stream_that_does_not_come_back_is_lost():
    url = f"http://127.0.0.1:{free_port()}/live.ts"
    source = LiveUrl(url, give_up_after_s=0.7)
    with publishing("-t", "1", *SOUND, "-c:a", "aac", "-f", "mpegts", "-listen", "1", url):
        wait_until_listening(url)
        packets = []
        with pytest.raises(SourceLost, match=r"was lost at [\d.]+ s of the stream and did not come back within"):
            packets.extend(source.packets("test"))


def wait_until_listening(url: str) -> None:
    """Return once the port of ``url`` is taken, without connecting: ffmpeg serves one client only."""
    port = int(url.split(":")[2].split("/")[0])
    for _ in range(200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        time.sleep(0.02)
    raise TimeoutError(url)


def test_without_reconnect_the_stream_ends_with_the_connection():
    url = f"http://127.0.0.1:{free_port()}/live.ts"
    source = LiveUrl(url, reconnect=False)
    with publishing("-t", "1", *SOUND, "-c:a", "aac", "-f", "mpegts", "-listen", "1", url):
        wait_until_listening(url)
        packets = list(source.packets("test"))
    assert packets[-1].end == pytest.approx(1.0, abs=0.1)
    assert not any(isinstance(packet.data, Gap) for packet in packets)


def test_stop_does_not_wait_for_a_silent_server():
    """A server that takes the connection and says nothing: the read hangs until its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(LiveUrl(f"tcp://127.0.0.1:{server.getsockname()[1]}", open_timeout_s=20))
        connection, _ = server.accept()
        began = time.monotonic()
        listener.source.stop()
        listener.join(3)
        assert time.monotonic() - began < 1.5
        assert not listener.is_alive()
        connection.close()


def test_what_was_captured_before_stop_still_comes_out():
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    with publishing(*SOUND, "-c:a", "aac", "-f", "mpegts", f"{url}?pkt_size=188"):
        listener = Listener(LiveUrl(url, chunk_ms=1000))
        listener.wait_for(lambda: listener.count(AudioChunk) >= 1)
        time.sleep(0.5)
        listener.source.stop()
        listener.join(3)
    assert 0.2 < listener.packets[-1].end - listener.packets[-1].start < 1.0


# RTSP


class RtspCamera(threading.Thread):
    """As much of RFC 2326 as a camera with a microphone needs: it sends a tone as G.711 over the control connection.

    It serves one client after another, and hangs up on the first one after ``first_s``.
    """

    def __init__(self, first_s: float) -> None:
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self.server.getsockname()[1]}/live"
        self.first_s = first_s
        self.clients = 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.clients += 1
            with connection, contextlib.suppress(OSError):
                while self.answer(connection, connection.recv(4096).decode()):
                    pass
                self.send_sound(connection, self.first_s if self.clients == 1 else 60.0)

    def answer(self, connection: socket.socket, request: str) -> bool:
        """Reply to one request; False once the client wants to hear."""
        method = request.partition(" ")[0]
        number = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
        head, body = ["RTSP/1.0 200 OK", number], ""
        if method == "DESCRIBE":
            body = "v=0\r\ns=camera\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:audio\r\n"
            head += ["Content-Type: application/sdp", f"Content-Base: {self.url}/", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        elif method == "PLAY":
            head += ["Session: 1"]
        connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
        return method != "PLAY"

    def send_sound(self, connection: socket.socket, seconds: float) -> None:
        loud = bytes([0x90, 0x90, 0x90, 0x90, 0x10, 0x10, 0x10, 0x10] * 20)  # 20 ms of a 1 kHz square wave
        began = time.monotonic()
        for number in range(round(seconds * 50)):
            time.sleep(max(0.0, began + number * 0.02 - time.monotonic()))
            packet = struct.pack("!BBHII", 0x80, 0, number, number * 160, 7) + loud
            connection.sendall(struct.pack("!cBH", b"$", 0, len(packet)) + packet)


def test_an_rtsp_camera_hangs_up_and_is_called_again():
    camera = RtspCamera(first_s=1.5)
    listener = Listener(LiveUrl(camera.url, chunk_ms=100))
    listener.wait_for(lambda: camera.clients == 2 and len(listener.packets) > 25)
    listener.source.stop()
    listener.join(3)
    camera.server.close()
    assert not listener.is_alive()
    assert listener.error is None
    assert all(first.end <= second.start + 1e-6 for first, second in pairwise(listener.packets))
    lost = [packet for packet in listener.packets if isinstance(packet.data, Gap)]
    assert lost[0].start == pytest.approx(1.5, abs=0.1)
    assert lost[-1].end - lost[0].start == pytest.approx(0.5, abs=0.4)  # the first wait before another attempt
    assert listener.packets[-1].data.sample_rate == 8_000
    assert np.abs(listener.packets[-1].data.samples).max() > 0.2


# Recordings and playlists behind an http address


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        """Tests print what matters themselves."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address under which an HTTP server hands out ``folder``."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_recording_comes_whole_ends_and_does_not_flood_the_graph(tmp_path):
    talking_picture(tmp_path / "clip.mp4", 3.0, "-movflags", "+faststart")
    with serving(tmp_path) as address:
        listener = Listener(LiveUrl(f"{address}/clip.mp4"))
        listener.join(10)
    assert listener.error is None
    assert listener.packets[-1].end == pytest.approx(3.0, abs=0.03)
    assert 1.2 < listener.arrived[-1] - listener.arrived[0] < 2.5  # (3 - 1) / 1.25 seconds, not none


def test_a_live_playlist_that_ends_is_not_played_again(tmp_path):
    whole, live = tmp_path / "whole.m3u8", tmp_path / "live.m3u8"
    hls = ("-f", "hls", "-hls_time", "0.5", "-hls_list_size", "0")
    ffmpeg("-t", 2, *SOUND, "-c:a", "aac", *hls, whole)
    live.write_text(whole.read_text().replace("#EXT-X-ENDLIST", ""))
    with serving(tmp_path) as address:
        listener = Listener(LiveUrl(f"{address}/live.m3u8", read_timeout_s=5.0))
        listener.wait_for(lambda: listener.count(AudioChunk) >= 10)
        live.write_text(whole.read_text())
        listener.join(10)
    assert listener.error is None
    assert not listener.is_alive()
    assert sum(len(packet.data.samples) for packet in listener.packets if isinstance(packet.data, AudioChunk)) <= 34_000


def test_a_stream_without_the_medium_is_refused(tmp_path):
    talking_picture(tmp_path / "clip.mp4", 0.5)
    ffmpeg("-i", tmp_path / "clip.mp4", "-an", "-c", "copy", tmp_path / "mute.mp4")
    with serving(tmp_path) as address:
        with pytest.raises(SourceError, match="the stream has no audio, only video"):
            list(LiveUrl(f"{address}/mute.mp4", give_up_after_s=0).packets("test"))
        with pytest.raises(SourceError, match=r"missing\.mp4 cannot be opened: Server returned 404 Not Found"):
            list(LiveUrl(f"{address}/missing.mp4", give_up_after_s=0).packets("test"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "clip.mp4", "concat:a|b", "ftp://host/x"])
def test_only_network_streams_are_taken(url):
    with pytest.raises(ValueError, match="url must begin with one of rtsp://"):
        LiveUrl(url)


@pytest.mark.parametrize("name", ["open_timeout_s", "read_timeout_s", "max_backoff_s"])
def test_times_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be more than 0, not 0"):
        LiveUrl("udp://127.0.0.1:1", **{name: 0.0})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://user:pw@camera:554/live", "rtsp://***@camera:554/live"),
        ("https://host/live.m3u8?token=abc", "https://host/live.m3u8?***"),
        ("udp://239.0.0.1:1234", "udp://239.0.0.1:1234"),
    ],
)
def test_credentials_are_masked(url, shown):
    assert masked(url) == shown
