"""What commands make of a pipeline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.core import MmstreamError
from mmstream.outcome import OperatorError
from mmstream.pipeline import PipelineError
from mmstream.recipe import Recipe, SinkNode, file_sink, file_sinks, formats, terminal
from mmstream.registry import Model, resolve

TWO_SINKS = """
capacity: 64
nodes:
  source: {use: operators.sources:Microphone, with: {device: USB, block_ms: 20}}
  resample: {use: operators.audio:Resample, with: {sample_rate: 16000}, from: {source: {capacity: 40}}}
  speech: {use: operators.audio:Vad, with: {threshold: 0.7}, from: resample}
  decode: {use: operators.decoders:Sphinx, with: {hypothesis_every_ms: 400}, from: speech}
  commit: {use: operators.policies:Commit, with: {n: 3}, from: decode}
  screen: {use: operators.sinks:Terminal, from: commit}
  lines: {use: operators.sinks:JsonLines, with: {path: talk.jsonl}, from: {commit: {capacity: 7}}}
"""

ANOTHER_CHAIN = """
  other: {use: operators.sources:MediaFile, with: {path: other.mp4}}
  to_mono: {use: operators.audio:Resample, from: other}
  voices: {use: operators.audio:Vad, from: to_mono}
  words: {use: operators.decoders:Sphinx, from: voices}
  certain: {use: operators.policies:Commit, from: words}
  text: {use: operators.sinks:PlainText, with: {path: other.txt}, from: certain}
"""


def recipe(folder: Path, text: str = TWO_SINKS, **options: list[str]) -> Recipe:
    (folder / "mine.yaml").write_text(text)
    return Recipe(folder / "mine.yaml", **options)


def listen_to_a_file(made: Recipe) -> None:
    made.listen_to("operators.sources:MediaFile", {"path": "talk.mp4", "pace": "fast"}, live=False)


def test_the_file_stands_where_nothing_is_changed(tmp_path: Path) -> None:
    graph = recipe(tmp_path).graph()
    assert graph.nodes["source"].arguments == {"device": "USB", "block_ms": 20}
    assert set(graph.nodes) == {"source", "resample", "speech", "decode", "commit", "screen", "lines"}
    assert graph.inputs("resample")[0].overflow == "drop_oldest"


def test_another_source_takes_the_name_and_none_of_the_arguments_of_the_old_one(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert made.source == "source"
    listen_to_a_file(made)
    graph = made.graph()
    assert graph.nodes["source"].use == "operators.sources:MediaFile"
    assert graph.nodes["source"].arguments == {"path": "talk.mp4", "pace": "fast"}
    assert {edge.overflow for edge in graph.edges} == {"block"}  # a file can wait: nothing of it is dropped
    assert graph.inputs("resample")[0].capacity == 40
    assert graph.nodes["speech"].arguments == {"threshold": 0.7}


def test_another_live_source_still_drops(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.listen_to("operators.sources:LiveUrl", {"url": "udp://127.0.0.1:1"}, live=True)
    assert made.graph().inputs("resample")[0].overflow == "drop_oldest"


def test_a_model_brings_its_decoder_and_the_policy_that_suits_it(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    whisper = Model("mine", "operators.decoders:Whisper", {"model": "folder"})
    made.recognise_with(whisper, watched=True)
    graph = made.graph()
    assert graph.nodes["decode"].use == "operators.decoders:Whisper"
    assert graph.nodes["decode"].arguments == {"model": "folder", "shed_lag_s": 2.0}
    assert graph.nodes["commit"].arguments == {"n": 3} | dict(whisper.commit)


def test_where_nobody_watches_only_final_words_are_computed(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.recognise_with(Model("mine", "operators.decoders:Whisper", {"model": "folder"}), watched=False)
    graph = made.graph()
    assert graph.nodes["commit"].arguments["policy"] == "final"
    assert graph.nodes["decode"].arguments == {"model": "folder", "step_ms": 60_000}


def test_other_sinks_are_fed_by_what_fed_the_old_ones(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    text = SinkNode("text", "operators.sinks:PlainText", {"path": "talk.txt"})
    made.write_to([terminal(), file_sink("out/{session}.srt"), text])
    graph = made.graph()
    assert set(graph.nodes) == {"source", "resample", "speech", "decode", "commit", "terminal", "srt_file", "text"}
    assert {edge.target for edge in graph.outputs("commit")} == {"terminal", "srt_file", "text"}
    assert graph.nodes["srt_file"].arguments == {"path": "out/{session}.srt"}
    assert graph.worker_of("srt_file").place == "driver"


def test_sinks_beside_the_files_own(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert made.gives_captions
    made.also_write_to([file_sink("out/{session}.srt")])
    graph = made.graph()
    assert {edge.target for edge in graph.outputs("commit")} == {"screen", "lines", "srt_file"}
    taken = SinkNode("lines", "operators.sinks:PlainText", {"path": "talk.txt"})
    with pytest.raises(MmstreamError, match="there is a node 'lines' already"):
        made.also_write_to([taken])


def test_many_sessions_are_shown_wherever_one_was(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.show_many()
    graph = made.graph()
    assert graph.nodes["screen"].arguments == {"many": True}
    assert graph.nodes["lines"].arguments == {"path": "talk.jsonl"}


def test_a_file_in_the_place_of_a_source_that_is_watched_gives_its_pictures_too(tmp_path: Path) -> None:
    looking = """
capacity: 64
nodes:
  source: {use: operators.sources:LiveUrl, with: {url: "rtsp://host/path", streams: any}}
  faces: {use: operators.video:FaceTrack, from: source}
  mouth: {use: operators.video:MouthCrop, from: faces}
  look: {use: operators.encoders:VideoEncoder, from: mouth}
  hear: {use: operators.audio:LogMel, from: source}
  listen: {use: operators.encoders:AudioEncoder, from: hear}
  fuse: {use: operators.fusion:Fuse, from: [listen, look], max_skew_ms: 400}
  decode: {use: operators.decoders:Avsr, from: fuse}
  commit: {use: operators.policies:Commit, from: decode}
  screen: {use: operators.sinks:Terminal, from: commit}
"""
    made = recipe(tmp_path, looking)
    made.read_file(watched=True)
    assert made.graph().nodes["source"].arguments == {"path": "", "pace": "realtime", "streams": "any"}
    heard = recipe(tmp_path)
    heard.read_file(watched=True)
    assert heard.graph().nodes["source"].arguments == {"path": "", "pace": "realtime"}


def test_formats_are_named_once_each_and_in_any_case() -> None:
    assert formats("srt, .VTT,,srt") == ["srt", "vtt"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("srt,vvt", "--format srt,vvt: 'vvt' is unknown; did you mean 'vtt'?"),
        (",", "--format ',' names no format; known are srt, vtt, jsonl, txt"),
    ],
)
def test_formats_that_cannot_be(text: str, said: str) -> None:
    with pytest.raises(MmstreamError) as fault:
        formats(text)
    assert str(fault.value) == said


def test_what_the_user_sets_holds_whatever_the_command_has_put_in_place(tmp_path: Path) -> None:
    made = recipe(tmp_path, sets=["source.chunk_ms=250", "decode.hypothesis_every_ms=300", "commit.n=9"])
    listen_to_a_file(made)
    made.recognise_with(resolve("sphinx"), watched=True)
    graph = made.graph()
    assert graph.nodes["source"].arguments["chunk_ms"] == 250
    assert graph.nodes["decode"].arguments["hypothesis_every_ms"] == 300
    assert graph.nodes["commit"].arguments["n"] == 9


def test_replicas_are_of_every_worker_but_the_users_process(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.replicate(3)
    assert {spec.place: spec.replicas for spec in made.graph().workers.values()} == {"worker": 3, "driver": 1}


def test_a_command_that_changes_the_source_needs_one(tmp_path: Path) -> None:
    made = recipe(tmp_path, TWO_SINKS + ANOTHER_CHAIN)
    assert len(made.graph().nodes) == 13
    with pytest.raises(MmstreamError, match="this command needs one source; there are 2"):
        listen_to_a_file(made)


def test_a_file_with_mistakes_has_them_as_the_reason(tmp_path: Path) -> None:
    made = recipe(tmp_path, "capacity: 8\nnodez: {}\n")
    with pytest.raises(PipelineError, match="did you mean 'nodes'"):
        listen_to_a_file(made)


def test_problems_of_the_file_and_of_the_changes_come_together(tmp_path: Path) -> None:
    made = recipe(tmp_path, TWO_SINKS.replace("threshold", "treshold"), sets=["commit.m=1"])
    listen_to_a_file(made)
    with pytest.raises(PipelineError) as fault:
        made.graph()
    assert len(fault.value.problems) == 2
    assert "did you mean 'threshold'?" in str(fault.value)
    assert "--set commit.m=1" in str(fault.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("talk.sub", "talk.sub: no caption format ends in 'sub'; "),
        ("talk.vt", "talk.vt: no caption format ends in 'vt'; did you mean 'vtt'?"),
        ("captions", "captions: a caption file's name ends in .srt, .vtt, .jsonl, .txt"),
    ],
)
def test_a_caption_file_of_no_known_format(path: str, said: str) -> None:
    with pytest.raises(MmstreamError) as fault:
        file_sink(path)
    assert str(fault.value).startswith(said)


def test_suffixes_may_be_capitals() -> None:
    assert file_sink("TALK.SRT") == SinkNode("srt_file", "operators.sinks:Srt", {"path": "TALK.SRT"})


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("TALK.SRT", "TALK.de.SRT"),
        ("./out.d/{session}.vtt", "./out.d/{session}.de.vtt"),
        ("v1.2.jsonl", "v1.2.de.jsonl"),
    ],
)
def test_a_translation_goes_beside_what_was_said(path: str, beside: str) -> None:
    said, translated = file_sinks(path, ["de"])
    assert said == file_sink(path)
    assert translated.arguments == {"path": beside, "language": "de"}
    assert translated.use == said.use


def test_only_what_the_command_has_put_in_place_is_told_without_its_node(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    fault = OperatorError("source", "operators.sources:Microphone", "live", 0.0, "no microphone 'USB'")
    assert made.plainly(fault) is fault  # the file's own node: its author knows it
    listen_to_a_file(made)
    made.write_to([file_sink("talk.srt")])
    assert str(made.plainly(fault)) == "no microphone 'USB'"
    wrong = OperatorError("srt_file", "operators.sinks:Srt", "live", 0.0, "ValueError: path names no file")
    assert str(made.plainly(wrong)) == "path names no file"
    inside = OperatorError("decode", "operators.decoders:Sphinx", "live", 1.5, "KeyError: 3")
    assert made.plainly(inside) is inside
    assert str(made.plainly(MmstreamError("worker 'main' failed"))) == "worker 'main' failed"


TRANSLATED = f"""{TWO_SINKS}
  others: {{use: operators.translation:Translate, with: {{targets: [fr], policy: wait_k, k: 4}}, from: commit}}
"""


def test_translations_come_between_captions_and_sinks_in_a_worker_of_their_own(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    assert made.languages == []
    made.translate_into(["de", "fr"], {"model": "mt-en-de"}, watched=True)
    made.write_to([terminal(made.languages), *file_sinks("talk.srt", made.languages)])
    graph = made.graph()
    assert made.languages == ["de", "fr"]
    assert graph.nodes["translate"].arguments == {"policy": "alignatt", "model": "mt-en-de", "targets": ["de", "fr"]}
    assert [edge.source for edge in graph.inputs("translate")] == ["commit"]
    for sink in ("terminal", "srt_file_de", "srt_file_fr"):
        assert [edge.source for edge in graph.inputs(sink)] == ["commit", "translate"]
    assert [edge.source for edge in graph.inputs("srt_file")] == ["commit"]  # what was said waits for nobody
    assert graph.nodes["srt_file_de"].arguments == {"path": "talk.de.srt", "language": "de"}
    assert graph.nodes["terminal"].arguments == {"languages": ["de", "fr"]}
    assert graph.workers["translate"].nodes == ("translate",)
    assert "commit" in graph.workers["main"].nodes


def test_files_that_nobody_watches_are_translated_a_sentence_at_a_time(tmp_path: Path) -> None:
    made = recipe(tmp_path)
    made.translate_into(["de"], {}, watched=False)
    made.write_to(file_sinks("talk.srt", made.languages))
    assert made.graph().nodes["translate"].arguments == {"policy": "sentence", "drafts": False, "targets": ["de"]}


def test_a_file_with_a_translator_keeps_it_and_its_arguments(tmp_path: Path) -> None:
    made = recipe(tmp_path, TRANSLATED)
    assert made.languages == ["fr"]
    made.write_to([terminal(made.languages)])
    assert [edge.source for edge in made.graph().inputs("terminal")] == ["commit", "others"]
    again = recipe(tmp_path, TRANSLATED)
    again.translate_into(["es"], {"k": 2}, watched=False)
    again.write_to([terminal(again.languages)])
    arguments = again.graph().nodes["others"].arguments
    assert (arguments["targets"], arguments["k"], arguments["drafts"]) == (["es"], 2, False)


def test_a_translator_that_no_sink_was_told_of_is_still_taken_from(tmp_path: Path) -> None:
    made = recipe(tmp_path, TRANSLATED)
    made.write_to([file_sink("talk.srt")])  # of a command that has no use for translations
    assert [edge.source for edge in made.graph().inputs("srt_file")] == ["commit", "others"]


def test_a_worker_of_the_files_own_keeps_its_name(tmp_path: Path) -> None:
    made = recipe(tmp_path, TWO_SINKS + "workers:\n  translate: {nodes: commit}\n")
    made.translate_into(["de"], {}, watched=True)
    made.write_to([terminal(made.languages)])
    workers = made.graph().workers
    assert workers["translate"].nodes == ("commit",)
    assert workers["translate_2"].nodes == ("translate",)


REMOTE = """
capacity: 64
nodes:
  source: {use: operators.sources:Microphone}
  resample: {use: operators.audio:Resample, from: source}
  server: {use: operators.remote:Remote, with: {server: "ws://localhost:1", translate: [fr]}, from: resample}
  screen: {use: operators.sinks:Terminal, from: server}
"""


def test_a_server_that_hears_for_us_is_told_what_to_translate_into(tmp_path: Path) -> None:
    made = recipe(tmp_path, REMOTE)
    assert made.languages == ["fr"]
    made.translate_into(["de", "es"], {"model": "mt-en-de"}, watched=True)
    assert made.languages == ["de", "es"]
    made.write_to([file_sink("talk.srt")])
    graph = made.graph()
    assert graph.nodes["server"].arguments == {"server": "ws://localhost:1", "translate": ["de", "es"]}
    assert [edge.source for edge in graph.inputs("srt_file")] == ["server"]
    made.leave_untranslated()
    assert made.languages == []


def test_a_translator_of_the_file_can_be_left_out(tmp_path: Path) -> None:
    made = recipe(tmp_path, TRANSLATED)
    made.leave_untranslated()
    made.write_to([terminal()])
    graph = made.graph()
    assert "others" not in graph.nodes
    assert [edge.source for edge in graph.inputs("terminal")] == ["commit"]
