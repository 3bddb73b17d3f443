"""The cache of training: what live operators give, made whole or not at all, and made anew when its source changes."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import numpy as np
import pytest

from mmstream.core import MmstreamError
from mmstream.evaluation.manifest import Entry
from mmstream.media import Word
from mmstream.nets.vocabulary import CHARACTERS
from mmstream.training import cache
from mmstream.training.cache import Wanted, cached, fingerprint, recordings, selected
from mmstream.training.corpus import SAMPLE_RATE, Corpus
from tests.media_samples import noise, require_data, tone, write_wav


def wanted(entries: list[Entry], **changes: object) -> Wanted:
    return Wanted("set", "set", entries, video=False, skip_unreadable=False, characters=CHARACTERS)._replace(**changes)


def make(found: Wanted, folder: Path, processes: int = 1) -> Corpus:
    return cached(found, folder, processes=processes, advance=lambda done, total: None, warn=lambda line: None)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    first = write_wav(tmp_path / "a.wav", noise(0.5))
    second = write_wav(tmp_path / "b.wav", tone(0.3, 48_000), 48_000)
    return [Entry(first, "One Two", words=(Word("One", 0.1, 0.2),)), Entry(second, "three!")]


def test_it_holds_every_clip_in_order(entries, tmp_path):
    corpus = make(wanted(entries), tmp_path / "cache", processes=2)
    assert [clip.text for clip in corpus.clips] == ["one two", "three"]
    assert corpus.clips[0].words[0].text == "one"
    assert not corpus.has_video
    assert len(corpus.sound(corpus.clips[0])) == 8000
    np.testing.assert_allclose(corpus.sound(corpus.clips[0]), noise(0.5)[:, 0] / 32768, atol=2e-5)
    resampled = corpus.sound(corpus.clips[1])
    assert len(resampled) == pytest.approx(0.3 * SAMPLE_RATE, abs=2)
    assert np.abs(np.fft.rfft(resampled)).argmax() / 0.3 == pytest.approx(440, abs=5)


def test_it_is_made_once(entries, tmp_path, monkeypatch):
    make(wanted(entries), tmp_path / "cache")
    monkeypatch.setattr(cache, "read_clip", lambda *given, **more: pytest.fail("read again"))
    assert len(make(wanted(entries), tmp_path / "cache")) == 2


def test_whatever_decides_its_content_changes_its_name(entries):
    names = {fingerprint(wanted(entries))}
    names.add(fingerprint(wanted(entries[:1])))
    names.add(fingerprint(wanted([Entry(entries[0].media, "other"), entries[1]])))
    names.add(fingerprint(wanted(entries, video=True)))
    names.add(fingerprint(wanted(entries, characters=" abc")))
    os.utime(entries[0].media, (0, 0))
    names.add(fingerprint(wanted(entries)))
    assert len(names) == 6


def test_the_name_of_the_set_does_not(entries):
    assert fingerprint(wanted(entries)) == fingerprint(wanted(entries, name="another"))


def broken(tmp_path: Path) -> Entry:
    path = tmp_path / "broken.wav"
    path.write_bytes(b"RIFF this is no sound")
    return Entry(path, "one")


@pytest.mark.parametrize("processes", [1, 2])
def test_media_that_cannot_be_read_stops_it_and_is_named(entries, tmp_path, processes):
    with pytest.raises(MmstreamError, match=r"broken\.wav.*; skip_unreadable: true leaves it out") as fault:
        make(wanted([*entries, broken(tmp_path)]), tmp_path / "cache", processes)
    assert "\n" not in str(fault.value)
    assert [path.name for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []


def test_media_that_cannot_be_read_is_left_out_on_request(entries, tmp_path):
    said: list[str] = []
    found = wanted([broken(tmp_path), *entries], skip_unreadable=True)
    corpus = cached(found, tmp_path / "cache", processes=1, advance=lambda done, total: None, warn=said.append)
    assert [clip.text for clip in corpus.clips] == ["one two", "three"]
    assert "broken.wav" in said[0]
    assert said[-1] == "set: 1 of 3 clips left out"


def test_nothing_left_is_a_fault(tmp_path):
    with pytest.raises(MmstreamError, match="set: none of its 1 clips could be used"):
        make(wanted([broken(tmp_path)], skip_unreadable=True), tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "said"), [("größe", "'ß'|holds"), ("日本", "has no character for"), ("...", "no word")]
)
def test_a_text_that_cannot_be_written_is_named(entries, tmp_path, text, said):
    if text == "größe":  # the normaliser spells it in plain letters
        assert make(wanted([Entry(entries[0].media, text)]), tmp_path / "cache").clips[0].text == "grosse"
        return
    with pytest.raises(MmstreamError, match=rf"a\.wav: its text holds.*{said}"):
        make(wanted([Entry(entries[0].media, text)]), tmp_path / "cache")


def test_sound_alone_is_no_clip_for_video(entries, tmp_path):
    with pytest.raises(MmstreamError, match=r"a\.wav.* video"):
        make(wanted(entries[:1], video=True), tmp_path / "cache")


def test_two_processes_do_not_make_the_same(entries, tmp_path):
    found = wanted(entries)
    lock = tmp_path / "cache" / f".set-{fingerprint(found)}.lock"
    lock.parent.mkdir()
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(MmstreamError, match="is being made by another process"):
            make(found, tmp_path / "cache")
    assert len(make(found, tmp_path / "cache")) == 2


def test_what_a_killed_process_left_is_taken_over(entries, tmp_path):
    found = wanted(entries)
    left = tmp_path / "cache" / f".set-{fingerprint(found)}.partial"
    left.mkdir(parents=True)
    (left / "audio.i16").write_bytes(b"rest")
    assert len(make(found, tmp_path / "cache")) == 2
    assert not left.exists()


def test_a_cache_that_was_cut_short_is_refused(entries, tmp_path):
    corpus = make(wanted(entries), tmp_path / "cache")
    audio = corpus.folder / "audio.i16"
    audio.write_bytes(audio.read_bytes()[:-2])
    with pytest.raises(MmstreamError, match="is cut short: delete it, and it is made again"):
        make(wanted(entries), tmp_path / "cache")


def test_selecting_by_media_and_number(tmp_path):
    for name in ("x/a1.wav", "x/a2.wav", "y/a3.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_wav(tmp_path / name, noise(0.1))
    lines = [json.dumps({"media": name, "text": "one"}) for name in ("x/a1.wav", "x/a2.wav", "y/a3.wav")]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(lines))
    assert [one.media.name for one in selected(manifest, "x/*", None)] == ["a1.wav", "a2.wav"]
    assert [one.media.name for one in selected(manifest, "", 1)] == ["a1.wav"]
    with pytest.raises(MmstreamError, match=r"m\.jsonl: no media in it matches 'z\*'"):
        selected(manifest, "z*", None)
    assert [one.media.name for one in recordings(tmp_path / "x", "*2*")] == ["a2.wav"]
    with pytest.raises(MmstreamError, match="no file in it matches 'nothing'"):
        recordings(tmp_path / "x", "nothing")


def test_mouths_of_a_real_clip(tmp_path):
    entry = selected(require_data("grid/train.jsonl"), "", 1)
    corpus = make(wanted(entry, video=True), tmp_path / "cache")
    (clip,) = corpus.clips
    crops, quality = corpus.video(clip)
    assert clip.samples == 640 * clip.crops
    assert len(crops) == len(quality) == 75
    assert (quality > 0.3).mean() > 0.9
    assert crops[quality > 0].std(axis=(1, 2)).min() > 3  # a picture of something
