"""Reading pipeline files: YAML and what of it is refused, variables, --set, and the edits that commands make."""

from __future__ import annotations

import time

import pytest

from mmstream.core import MmstreamError
from mmstream.pipeline import Document, PipelineError, check, load, read, read_text, roles
from mmstream.pipeline.lines import MAX_BYTES
from tests.pipeline_texts import ALLOW, CHAIN, FUSED, changed, graph_of, problem_of, problems_of, written


def refused(text: str) -> str:
    with pytest.raises(PipelineError) as caught:
        read_text(text, "p.yaml", {})
    return str(caught.value)


def document_of(text: str, environment: dict[str, str] | None = None) -> Document:
    return read_text(written(text), "p.yaml", environment or {})


# YAML.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "p.yaml:1: a pipeline file is a mapping that begins with 'nodes:', not ['a', 'b']"),
        ("text", "p.yaml:1: a pipeline file is a mapping that begins with 'nodes:', not 'text'"),
        ("nodes:\n\tmel: 1", "p.yaml:2: not YAML: YAML indents with spaces, not with tabs"),
        ("nodes:\n  a: {use: x\n  b: {use: y}\n", "p.yaml:3: not YAML: expected ',' or '}', but got ':'"),
        ("nodes: {a: {use: ${X}}}", "p.yaml:1: not YAML: inside {...} and [...] a variable needs quotes"),
        ("nodes: a: b", "p.yaml:1: not YAML: a ':' that does not belong here"),
        ("nodes:\n  a: 1\n b: 2\n", "p.yaml:3: not YAML: the indentation does not fit the lines above"),
        ("nodes: @x", "p.yaml:1: not YAML: a value cannot begin with '@': quote it"),
        ("nodes: 'x", "p.yaml:1: not YAML: found unexpected end of stream"),
        ("nodes: \x07", "p.yaml:1: not YAML: it holds the control character 0x07"),
        ("a: 1\n--- \nb: 2", "p.yaml:2: a second document begins here ('---')"),
        ("a: *b", "p.yaml:1: the alias '*b' has no anchor '&b' before it"),
        ("a: &b\n  c: *b", "p.yaml:2: the alias '*b' stands inside its own anchor"),
        ("[" * 5_000, "p.yaml:1: values lie more than 30 levels deep"),
        ("a: [" + "1," * 20_000 + "]", "p.yaml:1: more than 10,000 values: a pipeline file is far smaller"),
    ],
)
def test_what_is_no_pipeline_is_refused_with_its_line(text, said):
    assert refused(text).startswith(said)


def test_tags_are_refused_and_nothing_is_made_of_them():
    text = changed("{model: small}", "{model: !!python/object/apply:os.getcwd []}")
    assert problems_of(text)[0] == (
        "5: the tag '!!python/object/apply:os.getcwd' is not allowed: a pipeline file holds plain values only"
    )
    assert problem_of(changed("{model: small}", "{model: !env HOME}")).startswith("5: the tag '!env' is not allowed")
    assert problem_of(changed("{model: small}", "{model: !!str 5}")).startswith("5: the tag '!!str' is not allowed")


def test_aliases_cannot_grow_beyond_bounds():
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    deep = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3_000))
    for text in (bomb, deep):
        began = time.monotonic()
        assert "the aliases expand to more than 10,000 values or 30 levels" in refused(text)
        assert time.monotonic() - began < 5


def test_scalars_are_those_of_yaml_1_2():
    text = "nodes: {a: {use: x, with: {a: no, b: on, c: 12:30, d: 1e-3, e: 0x1F, f: 2020-01-01, g: ~, h: 010, i: -.5}}}"
    values = read_text(text).nodes["a"]["with"]
    expected = ["no", "on", "12:30", 0.001, 31, "2020-01-01", None, 10, -0.5]
    assert list(values.values()) == expected
    assert [type(value) for value in values.values()] == [type(value) for value in expected]


def test_files_that_cannot_be_read(tmp_path):
    def said(name: str) -> str:
        with pytest.raises(PipelineError) as caught:
            read(tmp_path / name)
        return str(caught.value).removeprefix(f"{tmp_path}/")

    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    (tmp_path / "folder.yaml").mkdir()
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(10 << 20)
    assert said("none.yaml") == "none.yaml: there is no such file"
    assert said("latin.yaml") == "latin.yaml:2: not UTF-8: byte 0xe9"
    assert said("folder.yaml") == "folder.yaml: this is a folder, not a pipeline file"
    assert said("huge.yaml") == "huge.yaml: larger than 1 MiB: this is no pipeline file"
    assert said("a\0b").endswith("cannot be read: embedded null byte")


def test_a_file_of_ten_megabytes_is_refused_at_once(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(CHAIN + "# comment\n" * 1_000_000)
    began = time.monotonic()
    with pytest.raises(PipelineError, match="larger than 1 MiB"):
        load(path)
    assert time.monotonic() - began < 1


def test_the_largest_file_that_is_read_is_read_in_seconds(tmp_path):
    path = tmp_path / "p.yaml"
    text = written(CHAIN)
    path.write_text(text + "#" * (MAX_BYTES - len(text)))
    began = time.monotonic()
    assert len(load(path, allow=ALLOW).nodes) == 5
    assert time.monotonic() - began < 5


def test_a_byte_order_mark_is_no_character_of_the_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("\ufeff" + written(CHAIN), "utf-8")
    assert len(load(path, allow=ALLOW).nodes) == 5


# Variables.


def arguments_of(text: str, node: str, **environment: str):
    return check(document_of(text, environment), ALLOW).nodes[node].arguments


def test_variables_are_replaced_and_a_whole_one_may_be_a_number():
    text = changed("toys:Mel,", 'toys:Mel, with: {n_mels: "${MELS:-80}", hop_ms: "${HOP}"},')
    assert arguments_of(text, "mel", HOP="2.5") == {"n_mels": 80, "hop_ms": 2.5}
    assert arguments_of(text, "mel", HOP="2.5", MELS="40")["n_mels"] == 40
    assert arguments_of(text, "mel", HOP="2.5", MELS="")["n_mels"] == 80


def test_a_variable_inside_text_and_an_escaped_one():
    text = changed("{model: small}", '{model: "${HOME}/models/$${x}/${SIZE:-s}"}')
    assert arguments_of(text, "decode", HOME="/h") == {"model": "/h/models/${x}/s"}


def test_a_number_in_a_variable_is_text_where_text_is_wanted():
    text = changed("{model: small}", '{model: "${MODEL}"}')
    assert arguments_of(text, "decode", MODEL="2024") == {"model": "2024"}
    assert arguments_of(text, "decode", MODEL="") == {"model": ""}


def test_a_variable_is_not_expanded_twice():
    text = changed("{model: small}", '{model: "${A}"}')
    assert arguments_of(text, "decode", A="${B}", B="x") == {"model": "${B}"}


def test_an_unset_variable_is_one_problem_with_its_line():
    text = changed("toys:Mel,", 'toys:Mel, with: {n_mels: "${MELS}"},')
    assert problem_of(text) == "4: the variable MELS is not set; set it, or give it a default: ${MELS:-default}"
    assert problem_of(changed("from: mel}", 'from: "${MEL}"}')).startswith("5: the variable MEL is not set")
    assert problem_of(changed("capacity: 8", "capacity: ${CAPACITY}")).startswith("1: the variable CAPACITY is not set")


@pytest.mark.parametrize("wrong", ["${", "${1A}", "${A", "${A-b}", "x${}"])
def test_what_looks_like_a_variable_and_is_none(wrong):
    assert "is no variable: write ${NAME} or ${NAME:-default}" in problem_of(changed("small", f"'{wrong}'"))


# --set.


def after(*settings: str, text: str = CHAIN):
    document = document_of(text)
    for setting in settings:
        document.set(setting)
    return check(document, ALLOW)


def test_set_changes_and_adds_arguments():
    graph = after("mel.n_mels=40", "mic.device=USB: second", "capacity=3", "decode.words=[a, b]", "decode.model=2024")
    assert graph.nodes["mel"].arguments == {"n_mels": 40}
    assert graph.nodes["mic"].arguments == {"device": "USB: second"}
    assert graph.nodes["decode"].arguments == {"model": "2024", "words": ["a", "b"]}
    assert graph.edges[0].capacity == 3


def test_set_takes_the_bound_on_lag():
    assert after("max_lag_ms=2500").max_lag_s == 2.5
    assert after("max_lag_ms=null").max_lag_s is None


def test_set_takes_an_equals_sign_and_what_is_no_yaml_as_text():
    assert after("decode.model=a=b@[").nodes["decode"].arguments["model"] == "a=b@["
    assert after("mic.device=").nodes["mic"].arguments["device"] is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("mell.n_mels=4", "there is no node 'mell'; did you mean 'mel'?"),
        ("mel.n_mel=4", "Mel takes no 'n_mel'; did you mean 'n_mels'?"),
        ("mel.n_mels=four", "Mel takes an integer for 'n_mels', not 'four'"),
        ("mel.n_mels=!!int 4", "Mel takes an integer for 'n_mels', not '!!int 4'"),
        ("mel.n_mels", "write node.argument=value, capacity=value or max_lag_ms=value, such as --set mic.device=1"),
        ("a.b.c=1", "write node.argument=value, capacity=value or max_lag_ms=value, such as --set mic.device=1"),
        ("workers=1", "write node.argument=value, capacity=value or max_lag_ms=value, such as --set mic.device=1"),
        ("max_lag_ms=0", "'max_lag_ms' must be a number above 0, not 0"),
        ("capacity=0", "'capacity' (packets) must be an integer of at least 1, not 0"),
    ],
)
def test_a_wrong_set_is_blamed_and_not_the_file(setting, said):
    with pytest.raises(PipelineError) as caught:
        after(setting)
    assert str(caught.value) == f"--set {setting}: {said}"


def test_a_set_argument_hides_the_line_of_the_one_it_replaces():
    text = changed("{model: small}", "{model: 5}")
    assert after("decode.model=x", text=text).nodes["decode"].arguments == {"model": "x"}


# Edits.


def test_replacing_a_source_keeps_its_edges_and_blames_whoever_replaced_it():
    document = document_of(CHAIN)
    document.replace_node("mic", use="tests.pipeline_toys:Clip", arguments={"path": "a.mp4"})
    graph = check(document, ALLOW)
    assert graph.nodes["mic"].arguments == {"path": "a.mp4"}
    assert graph.edges[0].name == "mic->mel"
    assert graph.edges[0].overflow == "block"
    document.replace_node("mic", use="tests.pipeline_toys:Clip", arguments={"pth": 1}, origin="--device x")
    with pytest.raises(PipelineError) as caught:
        check(document, ALLOW)
    assert str(caught.value) == "--device x: Clip takes no 'pth'; did you mean 'path'?"


def test_a_replaced_node_without_an_origin_is_found_at_its_line():
    document = document_of(CHAIN)
    document.replace_node("decode", use="tests.pipeline_toys:Nothing")
    with pytest.raises(PipelineError, match=r"p\.yaml:5: tests\.pipeline_toys has no operator 'Nothing'"):
        check(document, ALLOW)


def test_sinks_can_be_removed_and_others_added():
    document = document_of(FUSED + "  out: {nodes: [show]}\n")
    for name in roles(document, ALLOW).sinks:
        document.remove_node(name)
    document.add_node("srt", use="tests.pipeline_toys:Free", arguments={"path": "a.srt"}, inputs=["commit"])
    graph = check(document, ALLOW)
    assert list(graph.nodes)[-1] == "srt"
    assert "out" not in graph.workers
    assert graph.worker_of("srt").name == "driver"


def test_removing_a_node_removes_it_from_every_form_of_from():
    document = document_of(FUSED)
    document.remove_node("mel")
    document.remove_node("commit")
    assert document.nodes["fuse"]["from"] == {"clip": {"capacity": 2, "overflow": "drop_newest"}}
    assert "from" not in document.nodes["show"]
    assert document.content["workers"]["edge"]["nodes"] == ["clip"]


def test_what_was_near_an_emptied_worker_is_near_what_that_was_near():
    workers = "{edge: {nodes: [mel], near: driver}, gpu: {nodes: [mel2, decode, commit], near: edge}}"
    document = document_of(f"{CHAIN}  mel2: {{use: toys:Mel, from: mic}}\nworkers: {workers}\n")
    document.remove_node("mel")
    document.content["nodes"]["decode"]["from"] = "mel2"
    near = {name: worker.near for name, worker in check(document, ALLOW).workers.items()}
    assert near == {"gpu": "driver", "driver": None}


def test_what_is_near_the_users_process_stays_so_when_the_file_names_nothing_there():
    document = document_of(f"{CHAIN}workers: {{driver: {{nodes: [show]}}, edge: {{nodes: [mel], near: driver}}}}\n")
    document.remove_node("show")
    document.add_node("srt", use="tests.pipeline_toys:Free", inputs=["commit"])
    assert check(document, ALLOW).workers["edge"].near == "driver"


def test_arguments_can_be_set_on_a_node_that_has_none():
    document = document_of(CHAIN)
    document.set_arguments("mel", {"n_mels": 4})
    assert check(document, ALLOW).nodes["mel"].arguments == {"n_mels": 4}


def test_edits_of_nodes_that_are_not_there():
    document = document_of(CHAIN)
    for edit in (
        lambda: document.replace_node("mell", use="x"),
        lambda: document.remove_node("mell"),
        lambda: document.set_arguments("mell", {}),
    ):
        with pytest.raises(MmstreamError, match=r"p\.yaml: there is no node 'mell'; did you mean 'mel'\?"):
            edit()
    with pytest.raises(MmstreamError, match="there is a node 'mel' already"):
        document.add_node("mel", use="x")


def test_files_as_sources_block_everywhere():
    document = document_of(FUSED)
    document.block_everywhere()
    assert {edge.overflow for edge in check(document, ALLOW).edges} == {"block"}
    assert {edge.overflow for edge in graph_of(FUSED).edges} == {"block", "drop_newest"}
