"""Sessions that share passes of Whisper hear what they hear alone."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmstream.core import MmstreamError, Packet
from mmstream.media import Hypothesis, Speech
from mmstream.testing import run_operator
from operators.decoders import Whisper
from tests.test_whisper import RATE, finals, sound, utterance
from tests.tiny_whisper import build_tiny_whisper

COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


def talk(k: int) -> list[Packet[Speech]]:
    """Two utterances of session ``k``: the second is heard with the first as its context."""
    first = utterance(sound(1.5 + 0.4 * k, seed=k), size=8000 if k % 2 else 20_000)
    return [*first, *utterance(sound(1.2, seed=50 + k), start=10.0, size=16_000)]


def together(whisper: Whisper, media: Sequence[list[Packet[Speech]]]) -> list[list[Packet[Hypothesis]]]:
    """The first packets of all sessions in one call, then the second ones; sessions end one after another."""
    states = [whisper.open(str(k)) for k in range(len(media))]
    found: list[list[Packet[Any]]] = [[] for _ in media]
    for number in range(max(map(len, media))):
        ready = [k for k, packets in enumerate(media) if number < len(packets)]
        given = whisper.process_batch([media[k][number] for k in ready], [states[k] for k in ready])
        for k, packets in zip(ready, given, strict=True):
            found[k] += packets
    for packets, state in zip(found, states, strict=True):
        packets += whisper.flush(state)
    return found


def calls(whisper: Whisper, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every call of the decoder from now on."""
    sizes: list[int] = []
    decode = whisper._model._decode
    monkeypatch.setattr(
        whisper._model, "_decode", lambda group, encoded: (sizes.append(len(group)), decode(group, encoded))[1]
    )
    return sizes


@pytest.mark.parametrize("arguments", [{"language": "en", "beam_size": 1}, {"language": "en", "beam_size": 3}, {}])
def test_a_session_hears_in_company_what_it_hears_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    whisper = Whisper(model=str(folder), threads=1, **{"beam_size": 1, **arguments})
    media = [talk(k) for k in range(COUNT)]
    alone = [run_operator(whisper, packets) for packets in media]
    sizes = calls(whisper, monkeypatch)
    found = together(whisper, media)
    assert max(sizes) > 1
    assert found == alone
    assert len({finals(packets)[0] for packets in found}) == COUNT
    assert all(len(finals(packets)) == 2 for packets in found)


def test_a_model_that_repeats_itself_is_believed_in_no_company(tmp_path: Path) -> None:
    folder = build_tiny_whisper(tmp_path / "parrot", repeats=True)
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1, step_ms=5000)
    media = [utterance(sound(1.0, seed=k), size=16_000) for k in range(2)]
    assert [finals(packets) for packets in together(whisper, media)] == [[()], [()]]


def test_a_fault_leaves_every_state_as_it_was(folder: Path) -> None:
    whisper = Whisper(model=str(folder), language="en", beam_size=1, threads=1)
    media = [utterance(sound(3.0, seed=k), size=16_000) for k in range(2)]
    states = [whisper.open(str(k)) for k in range(2)]
    found = whisper.process_batch([packets[0] for packets in media], states)
    before = [pickle.dumps(state) for state in states]
    wrong = Packet("1", 1.0, 2.0, Speech(np.zeros(8000, np.float32), RATE // 2, False), 1002.0)
    with pytest.raises(MmstreamError, match="16000 Hz, not 8000 Hz"):
        whisper.process_batch([media[0][1], wrong], states)
    assert [pickle.dumps(state) for state in states] == before
    rest = [one for packet in media[0][1:] for one in whisper.process(packet, states[0])]
    assert [*found[0], *rest] == run_operator(whisper, media[0])
