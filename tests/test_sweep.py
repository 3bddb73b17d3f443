"""The grid of conditions, graphs cut in two, and a sweep from media to tables and plots."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mmstream.core import MmstreamError
from mmstream.drive import run_to_end, running
from mmstream.evaluation.cells import by_missing_video, by_offset, by_snr, grid, simplest
from mmstream.evaluation.conditions import Clip, Condition, Disturbance, Setup, clips_of
from mmstream.evaluation.manifest import Entry
from mmstream.evaluation.plots import write_plots
from mmstream.evaluation.report import Report, follows_grid, markdown
from mmstream.evaluation.splice import from_on, up_to
from mmstream.evaluation.stage import Found, Stage
from mmstream.evaluation.sweep import Clips, Sweep, default_noise, heard
from mmstream.registry import resolve
from operators.sources.replay import Record, ReplayAudio
from tests.media_samples import noise, write_wav
from tests.toys import Add, Keep, Pair, Pictures, Spy, Tone, graph, node, numbers
from tests.watching import CLIP_S, FPS, Watcher, film

FRAMES = round(CLIP_S * FPS)
SAMPLES = round(CLIP_S * 16_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films, a manifest of them, and noise in the folder above."""
    top = tmp_path_factory.mktemp("data")
    (top / "noise").mkdir()
    write_wav(top / "noise/babble_1.wav", noise(2.0))
    (top / "films").mkdir()
    first = film(top / "films/0.mkv")
    for name in ("1.mkv", "2.mkv"):
        shutil.copy(first, first.with_name(name))
    entries = [
        {"media": f"{k}.mkv", "text": text, "duration": CLIP_S}
        for k, text in enumerate(["bin blue at l eight please", "25600 -24 40 0", ""])
    ]
    (top / "films/dev.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return top


def clips(folder: Path, count: int = 3) -> list[Clip]:
    texts = ["bin blue at l eight please", "25600 -24 40 0", ""]
    entries = [Entry(folder / f"films/{k}.mkv", texts[k], duration=CLIP_S) for k in range(count)]
    return clips_of(entries, folder / "films/dev.jsonl")


def setup(**given: Any) -> Setup:
    return Setup(Watcher(), allow=("tests",), **given)  # type: ignore[arg-type]


def disturbance(folder: Path) -> Disturbance:
    return Disturbance(folder / "noise/babble*", seed=1)


# The grid


def test_the_grid_holds_every_cell_once() -> None:
    cells = grid(("audio", "video"))
    assert len(cells) == len(set(cells)) == 57
    assert {*by_snr(("audio", "video")), *by_missing_video(), *by_offset()} == set(cells)
    assert grid(("audio",)) == by_snr(("audio",)) == [cell for cell in cells if cell.modality == "audio"]
    assert len({cell.snr_db for cell in grid(("audio",))}) == 6
    assert sum(cell.modality == "video" for cell in cells) == 1


def test_conditions_that_do_the_same_to_a_clip_are_run_once() -> None:
    clip = Clip("a", Entry(Path("a.mkv"), ""))
    plain, gone = Condition("av", 0.0), Condition("av", 0.0, 1.0, "all")

    def same_as(fraction: float, kind: Any) -> Condition:
        return simplest(Condition("av", 0.0, fraction, kind), clip, Disturbance())

    assert {same_as(0.0, kind) for kind in ("random", "burst", "all")} == {plain}
    assert {same_as(1.0, kind) for kind in ("random", "burst", "all")} == {gone}
    assert {same_as(0.5, kind) for kind in ("random", "burst")} == {
        Condition("av", 0.0, 0.5, kind) for kind in ("random", "burst")
    }
    fates = [simplest(Condition("av", 0.0, 0.5, "all"), Clip(str(k), clip.entry), Disturbance()) for k in range(40)]
    assert set(fates) == {plain, gone}
    assert simplest(Condition("av", av_offset_ms=50.0), clip, Disturbance()) == Condition("av", av_offset_ms=50.0)


def test_a_condition_in_words() -> None:
    assert str(Condition()) == "audio, as recorded"
    assert str(Condition("av", -5.0, 0.25, "burst", -50.0)) == "av, -5 dB, 25% of video lost (burst), video -50 ms"


def test_names_of_clips_are_places_below_the_manifest(tmp_path: Path) -> None:
    places = ["a.wav", "deep/a.wav", "a.wav", "../up.wav", "/elsewhere/a.wav"]
    entries = [Entry(tmp_path / place, "") for place in places]
    names = [clip.name for clip in clips_of(entries, tmp_path / "dev.jsonl")]
    assert names == ["a.wav", "deep/a.wav", "a.wav#2", "up.wav", "a.wav#3"]


# Graphs cut in two


def two_media(kept: dict[str, Any]) -> Any:
    nodes = [
        node("sound", Tone, count=4),
        node("sight", Pictures, count=10),
        node("seen", Spy),
        node("heard", Add),
        node("pair", Pair),
        node("keep", Keep, kept=kept),
    ]
    edges = [("sound", "heard"), ("sight", "seen"), ("heard", "pair"), ("seen", "pair"), ("pair", "keep")]
    return graph(nodes, edges, {"devices": ["sound", "sight"], "main": ["seen", "heard", "pair", "keep"]})


def test_the_part_up_to_a_node_and_the_part_from_it_on(kept: dict[str, Any]) -> None:
    whole = two_media(kept)
    recorded: dict[str, list[Any]] = {}
    front = up_to(whole, "heard", Record, {"kept": recorded})
    assert list(front.nodes) == ["sound", "heard", "heard_record"]
    assert front.edges[-1].carries == ()  # Record takes media, and Features are none
    front = up_to(whole, "sound", Record, {"kept": recorded})
    assert (list(front.nodes), list(front.workers)) == (["sound", "sound_record"], ["devices"])
    back = from_on(whole, "sound", ReplayAudio)
    assert list(back.nodes) == list(whole.nodes)
    cut = from_on(whole, "heard", ReplayAudio)
    assert list(cut.nodes) == ["sight", "seen", "heard", "pair", "keep"]
    assert cut.workers["devices"].nodes == ("sight",)
    assert [edge.name for edge in cut.edges] == ["sight->seen", "heard->pair", "seen->pair", "pair->keep"]
    with running("local", whole) as executor:
        assert run_to_end(executor, "whole").error is None
    with running("local", front) as executor:
        assert run_to_end(executor, "clip").error is None
    with running("local", back) as executor:
        assert run_to_end(executor, "again", {"sound": {"packets": recorded["clip"]}}).error is None
    assert numbers(kept["again"]) == numbers(kept["whole"])
    assert [packet.start for packet in kept["again"]] == [packet.start for packet in kept["whole"]]


# A clip in every condition


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[Condition, tuple[list[float], Found]]:
    """Of the first film, in every condition: samples, their level in dB, mouths, ms of the first mouth."""
    stage = Stage(setup(), disturbance(folder))
    try:
        found = stage.hear(clips(folder)[0], grid(("audio", "video")))
    finally:
        stage.close()
    return {condition: ([float(word) for word in one.text.split()], one) for condition, one in found.items()}


def test_each_modality_gets_its_media_and_no_other(told: Any) -> None:
    assert told[Condition("audio")][0][::2] == [SAMPLES, 0]
    assert told[Condition("video")][0][::2] == [0, FRAMES]
    assert told[Condition("av")][0][::2] == [SAMPLES, FRAMES]
    assert told[Condition("av")][1].video == (1.0,) * 4
    assert told[Condition("audio")][1].video == (0.0,) * 4


@pytest.mark.parametrize("snr_db", [10.0, 5.0, 0.0, -5.0, -10.0])
def test_noise_is_in_the_sound_of_every_modality_that_has_one(told: Any, snr_db: float) -> None:
    clean = told[Condition("audio")][0][1]
    expected = clean + 10 * np.log10(1 + 10 ** (-snr_db / 10))
    for modality in ("audio", "av"):
        assert told[Condition(modality, snr_db)][0][1] == pytest.approx(expected, abs=1.2)  # words are whole dB


@pytest.mark.parametrize("snr_db", [None, 0.0])
def test_so_much_of_the_video_is_lost(told: Any, snr_db: float | None) -> None:
    for fraction in (0.25, 0.5, 0.75):
        assert told[Condition("av", snr_db, fraction, "burst")][0][2] == pytest.approx((1 - fraction) * FRAMES, abs=1)
        assert 0 < told[Condition("av", snr_db, fraction, "random")][0][2] < FRAMES
        assert told[Condition("av", snr_db, fraction, "all")][0][2] in (0, FRAMES)
    for kind in ("random", "burst", "all"):
        assert told[Condition("av", snr_db, 0.0, kind)][0][2] == FRAMES
        assert told[Condition("av", snr_db, 1.0, kind)][0][2:] == [0, -1]


def test_video_is_late_or_early_by_so_much(told: Any) -> None:
    for condition in by_offset():
        samples, _, mouths, first_ms = told[condition][0]
        late_ms = condition.av_offset_ms
        assert samples == SAMPLES
        assert first_ms == max(0, late_ms)
        assert mouths == FRAMES - abs(late_ms) // 40


def test_media_that_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "text.mkv"
    broken.write_text("not a film\n")
    stage = Stage(setup(), disturbance(folder))
    with pytest.raises(MmstreamError, match=r"text\.mkv cannot be read as media"):
        stage.hear(Clip("broken", Entry(broken, "", duration=1.0)), [Condition("audio")])
    stage.close()


# The whole


def test_a_sweep_writes_tables_and_plots_and_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    console = Console(file=(tmp_path / "said").open("w"))
    made = [setup(), folder / "films/dev.jsonl", clips(folder), disturbance(folder), out]
    stopped = Sweep(*made[:2], clips(folder, 2), *made[3:]).run(1, console)  # type: ignore[arg-type]
    assert (stopped["clips"], stopped["cells"]) == (2, 57)
    before = (out / "clips.jsonl").read_text().splitlines()
    with (out / "clips.jsonl").open("a") as file:
        file.write('{"clip": "2.mkv", "settings"')  # killed while it wrote
    summary = Sweep(*made).run(1, console)  # type: ignore[arg-type]
    after = (out / "clips.jsonl").read_text().splitlines()
    assert after[:2] == before
    assert [json.loads(line)["clip"] for line in after] == ["0.mkv", "1.mkv", "2.mkv"]
    told = json.loads((out / "sweep.json").read_text())
    assert len(told["cells"]) == 57
    assert told["closed_grammar"] is False
    assert summary["wer_av"] == told["cells"][7]["wer"]
    assert (out / "sweep.md").read_text().count("\n| ") == 3 * 2 + 6 + 30 + 18  # heads and rows
    for name in ("wer-by-snr.png", "wer-by-missing-video.png", "wer-by-offset.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob(".*"))


def test_other_settings_and_other_media_are_done_again(tmp_path: Path) -> None:
    conditions = grid(("audio",))
    media = write_wav(tmp_path / "a.wav", noise(0.1))
    clip = Clip("a.wav", Entry(media, "a"))
    results = {condition: Found("a", (0.5,)) for condition in conditions}
    Clips(tmp_path, "these", conditions, [clip]).add("a.wav", results)
    assert Clips(tmp_path, "these", conditions, [clip]).found == {"a.wav": results}
    write_wav(media, noise(0.2))
    assert Clips(tmp_path, "these", conditions, [clip]).found == {}
    Clips(tmp_path, "these", conditions, [clip]).add("a.wav", results)
    assert Clips(tmp_path, "those", conditions, [clip]).found == {}
    assert (tmp_path / "clips.jsonl").read_text() == ""


def test_several_processes_give_what_one_gives(folder: Path) -> None:
    """With sphinx, which a process of its own can find by name."""
    plain = Setup(resolve("sphinx"))
    given = (plain, disturbance(folder), clips(folder, 2), [Condition("audio"), Condition("audio", 0.0)])
    assert dict(heard(*given, workers=2)) == dict(heard(*given, workers=1))


def test_a_clip_that_fails_in_another_process_ends_the_sweep_with_its_name(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "text.mkv"
    broken.write_text("not a film\n")
    both = [Clip(name, Entry(broken, "", duration=1.0)) for name in "ab"]
    with pytest.raises(MmstreamError, match=r"text\.mkv cannot be read as media"):
        list(heard(Setup(resolve("sphinx")), disturbance(folder), both, [Condition("audio")], workers=2))


def test_the_noise_near_a_manifest(folder: Path, tmp_path: Path) -> None:
    assert default_noise(folder / "films/dev.jsonl") == folder / "noise/babble*"
    (tmp_path / "noise").mkdir()
    assert default_noise(tmp_path / "dev.jsonl") == tmp_path / "noise/*"
    with pytest.raises(MmstreamError, match="name one with --noise"):
        default_noise(Path("/dev.jsonl"))


# Tables


def report(audio: str, both: str, text: str = "bin blue at l eight please") -> Report:
    """Of one clip, heard as ``audio`` without video and as ``both`` with it."""
    found = {
        condition: Found(audio if condition.modality == "audio" else both, (0.25, 0.75))
        for condition in grid(("audio", "video"))
    }
    clip = Clip("a", Entry(Path("a.mkv"), text))
    return Report.of("toy", Path("dev.jsonl"), [clip], Disturbance(Path("noise/x")), ("audio", "video"), {"a": found})


def test_the_table_says_where_video_hurts() -> None:
    fine = markdown(report("bin blue at l nine please", "bin blue at l eight please"))
    hurt = markdown(report("bin blue at l eight please", "bin blue at l nine please"))
    assert "| clean | 16.7 [16.7, 16.7] | 0.0 [0.0, 0.0] | 0.0 [0.0, 0.0] | 0.50 | -16.7 | yes |" in fine
    assert "| 0 dB | burst | 75% | 16.7 [16.7, 16.7] | 0.50 | +16.7 | **no** |" in hurt
    assert "| clean | -50 ms | 16.7 [16.7, 16.7] | 0.50 | +16.7 | **no** |" in hurt
    assert "**no**" not in fine
    assert "| yes |" not in hurt
    summary = report("bin blue at l eight please", "bin blue at l nine please").summary()
    assert (summary["av_cells"], summary["av_cells_where_video_hurts"]) == (50, 50)
    assert (summary["wer_audio"], summary["wer_av_0db"]) == (0.0, pytest.approx(1 / 6))


def test_half_a_point_is_allowed() -> None:
    words = " ".join(["a"] * 200)
    assert report(words, words.replace("a", "b", 1), words).summary()["av_cells_where_video_hurts"] == 0
    assert report(words, words.replace("a", "b", 2), words).summary()["av_cells_where_video_hurts"] == 50


def test_a_closed_grammar_is_told(tmp_path: Path) -> None:
    assert follows_grid("bin blue at l eight please")
    assert follows_grid("Set white by M three now. Place red in z zero soon")
    assert not follows_grid("bin blue at w eight please")
    assert not follows_grid("bin blue at l eight")
    assert not follows_grid("")
    assert "closed grammar" in markdown(report("a", "b"))
    assert "closed grammar" not in markdown(report("a", "b", text="the weather is nice"))


def test_plots_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MmstreamError, match=r"wer-by-snr\.png: cannot be written: No such file or directory"):
        write_plots(report("a", "b"), tmp_path / "nowhere")
