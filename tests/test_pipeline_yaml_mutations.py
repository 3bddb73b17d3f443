"""Whatever happens to a pipeline file, it gives a graph or a PipelineError: never another exception."""

from __future__ import annotations

import string

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmstream.graph import Graph
from mmstream.pipeline import PipelineError, check, default_path, draw, read_text
from tests.pipeline_texts import ALLOW, CLUSTER, FUSED, written

TEXTS = (
    written(FUSED),
    written(CLUSTER),
    default_path().read_text(),
    written(
        """\
capacity: ${CAPACITY:-64}
nodes:
  mic: {use: toys:Mic, with: {device: "${DEVICE}", block_ms: 3e1}, optional: true}
  mel: &mel
    use: toys:Mel
    from: {mic: {capacity: 5, overflow: drop_oldest}}
  mel2: *mel
  decode: {use: toys:Decode, with: {model: 'a', words: [a, b], weights: {a: 1.5}}, from: mel}
  decode2: {use: toys:Decode, with: {model: "b"}, from: mel2}
  commit: {use: toys:Commit, with: {sizes: [1, 2], size: [1, 2], folder: x}, from: decode}
  commit2: {use: toys:Commit, from: decode2}
  show: {use: toys:Show, from: commit}
  show2: {use: toys:Free, with: {any: thing}, from: commit2}
workers:
  main: {batch: {max_size: 4}}
"""
    ),
)
ENVIRONMENT = {"DEVICE": "3", "HOME": "/home/x"}

_marks = st.sampled_from(
    [*"{}[]:,&*!|>'\"%@`#?-\t\n $~<=.\\\0\x85\u2028\ufeff\ud800", "${", "${A}", "$${", "---", "...", "<<: "]
)
_scalars = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["null", "true", "no", "[]", "{}", "''", ".nan", "-.inf", "0x", "9" * 5_000, "!!python/none x", "*mel", "&a b"]
    ),
    st.text(string.printable, max_size=8),
)


@st.composite
def mutated(draw_from: st.DrawFn) -> str:
    """A valid text after one to six accidents."""
    text = draw_from(st.sampled_from(TEXTS))
    for _ in range(draw_from(st.integers(1, 6))):
        text = draw_from(st.sampled_from([_at_a_place, _in_lines, _in_values]))(draw_from, text)
    return text


def _at_a_place(draw_from: st.DrawFn, text: str) -> str:
    """Characters inserted, deleted or replaced."""
    begin = draw_from(st.integers(0, len(text)))
    end = min(len(text), begin + draw_from(st.integers(0, 12)))
    return text[:begin] + draw_from(st.one_of(st.just(""), _marks, _scalars)) + text[end:]


def _in_lines(draw_from: st.DrawFn, text: str) -> str:
    """A line deleted, repeated elsewhere, or indented."""
    lines = text.split("\n")
    which = draw_from(st.integers(0, len(lines) - 1))
    action = draw_from(st.sampled_from(["delete", "repeat", "indent"]))
    if action == "repeat":
        lines.insert(draw_from(st.integers(0, len(lines))), lines[which])
    elif action == "indent":
        lines[which] = " " * draw_from(st.integers(0, 5)) + lines[which].lstrip()
    else:
        del lines[which]
    return "\n".join(lines)


def _in_values(draw_from: st.DrawFn, text: str) -> str:
    """A word replaced by another of the file, or by any scalar: names, operators, numbers, keys."""
    words = [word for word in text.replace("{", " ").replace("}", " ").replace(",", " ").split() if len(word) > 1]
    if not words:
        return text
    old = draw_from(st.sampled_from(words))
    return text.replace(old, draw_from(st.one_of(st.sampled_from(words), _scalars)), draw_from(st.integers(1, 2)))


def outcome(text: str, setting: str | None = None) -> Graph | PipelineError:
    """What becomes of a text; any other exception is the test's failure."""
    try:
        document = read_text(text, "p.yaml", ENVIRONMENT)
        if setting is not None:
            document.set(setting)
        return check(document, ALLOW)
    except PipelineError as error:
        return error


def assert_sound(outcome: Graph | PipelineError) -> None:
    if isinstance(outcome, Graph):
        assert_whole(outcome)
    else:
        assert outcome.problems
        assert len(str(outcome).splitlines()) == len(outcome.problems)


@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_a_mutated_file_gives_a_graph_or_its_problems(text):
    assert_sound(outcome(text))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_graph_or_its_problems(text):
    assert_sound(outcome(text))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["", "mel.", "mel.n_mels=", "decode.model=", "capacity="]))
def test_any_setting_gives_a_graph_or_its_problems(text, begin):
    assert_sound(outcome(TEXTS[0], begin + text))


def assert_whole(graph: Graph) -> None:
    """What executors rely on."""
    names = list(graph.nodes)
    placed = [name for worker in graph.workers.values() for name in worker.nodes]
    assert sorted(placed) == sorted(names)
    for edge in graph.edges:
        assert names.index(edge.source) < names.index(edge.target)
        assert edge.carries
        assert edge.capacity >= 1
    for name, node in graph.nodes.items():
        assert bool(graph.inputs(name)) != node.is_source
    for name, worker in graph.workers.items():
        assert worker.replicas >= 1
        assert worker.scale is None or worker.scale.most >= worker.replicas
        assert worker.near != name
        assert worker.near in {None, "driver", *graph.workers}
    assert draw(graph)


def test_the_unchanged_texts_are_graphs():
    for text in TEXTS:
        assert_whole(check(read_text(text, "p.yaml", ENVIRONMENT), ALLOW))
