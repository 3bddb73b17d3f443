"""A microphone that is unplugged ends its session with an error, and keeps every word that came before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmstream.core import MediaLost, Packet
from mmstream.drive import running
from mmstream.executors import ExecutorName, Result
from mmstream.graph import Graph
from tests.conftest import WAIT_S
from tests.toys import Add, Pictures, Tone, Write, graph, node


class Unplugged(Tone):
    """A tone that breaks off."""

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        yield from super().packets(session)
        raise MediaLost("the toy microphone was unplugged")


def ended(executor: ExecutorName, made: Graph) -> Result:
    """How the one session of a graph ended."""
    with running(executor, made) as started:
        started.open("talk")
        result = started.wait(WAIT_S)
    assert result is not None
    return result


def captured(executor: ExecutorName, tmp_path: Path, **source: Any) -> tuple[list[str], str]:
    path = tmp_path / "captions.txt"
    made = graph(
        [node("mic", Unplugged, count=5, **source), node("add", Add), node("write", Write, path=str(path))],
        [("mic", "add"), ("add", "write")],
        {"main": ["mic", "add"], "driver": ["write"]},
    )
    result = ended(executor, made)
    return path.read_text().splitlines(), str(result.error)


def test_what_came_before_is_kept_and_the_error_told(tmp_path: Path) -> None:
    lines, error = captured("local", tmp_path)
    assert len(lines) >= 5
    assert "[[10.0]]" in lines[4]
    assert error == ("node 'mic' (tests.toys:Unplugged), session 'talk', at 0.500 s: the toy microphone was unplugged")


@pytest.mark.usefixtures("ray_cluster")
def test_on_ray_too(tmp_path: Path) -> None:
    lines, error = captured("ray", tmp_path)
    assert (lines, error) == captured("local", tmp_path)


def test_an_optional_source_that_breaks_off_ends_nothing(tmp_path: Path) -> None:
    made = graph(
        [
            node("mic", Unplugged, count=3, optional=True),
            node("add", Add),
            node("write", Write, path=str(tmp_path / "captions.txt")),
        ],
        [("mic", "add"), ("add", "write")],
        {"main": ["mic", "add", "write"]},
    )
    assert ended("local", made).error is None


def test_a_camera_stops_with_the_microphone_it_belongs_to(tmp_path: Path) -> None:
    made = graph(
        [
            node("mic", Unplugged, count=3),
            node("camera", Pictures, count=1_000_000, pause_s=0.01),
            node("add", Add),
            node("write", Write, path=str(tmp_path / "captions.txt")),
        ],
        [("mic", "add"), ("add", "write")],
        {"main": ["mic", "camera", "add", "write"]},
    )
    assert "the toy microphone was unplugged" in str(ended("local", made).error)
