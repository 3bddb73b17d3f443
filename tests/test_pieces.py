"""Tokens that are pieces of words, and synthetic speech to learn them from."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import MmstreamError
from mmstream.nets.vocabulary import Vocabulary
from mmstream.training import synthetic
from mmstream.training.pieces import learned_pieces
from operators.sources import probe
from tests.media_samples import require

TEXTS = ["the thin thing", "the thing", "a thin man and the man"]


def test_frequent_neighbours_become_one_piece_first() -> None:
    assert learned_pieces(TEXTS, 3) == ("th", "in", "thin")
    assert learned_pieces(["ab ab ab"], 9) == ("ab", "ab ")  # there is no more to join
    assert learned_pieces(TEXTS, 0) == ()


def test_words_are_cut_into_the_longest_pieces_from_the_left() -> None:
    vocabulary = Vocabulary(pieces=("th", "thin", "thin ", "blue "))
    assert [vocabulary.texts[token] for token in vocabulary.encode("thin thing blue")] == [
        "thin ",
        "thin",
        "g",
        " ",
        "blue ",
    ]


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz'", min_size=1, max_size=9), max_size=6))
def test_any_text_survives_its_tokens(words: list[str]) -> None:
    vocabulary = Vocabulary(pieces=learned_pieces(TEXTS, 9))
    assert vocabulary.decode(vocabulary.encode(" ".join(words))).split() == words


def test_synthetic_sentences_follow_the_grammar_and_repeat(tmp_path) -> None:
    made = list(synthetic.sentences(30, seed=1))
    assert made == list(synthetic.sentences(30, seed=1))
    for words, command in made:
        assert all(word in choices for word, choices in zip(words, synthetic.GRAMMAR, strict=True))
        assert command[0] in ("flite", "espeak-ng")


def test_synthetic_sentences_are_spoken_into_files_with_a_manifest(tmp_path) -> None:
    for tool in ("flite", "espeak-ng", "ffmpeg"):
        require(tool)
    manifest = synthetic.write(tmp_path / "spoken", 4, seed=2)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [line["media"] for line in lines] == ["00000.flac", "00001.flac", "00002.flac", "00003.flac"]
    for line in lines:
        media = probe(str(manifest.parent / line["media"]))
        assert (media.sample_rate, media.channels) == (16_000, 1)
        assert 1.0 < media.duration_s < 6.0


def test_a_missing_synthesiser_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MmstreamError, match="flite is missing: run apt-get install flite"):
        synthetic.write(tmp_path, 1)
