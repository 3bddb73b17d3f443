"""Pipeline text -> graph: edges, workers, shapes and the drawing; every problem with its line and its words."""

from __future__ import annotations

import pickle
import time

import pytest

from mmstream.graph import Batch
from mmstream.media import AudioChunk, Caption, Features, Hypothesis, VideoFrame
from mmstream.pipeline import PipelineError, draw, read_text, roles
from tests import pipeline_toys as toys
from tests.pipeline_texts import ALLOW, CHAIN, FUSED, changed, graph_of, problem_of, problems_of, written

# What a good file gives.


def test_nodes_come_in_topological_order_with_lines_and_converted_arguments():
    graph = graph_of(FUSED)
    assert list(graph.nodes) == ["clip", "mel", "fuse", "decode", "commit", "show"]
    mel = graph.nodes["mel"]
    assert (mel.kind, mel.use, mel.line) == (toys.Mel, "tests.pipeline_toys:Mel", 5)
    assert mel.arguments == {"n_mels": 40, "hop_ms": 5.0}
    assert isinstance(mel.arguments["hop_ms"], float)
    assert graph.nodes["fuse"].max_skew_s == 0.4
    assert graph.nodes["decode"].max_skew_s is None


def test_edges_carry_what_the_target_takes_and_never_name_gaps():
    graph = graph_of(FUSED)
    carries = {edge.name: edge.carries for edge in graph.edges}
    assert carries["clip->mel"] == (AudioChunk,)
    assert carries["clip->fuse"] == (VideoFrame,)
    assert carries["mel->fuse"] == (Features,)
    assert carries["decode->commit"] == (Hypothesis,)
    assert {edge.name: edge.carries for edge in graph_of(CHAIN).edges}["commit->show"] == (Caption,)


def test_live_sources_drop_the_oldest_and_everything_else_blocks_unless_the_file_says_otherwise():
    policies = {edge.name: (edge.capacity, edge.overflow) for edge in graph_of(CHAIN).edges}
    assert policies.pop("mic->mel") == (8, "drop_oldest")
    assert set(policies.values()) == {(8, "block")}
    given = {edge.name: (edge.capacity, edge.overflow) for edge in graph_of(FUSED).edges}
    assert given["clip->fuse"] == (2, "drop_newest")
    assert given["mel->fuse"] == (64, "block")


def test_workers_left_out_are_main_and_driver_by_class():
    workers = graph_of(CHAIN).workers
    assert workers["main"].nodes == ("mel", "decode", "commit")
    assert workers["driver"].nodes == ("mic", "show")
    assert (workers["main"].place, workers["driver"].place) == ("worker", "driver")


def test_workers_given_keep_their_resources_and_the_rest_goes_to_main_and_driver():
    workers = graph_of(FUSED).workers
    assert list(workers) == ["edge", "gpu", "main", "driver"]
    gpu = workers["gpu"]
    assert gpu.nodes == ("fuse", "decode")
    assert (gpu.resources, gpu.replicas) == ({"GPU": 0.5, "lip_camera": 1}, 2)
    assert gpu.batch == Batch(32, 0.02)
    assert workers["main"].nodes == ("commit",)


def test_a_sink_may_run_in_a_worker_and_main_may_be_configured():
    text = CHAIN + "workers: {driver: {nodes: []}, main: {nodes: show, replicas: 3}}\n"
    workers = graph_of(text).workers
    assert workers["main"].nodes == ("mel", "decode", "commit", "show")
    assert workers["main"].replicas == 3
    assert workers["driver"].nodes == ("mic",)


def test_capacity_is_needed_only_where_packets_wait():
    edges = "capacity: 5, overflow: block"
    text = CHAIN.replace("capacity: 8\n", "")
    assert problem_of(text).startswith("1: no 'capacity' for mic->mel, commit->show: say how many packets may wait")
    sized = text.replace("from: mic}", f"from: {{mic: {{{edges}}}}}}}").replace(
        "from: commit", "from: {commit: {capacity: 3}}"
    )
    capacities = {edge.name: edge.capacity for edge in graph_of(sized).edges}
    assert capacities["mic->mel"] == 5
    assert capacities["commit->show"] == 3


def test_yaml_anchors_work():
    text = changed(
        "{model: small}, from: mel}", "&w {model: small}, from: mel}\n  again: {use: toys:Decode, with: *w, from: mel}"
    )
    text += "  c2: {use: toys:Commit, from: again}\n  s2: {use: toys:Show, from: c2}\n"
    assert graph_of(text).nodes["again"].arguments == {"model": "small"}


def test_a_graph_is_picklable():
    graph = graph_of(FUSED)
    assert pickle.loads(pickle.dumps(graph)) == graph


def test_roles():
    found = roles(read_text(written(FUSED), "p.yaml", {}), ALLOW)
    assert (found.sources, found.decoders, found.commits, found.sinks) == (
        ("clip",),
        ("decode",),
        ("commit",),
        ("show",),
    )


def test_roles_of_a_file_with_an_unknown_class_tell_every_problem():
    document = read_text(written(changed("toys:Mel", "toys:Mell") + "extra: 1\n"), "p.yaml", {})
    with pytest.raises(PipelineError, match="Mell") as caught:
        roles(document, ALLOW)
    assert len(caught.value.problems) == 2


# Edges.


def test_payload_types_that_do_not_meet_are_told_with_what_would_go_between():
    assert problems_of(changed("from: mel}", "from: mic}"))[1] == (
        "5: 'decode' (Decode) takes Features, but 'mic' (Mic) gives AudioChunk; in between goes "
        "operators.audio:LogMel or tests.pipeline_toys:Mel"
    )


def test_a_cycle_is_drawn_as_a_path():
    text = changed("from: mic}", "from: loud}") + "  loud: {use: toys:Loud, from: [mic, louder]}\n"
    text += "  louder: {use: toys:Loud, from: loud}\n"
    assert "8: a cycle: loud -> louder -> loud" in problems_of(text)
    assert "4: a cycle: mel -> mel" in problems_of(changed("from: mic}", "from: mel}"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from: mic}", "from: mik}", "4: there is no node 'mik'; did you mean 'mic'?"),
        ("from: mic}", "from: [mic, mic]}", "4: 'from' of 'mel' names 'mic' twice"),
        (
            "from: mic}",
            "from: [mic, {a: 1}]}",
            "4: 'from' of 'mel' must be a name or a list of names; {a: 1} is no name",
        ),
        ("from: mic}", "from: 5}", "4: 'from' of 'mel' must be a name or a list of names, not 5"),
        ("from: mic}", "from: {mic: 5}}", "4: the edge from 'mic' must be a mapping such as {capacity: 50"),
        (
            "from: mic}",
            "from: {mic: {capacity: 0}}}",
            "4: 'capacity' (packets) must be an integer of at least 1, not 0",
        ),
        (
            "from: mic}",
            "from: {mic: {overflow: drop}}}",
            "4: 'overflow' must be 'block', 'drop_oldest' or 'drop_newest', not 'drop'",
        ),
        (
            "from: mic}",
            "from: {mic: {size: 4}}}",
            "4: the edge from 'mic' has no 'size'; it has 'capacity', 'overflow'",
        ),
        ("toys:Mic}", "toys:Mic, from: show}", "3: 'mic' (Mic) is a source: it takes no input, so 'from' must go"),
        ("toys:Mic}", "toys:Mic, max_skew_ms: 4}", "3: 'mic' (Mic) is a source: it has no inputs that could skew"),
        ("from: mic}", "from: mic, optional: true}", "4: only a source may be optional; 'mel' (Mel) is none"),
        ("from: mic}", "from: mic, max_skew_ms: -1}", "4: 'max_skew_ms' must be a number of at least 0, not -1"),
        ("from: mic}", "form: mic}", "4: node 'mel' has no 'form'; did you mean 'from'?"),
        ("from: commit", "optional: yes, from: commit", "7: 'optional' must be true or false, not 'yes'"),
    ],
)
def test_wrong_edges(old, new, said):
    assert any(problem.startswith(said) for problem in problems_of(changed(old, new)))


def test_two_sources_for_one_input():
    text = changed("from: mic}", "from: [mic, mic2]}") + "  mic2: {use: toys:Mic}\n"
    said = "4: two sources for one input: 'mel' (Mel) gets AudioChunk from 'mic' (Mic) and 'mic2' (Mic)"
    assert problem_of(text) == said


def test_orphans():
    unfed = problems_of(changed("toys:Mel, from: mic", "toys:Mel"))
    assert unfed == [
        "3: nobody takes what 'mic' (Mic) gives: AudioChunk",
        "4: 'mel' (Mel) has no 'from'; it takes AudioChunk, which 'mic' gives",
    ]
    assert problem_of(CHAIN.replace("  show: {use: toys:Show, from: commit}\n", "")) == (
        "6: nobody takes what 'commit' (Commit) gives: Caption"
    )


# Workers.


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("{a: {nodes: [mel]}, b: {nodes: [decode, mel]}}", "node 'mel' is in worker 'a' already"),
        ("{a: {nodes: [meel]}}", "there is no node 'meel'; did you mean 'mel'?"),
        ("{a: {nodes: []}}", "worker 'a' has no nodes"),
        ("{a: {node: [mel]}}", "worker 'a' has no 'node'; did you mean 'nodes'?"),
        ("[a]", "'workers' must be a mapping such as {gpu: {nodes: [speech, decode], resources: {GPU: 1}}}, not ['a']"),
        (
            "{a: [mel]}",
            "worker 'a' must be a mapping such as {nodes: [speech, decode], resources: {GPU: 1}}, not ['mel']",
        ),
        ("{a: {nodes: [mel], replicas: 0}}", "'replicas' must be an integer of at least 1, not 0"),
        ("{a: {nodes: [mel], replicas: 1.5}}", "'replicas' must be an integer of at least 1, not 1.5"),
        ("{a: {nodes: [mel], resources: {CPU: -1}}}", "resource 'CPU' must be a number of at least 0, not -1"),
        ("{a: {nodes: [mel], resources: {CPU: many}}}", "resource 'CPU' must be a number of at least 0, not 'many'"),
        ("{a: {nodes: [mel], resources: {CPU: .inf}}}", "resource 'CPU' must be a number of at least 0, not inf"),
        ("{a: {nodes: [mel], resources: {num_gpus: 1}}}", "no cluster has a resource 'num_gpus'; did you mean 'GPU'?"),
        (
            "{a: {nodes: [mel], resources: {GPU: 1.5}}}",
            "resource 'GPU' must be a fraction of one or a whole number, not 1.5",
        ),
        ("{a: {nodes: [mel], resources: 2}}", "'resources' must be a mapping such as {CPU: 2, GPU: 0.5}, not 2"),
        (
            "{a: {nodes: [mel], batch: {max_size: 2}}}",
            "worker 'a' has no operator that works in batches, so 'batch' must go",
        ),
        ("{main: {batch: {max_size: 0}}}", "'max_size' (packets) must be an integer of at least 1, not 0"),
        ("{main: {batch: {max_wait_ms: 5}}}", "'batch' does not say how many packets one call may take: max_size"),
        ("{main: {batch: {max_siz: 5}}}", "'batch' has no 'max_siz'; did you mean 'max_size'?"),
        ("{driver: {nodes: [mel], replicas: 2}}", "worker 'driver' is the user's own process: it takes no 'replicas'"),
        ("{driver: {resources: {CPU: 1}}}", "worker 'driver' is the user's own process: it takes no 'resources'"),
        ("{9a: {nodes: [mel]}}", "'9a' under 'workers' is no name: a name begins with a letter"),
    ],
)
def test_wrong_workers(workers, said):
    assert any(problem.startswith(f"8: {said}") for problem in problems_of(f"{CHAIN}workers: {workers}\n"))


def test_workers_that_would_wait_for_each_other_for_ever():
    circle = f"{CHAIN}workers: {{a: {{nodes: [mel, commit]}}, b: {{nodes: [decode]}}}}\n"
    assert problem_of(circle).startswith("8: workers wait for each other: mel->decode, decode->commit lead round")
    graph_of(changed("from: mel}", "from: {mel: {overflow: drop_oldest}}}", circle))


# Shapes, and the whole.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", " there are no nodes: a pipeline file holds them under 'nodes:'"),
        ("nodes: {}", "1: there are no nodes"),
        ("nodes: [a]", "1: 'nodes' must be a mapping such as"),
        ("nodes: {a: b}", "1: node 'a' must be a mapping such as"),
        ("nodes: {a: {}}", "1: node 'a' does not say which operator it is: use: MODULE:Class"),
        ("nodes: {'a b': {use: x}}", "1: 'a b' under 'nodes' is no name: a name begins with a letter"),
        ("nodes: {a: b}\nnode: {}", "2: a pipeline file has no 'node'; did you mean 'nodes'?"),
        ("nodes: {a: b}\ncapacity: many", "2: 'capacity' (packets) must be an integer of at least 1, not 'many'"),
    ],
)
def test_wrong_shapes(text, said):
    assert any(problem.startswith(said) for problem in problems_of(text))


def test_duplicate_names_are_told_and_the_rest_is_still_checked():
    text = changed("  decode:", "  mel: {use: toys:Mel, from: mic}\n  decode:")
    assert problem_of(text) == "5: duplicate name 'mel': it stands on line 4 already"


def test_every_problem_comes_at_once_in_the_order_of_the_file():
    text = changed("toys:Mel,", "toys:Mel, with: {n_mel: 1},").replace("from: decode", "from: decoder")
    text = text.replace("capacity: 8", "capacity: 0") + "workers: {a: {nodes: [x]}}\n"
    found = problems_of(text)
    assert [int(problem.partition(":")[0]) for problem in found] == [1, 4, 6, 8]


def test_a_wrong_file_of_a_thousand_nodes_is_checked_in_seconds():
    lines = [f"  n{number}: {{use: toys:Mel, from: m{number}}}" for number in range(1_000)]
    began = time.monotonic()
    assert len(problems_of("capacity: 1\nnodes:\n" + "\n".join(lines))) == 2_000
    assert time.monotonic() - began < 20


# The drawing.


DRAWING = """\
p.yaml: 6 nodes, 6 edges, 4 workers

●    clip    Clip(path='a.mp4')          edge
│        AudioChunk → mel                64 packets, block
├─╮      VideoFrame → fuse               2 packets, drop_newest
● │  mel     Mel(n_mels=40, hop_ms=5.0)  edge
│ │      Features                        64 packets, block
●─╯  fuse    Fuse  [waits 400 ms]        gpu
│        Features                        64 packets, block
●    decode  Decode(model='small')       gpu
│        Hypothesis                      64 packets, block
●    commit  Commit                      main
│        Caption                         64 packets, block
●    show    Show                        driver

edge    clip, mel
gpu     fuse, decode  (2 replicas, GPU 0.5, lip_camera 1, batches of up to 32 within 20 ms)
main    commit
driver  show  (in your process)"""


def test_a_drawing_shows_types_queues_and_workers():
    assert draw(graph_of(FUSED)) == DRAWING


def test_edges_that_do_not_queue_are_drawn_without_a_queue():
    lines = draw(graph_of(CHAIN)).splitlines()
    assert "│      Hypothesis" in lines
    assert "│      Caption                    8 packets, block" in lines


def test_edges_cross_in_a_drawing():
    text = (
        CHAIN
        + """\
  two: {use: toys:Show, from: commit}
  mel2: {use: toys:Mel, from: mic}
  fuse: {use: toys:Fuse, from: [mel2, cam]}
  cam: {use: toys:Camera, optional: true}
  decode2: {use: toys:Decode, with: {model: b}, from: fuse}
  commit2: {use: toys:Commit, from: decode2}
  show2: {use: toys:Show, from: commit2}
"""
    )
    rails = [line.partition("  ")[0].rstrip() for line in draw(graph_of(text)).splitlines()[2:22]]
    assert rails[:4] == ["●", "│", "├─╮", "● │"]
    assert "├─┼─╮" in rails  # commit gives a second sink across the edge to mel2


def test_a_plain_drawing_is_ascii():
    assert draw(graph_of(FUSED), plain=True).isascii()
