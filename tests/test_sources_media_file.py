"""MediaFile: any container becomes chunks and frames on one clock, and bad media one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.testing import ManualClock
from operators.sources import MediaFile, SourceError, probe
from operators.sources.tracks import AudioTrack, Timeline
from tests.media_samples import (
    beep_and_flash,
    ffmpeg,
    noise,
    require_data,
    talking_picture,
    tone,
    write_timed,
    write_wav,
)

FRAME_S = 0.04


def read(path: Path, **options) -> list[Packet]:
    return list(MediaFile(str(path), **options).packets("test"))


def chunks(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, AudioChunk)]


def frames(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, VideoFrame)]


def gaps(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if isinstance(packet.data, Gap)]


def sound(packets: list[Packet]) -> np.ndarray:
    return np.concatenate([packet.data.samples for packet in chunks(packets)])


def onsets(states: list[tuple[float, bool]]) -> list[float]:
    """When something began to be so: (second, whether it is so), in order."""
    return [after[0] for before, after in pairwise(states) if after[1] and not before[1]]


def error_of(path: Path | str, **options) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Sound


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("m4a", "alac"), ("mkv", "pcm_s16le")]
)
def test_gives_the_samples_of_the_file_in_chunks_of_one_size(tmp_path, suffix, codec):
    samples = noise(1.234)
    path = tmp_path / f"noise.{suffix}"
    ffmpeg("-i", write_wav(tmp_path / "in.wav", samples), "-c:a", codec, path)
    packets = read(path, chunk_ms=70)
    assert [len(packet.data.samples) for packet in packets[:-1]] == [1120] * 17
    assert packets[0].start == 0
    assert packets[-1].end == pytest.approx(1.234)
    assert all(before.end == after.start for before, after in pairwise(packets))
    np.testing.assert_allclose(sound(packets), samples / 32768, atol=1e-7)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (96_000, 2), (48_000, 6)])
def test_keeps_the_files_own_rate_and_channels(tmp_path, rate, channels):
    path = write_wav(tmp_path / "in.wav", noise(0.5, rate, channels), rate)
    packets = read(path)
    assert packets[-1].end == pytest.approx(0.5)
    assert packets[0].data.sample_rate == rate
    assert packets[0].data.samples.shape == (rate // 10, channels)
    assert packets[0].data.samples.dtype == np.float32


@pytest.mark.parametrize("coding", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_every_sample_format_means_the_same(tmp_path, coding):
    source = write_wav(tmp_path / "in.wav", tone(0.2))
    ffmpeg("-i", source, "-c:a", coding, tmp_path / "out.wav")
    np.testing.assert_allclose(sound(read(tmp_path / "out.wav")), sound(read(source)), atol=0.02)


def test_a_part_is_cut_to_the_sample_and_keeps_its_place(tmp_path):
    path = write_wav(tmp_path / "in.wav", noise(4))
    part = read(path, start_s=1.25, end_s=2.5)
    assert (part[0].start, part[-1].end) == (1.25, 2.5)
    np.testing.assert_array_equal(sound(part), sound(read(path))[20_000:40_000])


@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=40), chunk_ms=st.integers(10, 60))
@settings(max_examples=60, deadline=None)
def test_chunks_do_not_depend_on_how_the_codec_frames_the_sound(sizes, chunk_ms):
    samples = np.arange(sum(sizes), dtype=np.float32)[:, None]

    def run(sizes: list[int]) -> list[tuple]:
        track = AudioTrack("test", Timeline(), chunk_ms)
        packets, begin = [], 0
        for size in sizes:
            packets.extend(track.add(samples[begin : begin + size], 8_000, begin / 8_000))
            begin += size
        packets.extend(track.flush())
        return [(packet.start, packet.end, packet.data.samples.tolist()) for packet in packets]

    assert run(sizes) == run([sum(sizes)])


# Time


def test_timestamps_that_jump_ahead_are_a_gap(tmp_path):
    samples = noise(2)
    path = write_timed(tmp_path / "jump.mkv", [(0.0, samples[:16_000]), (3.5, samples[16_000:])])
    packets = read(path)
    (gap,) = gaps(packets)
    assert (gap.start, gap.end, gap.data.medium) == (1.0, 3.5, "audio")
    assert packets[-1].end == pytest.approx(4.5)
    np.testing.assert_allclose(sound(packets), samples / 32768, atol=1e-7)


def test_timestamps_that_jump_back_never_turn_the_clock_back(tmp_path):
    samples = noise(3)
    path = write_timed(tmp_path / "back.mkv", [(0.0, samples[:32_000]), (0.5, samples[32_000:])])
    packets = read(path)
    assert not gaps(packets)
    assert all(before.end == after.start for before, after in pairwise(packets))
    assert packets[-1].end == pytest.approx(3.0)
    np.testing.assert_allclose(sound(packets), samples / 32768, atol=1e-7)


def test_sound_and_picture_stay_together_after_timestamps_jumped_back(tmp_path):
    """Two recordings joined end to end: the timestamps begin again in the middle."""
    part = beep_and_flash(tmp_path / "part.ts", 1.0, 2.0)
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 2)
    packets = read(path, streams="both", chunk_ms=10)
    for medium in (chunks(packets), frames(packets)):
        assert all(before.end <= after.start + 1e-9 for before, after in pairwise(medium))
        assert medium[-1].end == pytest.approx(4.0, abs=0.15)
    beeps = onsets([(packet.start, np.abs(packet.data.samples).max() > 0.1) for packet in chunks(packets)])
    flashes = onsets([(packet.start, packet.data.pixels.mean() > 128) for packet in frames(packets)])
    assert beeps[0] == pytest.approx(1.0, abs=FRAME_S)
    assert beeps == pytest.approx(flashes, abs=FRAME_S)
    assert len(beeps) == 2


def test_many_small_holes_do_not_pull_sound_and_picture_apart(tmp_path):
    pieces = [(number * 0.505, noise(0.5, seed=number)) for number in range(20)]
    packets = read(write_timed(tmp_path / "holes.mkv", pieces))
    assert not gaps(packets)
    assert packets[-1].end == pytest.approx(19 * 0.505 + 0.5, abs=0.04)


def test_a_long_real_file_joined_from_clips_has_no_gap():
    packets = read(require_data("talks/grid_multi_unseen.mp4"))
    assert not gaps(packets)
    assert packets[-1].end == pytest.approx(90, abs=FRAME_S)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "webm"])
def test_a_beep_and_a_flash_of_one_moment_have_one_media_time(tmp_path, suffix):
    path = beep_and_flash(tmp_path / f"both.{suffix}", 1.6, 3.0)
    packets = read(path, streams="both", chunk_ms=10)
    beep = next(packet.start for packet in chunks(packets) if np.abs(packet.data.samples).max() > 0.1)
    flash = next(packet.start for packet in frames(packets) if packet.data.pixels.mean() > 128)
    assert abs(beep - flash) <= FRAME_S
    assert flash == pytest.approx(1.6, abs=FRAME_S)
    starts = [packet.start for packet in packets]
    assert starts == sorted(starts)


# Pictures


def test_only_what_is_asked_for_is_decoded(tmp_path):
    path = talking_picture(tmp_path / "clip.mp4", 1.0)
    assert {type(packet.data) for packet in read(path)} == {AudioChunk}
    assert {type(packet.data) for packet in read(path, streams="video")} == {VideoFrame}
    assert {type(packet.data) for packet in read(path, streams="both")} == {AudioChunk, VideoFrame}


def test_a_frame_lasts_until_the_next_one_whatever_the_rate(tmp_path):
    times = [0.0, 0.04, 0.3, 0.34, 1.5, 1.6]
    path = write_timed(tmp_path / "vfr.mkv", [], [(time, number * 40) for number, time in enumerate(times)])
    packets = read(path, streams="video")
    assert [packet.start for packet in packets] == pytest.approx(times)
    assert [packet.end for packet in packets[:-1]] == pytest.approx(times[1:])
    assert packets[-1].end > packets[-1].start
    assert [round(packet.data.pixels.mean(), -1) for packet in packets] == [0, 40, 80, 120, 160, 200]


def test_frames_are_upright_and_rgb(tmp_path):
    """The picture is red at its top left once it is turned as the container says."""
    flat, turned = tmp_path / "flat.mp4", tmp_path / "turned.mp4"
    box = "color=black:size=64x48:rate=25:duration=0.2,drawbox=x=0:y=24:w=32:h=24:color=red:t=fill"
    ffmpeg("-f", "lavfi", "-i", box, "-pix_fmt", "yuv420p", flat)
    ffmpeg("-i", flat, "-c", "copy", "-metadata:s:v:0", "rotate=270", turned)  # anticlockwise, as written by phones
    pixels = read(turned, streams="video")[0].data.pixels
    assert pixels.shape == (64, 48, 3)
    where = {
        (row, column): pixels[row * 32 : row * 32 + 32, column * 24 : column * 24 + 24].mean(axis=(0, 1))
        for row in (0, 1)
        for column in (0, 1)
    }
    red = [place for place, colour in where.items() if colour[0] > 150 and colour[2] < 50]
    assert red == [(0, 0)]


def test_the_cover_of_a_song_is_no_video(tmp_path):
    song = write_wav(tmp_path / "song.wav", tone(0.5))
    ffmpeg("-f", "lavfi", "-i", "color=red:size=32x32:duration=0.04", "-frames:v", 1, tmp_path / "cover.png")
    cover = ("-i", tmp_path / "cover.png", "-map", 0, "-map", 1, "-disposition:v:0", "attached_pic")
    ffmpeg("-i", song, *cover, tmp_path / "song.mp3")
    assert not probe(str(tmp_path / "song.mp3")).has_video
    assert "has no video, only audio" in error_of(tmp_path / "song.mp3", streams="video")


# Pace and the end


def test_realtime_pace_gives_every_packet_when_its_end_has_come(tmp_path):
    source = MediaFile(str(write_wav(tmp_path / "in.wav", noise(1))), pace="realtime")
    source.clock = clock = ManualClock(start=500.0)
    for packet in source.packets("test"):
        assert packet.captured_at == pytest.approx(500.0 + packet.end)
        assert clock.now() == pytest.approx(packet.captured_at)


def test_fast_pace_stamps_packets_as_they_come_out_and_never_waits(tmp_path):
    source = MediaFile(str(write_wav(tmp_path / "in.wav", noise(5))))
    source.clock = ManualClock(start=500.0)
    assert {packet.captured_at for packet in source.packets("test")} == {500.0}


def test_stop_ends_a_realtime_file_at_once(tmp_path):
    source = MediaFile(str(write_wav(tmp_path / "in.wav", noise(30))), pace="realtime")
    timer = threading.Timer(0.3, source.stop)
    timer.start()
    packets = list(source.packets("test"))
    timer.join()
    assert 0 < packets[-1].end < 1


def test_probe_tells_what_a_file_holds(tmp_path):
    info = probe(str(talking_picture(tmp_path / "clip.mp4", 2.0)))
    assert info.duration_s == pytest.approx(2.0, abs=0.05)
    assert (info.has_audio, info.sample_rate, info.channels) == (True, 48_000, 1)
    assert (info.has_video, info.width, info.height, info.frame_rate) == (True, 160, 120, 25.0)


# Bad media


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("streams", ["audio", "both"])
def test_a_file_that_was_cut_short_says_where_it_ends_and_where_it_should(tmp_path, suffix, streams):
    path = talking_picture(tmp_path / f"whole.{suffix}", 4.0, "-movflags", "+faststart")
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    message = error_of(cut, streams=streams)
    found = re.search(
        r"cut\.\w+ is damaged or cut short: its \w+ ends at (.*) s and should last until (.*) s$", message
    )
    assert found, message
    assert 1.5 < float(found[1]) < 3.5
    assert float(found[2]) == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("tag", ["00:00:01:000000000", "xx:00:01.000000000", "00:00:nan         ", "-1:00:01.00000000"])
def test_a_tag_that_is_no_duration_does_not_count(tmp_path, tag):
    path = tmp_path / "tagged.mkv"
    ffmpeg("-i", write_wav(tmp_path / "in.wav", noise(1.0)), path)
    data = path.read_bytes()
    assert b"00:00:01.0" in data
    at = data.index(b"00:00:01.0")
    path.write_bytes(data[:at] + tag.encode() + data[at + len(tag) :])
    assert list(MediaFile(str(path)).packets("test"))[-1].end == pytest.approx(1.0, abs=0.05)


def test_the_whole_part_of_a_file_that_was_cut_short_can_be_read(tmp_path):
    path = talking_picture(tmp_path / "whole.mp4", 4.0, "-movflags", "+faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert read(path, end_s=1.0)[-1].end == 1.0


def test_an_mp4_without_its_index_is_recognised(tmp_path):
    path = talking_picture(tmp_path / "clip.mp4", 1.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert error_of(path) == f"{path} cannot be read as media: its index is missing, so it was cut short"


def test_damage_inside_a_file_is_a_gap_and_the_rest_keeps_its_place(tmp_path):
    path = talking_picture(tmp_path / "clip.mp4", 4.0, "-movflags", "+faststart")
    content = bytearray(path.read_bytes())
    rubbish = np.random.default_rng(1).integers(0, 256, len(content) // 10, dtype=np.uint8).tobytes()
    content[len(content) // 2 : len(content) // 2 + len(rubbish)] = rubbish
    path.write_bytes(content)
    packets = read(path)
    assert gaps(packets)
    assert all("cannot be decoded" in gap.data.reason for gap in gaps(packets))
    assert sum(gap.end - gap.start for gap in gaps(packets)) == pytest.approx(0.4, abs=0.2)
    assert packets[-1].end == pytest.approx(4.0, abs=0.05)


def test_what_is_no_media_gives_one_clear_line(tmp_path):
    (tmp_path / "notes.mp4").write_text("these are only words\n" * 50)
    (tmp_path / "nothing.mp4").touch()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/x.ts\n")
    write_wav(tmp_path / "silent.wav", noise(0))
    assert "notes.mp4 cannot be read as media: Invalid data" in error_of(tmp_path / "notes.mp4")
    assert error_of(tmp_path / "nothing.mp4").endswith("nothing.mp4 is empty (0 bytes)")
    assert "list.mp4 is a playlist, not a media file" in error_of(tmp_path / "list.mp4")
    assert error_of(tmp_path / "silent.wav").endswith("silent.wav has audio, but nothing is in it")
    assert error_of(tmp_path / "missing.mp4").endswith("missing.mp4: no such file")
    assert error_of(tmp_path).endswith("is a folder, not a media file")
    assert "LiveUrl" in error_of("rtsp://camera/live")


def test_a_stream_that_is_not_there_is_named(tmp_path):
    path = talking_picture(tmp_path / "clip.mp4", 0.5)
    ffmpeg("-i", path, "-an", "-c", "copy", tmp_path / "mute.mp4")
    ffmpeg("-i", path, "-vn", "-c", "copy", tmp_path / "blind.mp4")
    assert error_of(tmp_path / "mute.mp4").endswith("mute.mp4 has no audio, only video")
    assert error_of(tmp_path / "blind.mp4", streams="both").endswith("blind.mp4 has no video, only audio")


def test_a_part_beyond_the_end_is_an_error(tmp_path):
    path = write_wav(tmp_path / "in.wav", noise(1))
    assert error_of(path, start_s=5).endswith("in.wav has no audio between 5 s and its end")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"streams": "sound"}, "streams must be one of audio, video, both, any, not 'sound'"),
        ({"pace": "slow"}, "pace must be realtime or fast, not 'slow'"),
        ({"start_s": -1.0}, "start_s must be at least 0, not -1"),
        ({"start_s": 2.0, "end_s": 2.0}, r"end_s must be more than start_s \(2\), not 2"),
        ({"chunk_ms": 1}, "chunk_ms must be 10 to 10000, not 1"),
    ],
)
def test_arguments_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        MediaFile("clip.mp4", **options)


def test_importing_the_sources_brings_none_of_their_libraries():
    script = "import sys, operators.sources; print(*{'av', 'cv2', 'sounddevice', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
