"""Decoding in a child process: the same packets as everywhere else, live or from a file, and nothing left behind."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise

import pytest

from mmstream.media import AudioChunk, VideoFrame
from mmstream.server.decoding import (
    BadMedia,
    Decoder,
    decode_file,
    warm_up,
)
from mmstream.server.decoding_zygote import shared_zygote
from mmstream.testing import ManualClock
from operators.sources import MediaFile
from tests.decoding import (
    WAIT_S,
    assert_same_media,
    chunks,
    decode_live,
    frames,
    pieces_of,
    writing,
)
from tests.media_samples import ffmpeg, noise, require_data, talking_picture, write_timed, write_wav

LIVE = {  # what clients send: of ffmpeg's options those that make it as a recorder does
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus", "-live", "1"),
    "mkv": ("-c:v", "libx264", "-tune", "zerolatency", "-c:a", "aac", "-live", "1"),
    "ogg": ("-vn", "-c:a", "libopus", "-page_duration", "100000"),
    "ts": ("-c:v", "libx264", "-tune", "zerolatency", "-c:a", "aac"),
    "mp4": (
        *("-c:v", "libx264", "-tune", "zerolatency", "-c:a", "aac"),
        *("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "100000"),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def zygote():
    warm_up()
    return shared_zygote()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")

    def record(suffix):
        path = folder / f"recorded.{suffix}"
        return path if path.exists() else talking_picture(path, 3.0, *LIVE[suffix])

    return record


def run(body):
    return asyncio.run(asyncio.wait_for(body, WAIT_S))


# The same packets


@pytest.mark.parametrize("suffix", LIVE)
def test_a_live_container_in_small_pieces_gives_what_the_file_gives_when_it_is_read_whole(recorded, suffix):
    path = recorded(suffix)
    live = decode_live(path.read_bytes(), 30)
    assert_same_media(live, list(MediaFile(str(path), "any").packets("test")))
    assert len(chunks(live)) >= 30
    assert len(frames(live)) == (0 if suffix == "ogg" else 75)
    assert {packet.session for packet in live} == {"test"}


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_pieces_may_have_any_size(recorded, size):
    data = recorded("ogg").read_bytes()[:6_000]
    decoder = Decoder()
    with writing(decoder, [data[begin : begin + size] for begin in range(0, len(data), size)]):
        assert_same_media(list(decoder.packets("test")), decode_live(data))


@pytest.mark.parametrize("name", ["recorded.mp4", "noise.wav", "noise.flac", "noise.mp3"])
def test_a_file_gives_what_it_gives_everywhere_else(recorded, tmp_path, name):
    path = recorded("mp4") if name == "recorded.mp4" else tmp_path / name
    if name != "recorded.mp4":
        write_wav(tmp_path / "noise.wav", noise(1.234, channels=2))
    if name in ("noise.flac", "noise.mp3"):
        ffmpeg("-i", tmp_path / "noise.wav", path)
    for streams in ("any", "audio"):
        decoding = decode_file(path, streams)
        assert_same_media(list(decoding.packets("test")), list(MediaFile(str(path), streams).packets("test")))
        assert decoding.missing == (frozenset() if streams == "any" and "mp4" in name else {VideoFrame})


def test_a_long_real_recording_gives_what_it_gives_everywhere_else():
    path = next(require_data("grid/dev_seen").rglob("*.m*"))
    packets = list(decode_file(path, "any").packets("test"))
    assert_same_media(packets, list(MediaFile(str(path), "any").packets("test")))
    assert frames(packets)


def test_damage_inside_a_live_stream_is_a_gap_and_the_rest_keeps_its_place(tmp_path):
    one = noise(1.0)
    path = write_timed(tmp_path / "hole.mkv", [(0.0, one), (2.0, one)])
    live = decode_live(path.read_bytes(), 20)
    assert_same_media(live, list(MediaFile(str(path), "any").packets("test")))
    assert [(p.start, p.end) for p in live if not isinstance(p.data, AudioChunk)] == [(1.0, 2.0)]


def test_sound_alone_is_decoded_where_pictures_are_not_wanted(recorded):
    data = recorded("webm").read_bytes()
    decoder = Decoder("audio")
    with writing(decoder, [data]):
        packets = list(decoder.packets("test"))
    assert_same_media(packets, chunks(decode_live(data)))
    assert decoder.missing == {VideoFrame}


def test_what_is_missing_is_known_with_the_first_packet(recorded):
    decoder = Decoder()
    with writing(decoder, [recorded("ogg").read_bytes()]):
        packets = decoder.packets("test")
        next(packets)
        assert decoder.missing == {VideoFrame}
        assert list(packets)


def test_pictures_without_sound_are_an_error_where_sound_is_wanted(tmp_path):
    path = tmp_path / "silent.webm"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=0.4", path)
    with pytest.raises(BadMedia, match="the media has no audio, only video"):
        decode_live(path.read_bytes(), streams="audio")


def test_a_recording_that_breaks_off_gives_all_that_came(recorded):
    data = recorded("webm").read_bytes()
    whole = decode_live(data)
    part = decode_live(data[: len(data) // 2])
    assert 1.0 < part[-1].end < 2.5
    assert_same_media(chunks(part)[:-1], chunks(whole)[: len(chunks(part)) - 1])


# Pictures


@pytest.mark.parametrize(
    ("size", "rotation", "shape"),
    [
        ("640x480", 0, (480, 640, 3)),
        ("1920x1080", 0, (480, 853, 3)),
        ("1080x1920", 0, (853, 480, 3)),
        ("1920x1080", 90, (853, 480, 3)),
        ("3000x300", 0, (128, 1280, 3)),
    ],
)
def test_large_pictures_are_scaled_down_and_stand_upright(tmp_path, size, rotation, shape):
    plain, path = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=0.2", *options, plain)
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={rotation}", path)
    pictures = frames(decode_file(path, "any").packets("test"))
    assert [picture.data.pixels.shape for picture in pictures] == [shape] * 5
    as_it_is = frames(MediaFile(str(path), "video").packets("test"))
    assert [(p.start, p.end) for p in pictures] == [(p.start, p.end) for p in as_it_is]
    assert abs(float(pictures[0].data.pixels.mean()) - float(as_it_is[0].data.pixels.mean())) < 3


def test_a_fast_film_loses_pictures_but_no_time(tmp_path):
    path = tmp_path / "fast.mp4"
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=120:duration=1", *options, path)
    pictures = frames(decode_file(path, "any").packets("test"))
    assert 28 <= len(pictures) <= 41
    assert all(before.end == after.start for before, after in pairwise(pictures))


# Live: time, backpressure, the end


def test_a_packet_is_captured_when_the_bytes_that_completed_it_came(recorded):
    data = recorded("webm").read_bytes()
    clock = ManualClock(1_000.0)
    decoder = Decoder(clock=clock)
    arrivals = []
    for piece in pieces_of(data, 30):
        decoder.write(piece)
        arrivals.append(clock.now())
        clock.advance(0.1)
    decoder.end()
    pictures = frames(decoder.packets("test"))
    assert {picture.captured_at for picture in pictures} <= set(arrivals)
    for place in (5, 15, 25):
        came = len([picture for picture in pictures if picture.captured_at <= arrivals[place]])
        assert came == pytest.approx(len(frames(decode_live(b"".join(pieces_of(data, 30)[: place + 1])))), abs=1)


def test_packets_come_while_the_stream_goes_on(recorded):
    data = recorded("webm").read_bytes()
    decoder = Decoder()
    decoder.write(data[: len(data) // 2])
    packets = decoder.packets("test")
    begun = [next(packets) for _ in range(30)]
    assert begun[-1].end > 0.5
    decoder.write(data[len(data) // 2 :])
    decoder.end()
    assert_same_media([*begun, *packets], decode_live(data))


def test_a_writer_waits_for_a_reader_that_does_not_read_and_a_cancelled_feed_loses_nothing(tmp_path):
    path = tmp_path / "loud.mkv"
    ffmpeg("-i", write_wav(tmp_path / "in.wav", noise(20.0, 48_000, 2), 48_000), "-c", "copy", path)
    data = path.read_bytes()
    pieces = pieces_of(data, 40)
    decoder = Decoder()

    async def feed_until_full():
        for place, piece in enumerate(pieces):
            try:
                await asyncio.wait_for(decoder.feed(piece), 1.0)
            except TimeoutError:
                return place + 1
        return None

    fed = run(feed_until_full())
    assert fed is not None
    assert decoder.taken == sum(len(piece) for piece in pieces[:fed]) < len(data) / 2

    received = []
    reader = threading.Thread(target=lambda: received.extend(decoder.packets("test")))
    reader.start()

    async def feed_the_rest():
        for piece in pieces[fed:]:
            await decoder.feed(piece)
        decoder.end()

    run(feed_the_rest())
    reader.join(WAIT_S)
    assert_same_media(received, list(MediaFile(str(path), "any").packets("test")))


def test_the_end_does_not_wait_for_what_a_cancelled_feed_left(tmp_path):
    path = tmp_path / "loud.mkv"
    ffmpeg("-i", write_wav(tmp_path / "in.wav", noise(10.0, 48_000, 2), 48_000), "-c", "copy", path)
    decoder = Decoder()

    async def feed():
        try:
            await asyncio.wait_for(decoder.feed(path.read_bytes()), 0.3)
        except TimeoutError:
            decoder.end()
            return True
        return False

    assert run(feed())
    assert_same_media(list(decoder.packets("test")), list(MediaFile(str(path), "any").packets("test")))


def test_what_is_written_after_the_end_is_thrown_away(recorded):
    data = recorded("ogg").read_bytes()
    decoder = Decoder()
    decoder.write(data)
    decoder.end()
    decoder.write(b"more")
    run(decoder.feed(b"more"))
    decoder.end()
    assert decoder.taken == len(data)
    assert_same_media(list(decoder.packets("test")), decode_live(data))
    decoder.write(b"more")


def test_close_ends_a_reader_that_waits_quietly(recorded):
    decoder = Decoder()
    decoder.write(recorded("webm").read_bytes())
    begun, received = threading.Event(), []

    def read():
        for packet in decoder.packets("test"):
            received.append(packet)
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(WAIT_S)
    decoder.close()
    reader.join(WAIT_S)
    assert not reader.is_alive()
    assert list(decoder.packets("test")) == []


def test_close_frees_a_feed_that_waits(tmp_path):
    path = tmp_path / "loud.mkv"
    ffmpeg("-i", write_wav(tmp_path / "in.wav", noise(20.0, 48_000, 2), 48_000), "-c", "copy", path)

    async def feed():
        decoder = Decoder()
        feeding = asyncio.create_task(decoder.feed(path.read_bytes()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(feeding), 0.3)
        decoder.close()
        await feeding

    run(feed())
