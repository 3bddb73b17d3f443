"""Pipeline texts made of the toys, and what the checker says of them."""

from __future__ import annotations

import pytest

from mmstream.graph import Graph
from mmstream.pipeline import PipelineError, check, read_text

ALLOW = ("tests.pipeline_toys",)

CHAIN = """\
capacity: 8
nodes:
  mic: {use: toys:Mic}
  mel: {use: toys:Mel, from: mic}
  decode: {use: toys:Decode, with: {model: small}, from: mel}
  commit: {use: toys:Commit, from: decode}
  show: {use: toys:Show, from: commit}
"""

FUSED = """\
capacity: 64
nodes:
  show:   {use: toys:Show, from: commit}
  clip:   {use: toys:Clip, with: {path: a.mp4}}
  mel:    {use: toys:Mel, with: {n_mels: 40, hop_ms: 5}, from: clip}
  fuse:   {use: toys:Fuse, from: {mel: , clip: {capacity: 2, overflow: drop_newest}}, max_skew_ms: 400}
  decode: {use: toys:Decode, with: {model: small}, from: fuse}
  commit: {use: toys:Commit, from: decode}
workers:
  edge: {nodes: [clip, mel]}
  gpu:
    nodes: [decode, fuse]
    resources: {GPU: 0.5, lip_camera: 1}
    replicas: 2
    batch: {max_size: 32, max_wait_ms: 20}
"""

CLUSTER = (
    CHAIN
    + """\
sessions: {limit: 64, idle_s: null}
recovery: {snapshot_s: 2, replay_s: 60, deadline_s: 10, hung_s: "${HUNG:-60}"}
max_lag_ms: null
workers:
  edge: {nodes: [mel], near: driver, standby: 1, limit: 32}
  gpu: {nodes: [decode], near: edge, replicas: {min: 1, max: 4, sessions: 8, queue_ms: 200.5}, batch: {max_size: 8}}
"""
)


def written(text: str) -> str:
    """A text with the module of the toys spelt out."""
    return text.replace("toys:", "tests.pipeline_toys:")


def graph_of(text: str) -> Graph:
    """The graph of a good text."""
    return check(read_text(written(text), "p.yaml", {}), ALLOW)


def problems_of(text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Problems as ``LINE: message``."""
    with pytest.raises(PipelineError) as caught:
        check(read_text(written(text), "p.yaml", environment or {}), ALLOW)
    assert all(str(problem).startswith("p.yaml:") and "\n" not in str(problem) for problem in caught.value.problems)
    return [str(problem).removeprefix("p.yaml:") for problem in caught.value.problems]


def problem_of(text: str, environment: dict[str, str] | None = None) -> str:
    """The one problem."""
    found = problems_of(text, environment)
    assert len(found) == 1, found
    return found[0]


def changed(old: str, new: str, text: str = CHAIN) -> str:
    """A text with one thing in it replaced."""
    assert text.count(old) == 1
    return text.replace(old, new)
