"""Pieces on the disk, and pieces joined: the sinks write what they would have written of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from mmstream.core import MmstreamError, Packet
from mmstream.graph import Node
from mmstream.media import Caption, Gap, Translation, Word
from mmstream.recipe import Recipe, file_sinks
from mmstream.testing import ManualClock, run_operator
from mmstream.transcription.joining import Joiner, keep_pieces
from mmstream.transcription.pieces import Keep, Piece, in_one, read_piece
from operators.sinks import JsonLines, PlainText, Srt, WebVtt
from operators.sinks.files import FileSink
from tests.captions import caption, finals, gap, translation

SINKS: dict[str, type[FileSink[Any]]] = {"srt": Srt, "vtt": WebVtt, "jsonl": JsonLines, "txt": PlainText}
WHOLE = [
    *(caption(0, "one"), caption(0, "one two", "three"), caption(0, "one two three", final=True)),
    *(caption(1, "four", "wife", start=3.0), caption(1, "four five", final=True, start=3.0), gap(4.0, 5.0)),
    *(caption(2, "sechs", final=True, start=6.0, language="de"), gap(7.0, 8.0, "video")),
    *(caption(3, "今日", final=True, start=9.0, language="ja"), caption(4, "still open", start=11.0)),
    *(translation(0, "eins zwei", "drei"), translation(0, "eins zwei drei", final=True)),
    *(translation(0, "un deux trois", final=True, language="fr"), translation(1, "vier fünf", final=True, start=3.0)),
    *(translation(2, "six", final=True, start=6.0, language="fr"), translation(2, "sechs", final=True, start=6.0)),
    *(translation(3, "heute", final=True, start=9.0), translation(4, "noch", "offen", start=11.0)),
]
LANGUAGES = (None, "de", "fr")


def keep(folder: Path, session: str, packets: Sequence[Packet[Any]], clock: ManualClock | None = None) -> Path:
    sink = Keep(str(folder))
    sink.clock = clock or ManualClock()
    run_operator(sink, list(packets), session=session)
    return folder / f"{session}.jsonl"


def moved(packets: Sequence[Packet[Any]], by: int) -> list[Packet[Any]]:
    """The same captions numbered from another number."""

    def numbered(data: Any) -> Any:
        return replace(data, index=data.index + by) if isinstance(data, Caption | Translation) else data

    return [replace(packet, data=numbered(packet.data)) for packet in packets]


def test_what_is_read_is_what_was_kept(tmp_path: Path) -> None:
    clock = ManualClock()
    odd = [
        Packet("s", 0.1 + 0.2, 1 / 3, Caption(0, (Word('caf\udce9\n"', 0.1, 1 / 3, 0.7, 0.25),), (), True), 1e9 / 7),
        Packet("s", 1.0, 2.0, Caption(1, (), (Word("", 1.0, 2.0),), False, "zh"), 5.0),
        Packet("s", 2.0, 3.0, Gap("video", "the cable"), 6.0),
        Packet("s", 1.0, 2.0, Translation(1, (), (Word("ö", 1.0, 2.0, 0.5, 0.25),), False, "pt-BR"), 5.0),
    ]
    path = keep(tmp_path, "deep/s", odd, clock)
    found = list(read_piece(path, "s"))
    assert [heard.packet for heard in found] == odd
    assert {heard.arrived_at for heard in found} == {clock.now()}


def test_a_piece_that_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    sink = Keep(str(tmp_path))
    state = sink.open("s")
    sink.process(caption(0, "one"), state)
    sink.discard(state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["[]\n", '{"start": 1}\n', "half a li"])
def test_a_damaged_piece_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.jsonl").write_text(content)
    with pytest.raises(MmstreamError, match=r"s\.jsonl: is damaged; remove it"):
        list(read_piece(tmp_path / "s.jsonl", "s"))
    with pytest.raises(MmstreamError, match=r"gone\.jsonl: cannot be read: No such file"):
        list(read_piece(tmp_path / "gone.jsonl", "s"))


def joined(tmp_path: Path, pieces: Sequence[tuple[float, float | None, Sequence[Packet[Any]]]]) -> None:
    """All formats of a session ``s`` that was heard in ``pieces`` (start, end, packets)."""
    kept = []
    for number, (start, end, packets) in enumerate(pieces):
        piece = Piece(f"s/{number}", start, end)
        kept.append((piece, keep(tmp_path / "work", piece.session, packets)))
    nodes = [
        Node(
            f"{suffix}_{language}",
            "",
            kind,
            {"path": f"{tmp_path}/{{session}}.{language}.{suffix}", "language": language},
        )
        for suffix, kind in SINKS.items()
        for language in LANGUAGES
    ]
    Joiner(nodes).write("s", in_one(kept, "s"))


@pytest.mark.parametrize("seams", [(), (5.5,), (2.9, 8.5, 10.5)])
def test_joined_pieces_give_the_bytes_of_the_whole(tmp_path: Path, seams: tuple[float, ...]) -> None:
    for (suffix, kind), language in product(SINKS.items(), LANGUAGES):
        sink = kind(path=str(tmp_path / f"whole.{language}.{suffix}"), language=language)
        sink.clock = ManualClock()
        run_operator(sink, [replace(packet, session="s") for packet in WHOLE], session="s")

    times = [0.0, *seams, float("inf")]
    pieces, index = [], 0
    for start, end in pairwise(times):
        inside = [packet for packet in WHOLE if start <= packet.start < end]
        pieces.append((start, None if end == float("inf") else end, moved(inside, -index)))
        index += len({packet.data.index for packet in inside if isinstance(packet.data, Caption)})
    joined(tmp_path, pieces)

    for suffix, language in product(SINKS, LANGUAGES):
        whole = (tmp_path / f"whole.{language}.{suffix}").read_bytes()
        assert (tmp_path / f"s.{language}.{suffix}").read_bytes() == whole
    assert "noch offen" in (tmp_path / "s.de.txt").read_text()


def test_no_word_leaves_its_piece(tmp_path: Path) -> None:
    over = [caption(0, "one two three", final=True, start=9.5)]  # to 10.4
    early = [caption(0, "four five", final=True, start=9.8)]
    kept = [
        (Piece("a", 0.0, 10.0), keep(tmp_path, "a", over)),
        (Piece("b", 10.0, 12.0), keep(tmp_path, "b", [])),
        (Piece("c", 12.0, None), keep(tmp_path, "c", early)),
    ]
    captions = [heard.packet.data for heard in in_one(kept, "s")]
    assert [data.index for data in captions if isinstance(data, Caption)] == [0, 1]
    words = [word for data in captions if isinstance(data, Caption) for word in data.words]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times == pytest.approx([9.5, 9.8, 9.8, 10.0, 10.0, 10.0, 12.0, 12.0, 12.0, 12.0])


def test_words_are_shown_when_they_came_and_not_when_they_were_joined(tmp_path: Path) -> None:
    clock = ManualClock()
    first = keep(tmp_path / "work", "0", finals("one"), clock)
    clock.advance(50.0)
    second = keep(tmp_path / "work", "1", finals("two"), clock)
    node = Node("jsonl_file", "", JsonLines, {"path": str(tmp_path / "{session}.jsonl")})
    Joiner([node]).write("s", in_one([(Piece("0", 0.0, 5.0), first), (Piece("1", 0.0, None), second)], "s"))
    assert f'"emitted_at": {clock.now() - 50.0:.1f}' in (tmp_path / "s.jsonl").read_text().splitlines()[0]
    assert f'"emitted_at": {clock.now():.1f}' in (tmp_path / "s.jsonl").read_text().splitlines()[1]


def test_a_format_that_cannot_be_written_leaves_none_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MmstreamError("No space left on device")

    monkeypatch.setattr(JsonLines, "write_utterance", full)
    with pytest.raises(MmstreamError, match="No space left"):
        joined(tmp_path, [(0.0, None, WHOLE)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work"]


def test_arguments_out_of_range_are_told_before_anything_is_heard(tmp_path: Path) -> None:
    with pytest.raises(MmstreamError, match=r"node 'srt_file' \(.*\): max_lines is 0"):
        Joiner([Node("srt_file", "operators.sinks:Srt", Srt, {"path": str(tmp_path / "a.srt"), "max_lines": 0})])


HEARD = """
capacity: 8
nodes:
  source: {use: operators.sources:Microphone}
  resample: {use: operators.audio:Resample, with: {sample_rate: 16000}, from: source}
  speech: {use: operators.audio:Vad, from: resample}
  decode: {use: operators.decoders:Sphinx, from: speech}
  commit: {use: operators.policies:Commit, from: decode}
  terminal: {use: operators.sinks:Terminal, from: commit}
"""


def test_what_keeps_pieces_takes_all_that_any_sink_takes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(HEARD)
    recipe = Recipe(tmp_path / "mine.yaml")
    recipe.translate_into(["de"], {}, watched=False)
    recipe.write_to(file_sinks(str(tmp_path / "{session}.srt"), ["de"]))
    graph, _ = keep_pieces(recipe.graph(), tmp_path)
    (kept,) = (name for name, node in graph.nodes.items() if node.kind is Keep)
    taken = {edge.source: set(edge.carries) for edge in graph.inputs(kept)}
    assert taken == {"commit": {Caption}, "translate": {Translation}}
    assert {name for spec in graph.workers.values() for name in spec.nodes} == set(graph.nodes)


def test_a_sink_gets_only_what_it_accepts(tmp_path: Path) -> None:
    class CaptionsOnly(PlainText):
        accepts = (Caption,)

        def process(self, packet: Packet[Any], state: Any) -> Any:
            assert isinstance(packet.data, Caption)
            return super().process(packet, state)

    kept = [(Piece("s", 0.0, None), keep(tmp_path, "s", WHOLE))]
    node = Node("text", "", CaptionsOnly, {"path": str(tmp_path / "a.txt"), "gaps": True})
    Joiner([node]).write("s", in_one(kept, "s"))
    assert (tmp_path / "a.txt").read_text().splitlines()[:2] == ["one two three", "four five"]
