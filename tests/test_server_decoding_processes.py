"""The processes that decode: how they begin and end, and that nothing of them is left, whatever they were given."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import pytest

from mmstream.server.decoding import BrokenMedia, Decoder, DecoderUnavailable, DecodingLimits, decode_file, warm_up
from mmstream.server.decoding_zygote import Zygote, shared_zygote
from operators.sources.errors import SourceError
from tests.decoding import (
    assert_same_media,
    children_of,
    decode_live,
    only_child_of,
    open_files,
    outcome,
    until,
    writing,
)
from tests.hostile_media import bombs, mutated, recordings

LIMITS = DecodingLimits(cpu_s=2, stalled_s=10)
HOSTILE = 100  # files


@pytest.fixture(scope="module", autouse=True)
def zygote():
    warm_up()
    return shared_zygote()


@pytest.fixture(scope="module")
def recorded():
    made = recordings(3.0)
    return made.__getitem__


def test_the_child_killed_half_way_ends_the_session_with_one_line(recorded, zygote):
    data = recorded("webm")
    decoder = Decoder()
    child = only_child_of(zygote.pid)
    decoder.write(data[: len(data) // 2])
    packets = decoder.packets("test")
    next(packets)
    os.kill(child, signal.SIGKILL)
    with pytest.raises(BrokenMedia, match="the media cannot be decoded: it ended the decoding process"):
        list(packets)
    decoder.write(data[len(data) // 2 :])  # whoever still writes is not troubled
    decoder.end()


def test_a_zygote_that_dies_takes_its_children_along_and_is_replaced(recorded):
    data = recorded("ogg")
    zygote = Zygote()
    try:
        decoder = Decoder(zygote=zygote)
        assert zygote.pid is not None
        child = only_child_of(zygote.pid)
        first = zygote.pid
        os.kill(first, signal.SIGKILL)
        with pytest.raises(DecoderUnavailable):
            list(decoder.packets("test"))
        until(lambda: not _runs(child), "the child outlived the zygote")
        assert_same_media(decode_live(data, zygote=zygote), decode_live(data))
        assert zygote.pid != first
    finally:
        zygote.close()
    assert zygote.pid is None


def test_no_child_outlives_its_zygote(recorded):
    zygote = Zygote()
    decoder = Decoder(zygote=zygote)
    child = only_child_of(zygote.pid)
    zygote.close()
    until(lambda: not _runs(child), "the child outlived the zygote")
    decoder.close()


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"  # one that nobody buries in this container
    except OSError:
        return False


def test_a_zygote_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderUnavailable, match="cannot be started"):
        Decoder(zygote=Zygote())


def test_secrets_of_the_server_are_no_business_of_the_decoding_processes(monkeypatch):
    monkeypatch.setenv("MMSTREAM_TOKEN", "secret")
    zygote = Zygote()
    try:
        zygote.start()
        with open(f"/proc/{zygote.pid}/environ") as file:  # noqa: PTH123
            assert "secret" not in file.read()
    finally:
        zygote.close()


def test_a_new_decoder_answers_in_less_than_50_ms(recorded):
    data = recorded("ogg")[:6_000]
    took_s = []
    for _ in range(20):
        began = time.perf_counter()
        decoder = Decoder()
        decoder.write(data)
        next(iter(decoder.packets("test")))
        took_s.append(time.perf_counter() - began)
        decoder.close()
    assert statistics.median(took_s) < 0.05


def test_fifty_sessions_leave_nothing_behind(recorded, tmp_path, zygote):
    webm, path = recorded("webm"), tmp_path / "recorded.ogg"
    path.write_bytes(recorded("ogg"))
    until(lambda: not children_of(zygote.pid), "children of other tests")
    files, threads = open_files(), threading.active_count()
    for place in range(50):
        match place % 5:
            case 0:
                list(decode_file(path).packets("test"))
            case 1:  # given up half-way, by the reader
                next(decode_file(path).packets("test"))
            case 2:  # never read
                decoder = Decoder()
                decoder.write(webm[:1000])
                decoder.close()
            case 3:
                with pytest.raises(SourceError):
                    decode_live(os.urandom(5_000))
            case 4:
                decoder = Decoder()
                decoder.write(webm)
                packets = decoder.packets("test")
                next(packets)
                decoder.close()
                assert list(packets) == []
    until(lambda: not children_of(zygote.pid), "children left")
    assert open_files() == files
    assert threading.active_count() == threads


def test_a_hundred_hostile_files_leave_nothing_and_cost_the_server_next_to_nothing(tmp_path, recorded, monkeypatch):
    kinds = "webm", "mp4", "ts", "ogg"
    hostile = list(bombs().values())
    hostile += [mutated(recorded(kinds[seed % 4]), seed) for seed in range(HOSTILE - len(hostile))]
    path, temporary = tmp_path / "hostile", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    zygote = Zygote()

    def decode_all():
        for place, data in enumerate(hostile):
            path.write_bytes(data)
            if place % 2:
                outcome(decode_file(path, "any", LIMITS, zygote=zygote))
            else:
                decoder = Decoder(limits=LIMITS, zygote=zygote)
                with writing(decoder, [data]):
                    outcome(decoder)

    try:
        decode_all()  # what is allocated once and kept
        until(lambda: not children_of(zygote.pid), "children left")
        before = open_files(), open_files(zygote.pid), threading.active_count(), resident_mb()
        began = time.process_time()
        decode_all()
        spent_s = time.process_time() - began
        until(lambda: not children_of(zygote.pid), "children left")
        assert (open_files(), open_files(zygote.pid), threading.active_count()) == before[:3]
        assert resident_mb() < before[3] + 20
        assert spent_s < 0.1 * HOSTILE
        assert not list(temporary.iterdir())
    finally:
        zygote.close()


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="memory_mb must be more than 0, not 0"):
        DecodingLimits(memory_mb=0)
