"""Models that look and models that only hear, cameras and files with pictures, in one pipeline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.core import MmstreamError
from mmstream.graph import Graph
from mmstream.media import Mouth, VideoFrame
from mmstream.recipe import Recipe, terminal
from mmstream.registry import Model, resolve

AVSR = Model("avsr", "operators.decoders:Avsr", {"model": "some/folder"})
HEARING = {"source", "resample", "speech", "on_camera", "decode", "commit", "terminal"}


def edges(graph: Graph) -> set[str]:
    return {edge.name for edge in graph.edges}


def test_nobody_asks_to_look_so_no_camera_is_opened() -> None:
    graph = Recipe().graph()
    assert set(graph.nodes) == HEARING
    assert graph.inputs("on_camera")[0].source == "speech"


def test_a_camera_that_is_asked_for_marks_who_speaks() -> None:
    made = Recipe()
    made.recognise_with(resolve("sphinx"), watched=True)
    made.look_through("operators.sources:Camera", {"device": "1"})
    graph = made.graph()
    assert set(graph.nodes) == HEARING | {"camera", "faces", "mouth"}
    assert graph.nodes["camera"].arguments == {"device": "1"}
    assert graph.nodes["camera"].optional
    assert {edge.source: edge.carries for edge in graph.inputs("on_camera")}["mouth"] == (Mouth,)


def test_a_model_that_looks_brings_encoders_and_fusion_and_does_without_voice_activity() -> None:
    made = Recipe()
    made.recognise_with(AVSR, watched=True)
    made.look_through("operators.sources:Camera", {})
    graph = made.graph()
    expected = {"source", "camera", "resample", "faces", "mouth", "mel", "heard", "seen", "fuse", "decode", "commit"}
    assert set(graph.nodes) == expected | {"terminal"}
    assert {"resample->mel", "mel->heard", "heard->fuse", "mouth->seen", "seen->fuse", "fuse->decode"} <= edges(graph)
    for name in ("heard", "seen", "fuse", "decode"):
        assert graph.nodes[name].arguments["model"] == "some/folder"
    assert graph.nodes["commit"].arguments["policy"] == "hold_n"
    assert graph.nodes["fuse"].max_skew_s == 0.3


def test_a_model_that_looks_hears_alone_where_there_is_no_camera() -> None:
    made = Recipe()
    made.recognise_with(AVSR, watched=True)
    assert set(made.graph().nodes) == {"source", "resample", "mel", "heard", "fuse", "decode", "commit", "terminal"}


def test_the_pictures_of_a_file_take_the_cameras_place() -> None:
    made = Recipe()
    made.recognise_with(AVSR, watched=False)
    made.read_file(watched=False)
    made.look_at_source()
    made.write_to([terminal()])
    graph = made.graph()
    assert "camera" not in graph.nodes
    assert graph.nodes["source"].arguments["streams"] == "any"
    (edge,) = graph.inputs("faces")
    assert edge.source == "source"
    assert VideoFrame in edge.carries


def test_voices_off_camera_are_left_out_on_request() -> None:
    made = Recipe()
    made.look_through("operators.sources:Camera", {})
    made.keep_on_camera_only()
    assert made.graph().nodes["on_camera"].arguments["only_on_camera"] is True


def test_a_file_without_a_camera_says_that_nothing_in_it_looks(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "nodes:\n"
        "  mic: {use: operators.sources:Microphone}\n"
        "  resample: {use: operators.audio:Resample, from: {mic: {capacity: 40}}}\n"
        "  speech: {use: operators.audio:Vad, from: resample}\n"
        "  decode: {use: operators.decoders:Sphinx, from: speech}\n"
        "  commit: {use: operators.policies:Commit, from: decode}\n"
        "  terminal: {use: operators.sinks:Terminal, from: {commit: {capacity: 9}}}\n"
    )
    with pytest.raises(MmstreamError, match="there is no camera in it"):
        Recipe(path).look_through("operators.sources:Camera", {})
    with pytest.raises(MmstreamError, match="there is no camera in it"):
        Recipe(path).look_at_source()
