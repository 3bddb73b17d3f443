"""A server whose recogniser is a stub: ``python -m mmstream.benchmarks.serve_stub SESSIONS``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from mmstream import registry
from mmstream.core import BatchOperator, Packet
from mmstream.media import AudioChunk, Hypothesis, Word

SAMPLE_RATE = 16_000  # Hz
WORD_S = 0.5  # media seconds of each word that the stub hears
WORDS = 8  # of an utterance
STUB_S = 0.005  # wall-clock seconds that it takes for a batch

HERE = "mmstream.benchmarks.serve_stub"
PIPELINE = f"""
capacity: 64
nodes:
  source: {{use: operators.sources:Microphone}}
  resample: {{use: operators.audio:Resample, from: source}}
  decode: {{use: {HERE}:Ticker, from: resample}}
  commit: {{use: operators.policies:Commit, with: {{policy: hold_n, n: 1}}, from: decode}}
  terminal: {{use: operators.sinks:Terminal, from: commit}}
workers:
  recognise: {{nodes: [resample, decode, commit], batch: {{max_size: 64, max_wait_ms: 5}}}}
"""


@dataclass
class Ticks:
    """The utterance under way."""

    samples: int = 0  # of the session
    words: list[Word] = field(default_factory=list)
    heard: int = 0  # words, of the session


class Ticker(BatchOperator[Ticks]):
    """A recogniser that waits 5 ms for a batch, as one does that waits for a GPU, and hears a word every 500 ms."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)

    def open(self, session: str) -> Ticks:
        return Ticks()

    def process_batch(self, packets: Sequence[Packet[Any]], states: Sequence[Ticks]) -> Iterable[list[Packet[Any]]]:
        time.sleep(STUB_S)
        return [self._heard(packet, state) for packet, state in zip(packets, states, strict=True)]

    def _heard(self, packet: Packet[AudioChunk], state: Ticks) -> list[Packet[Any]]:
        state.samples += len(packet.data.samples)
        if state.samples < (state.heard + 1) * round(WORD_S * SAMPLE_RATE):
            return []
        start = state.heard * WORD_S
        state.words.append(Word(f"word{state.heard}", start, start + WORD_S, 0.9))
        state.heard += 1
        words, final = tuple(state.words), len(state.words) == WORDS
        if final:
            state.words.clear()
        return [packet.derive(Hypothesis(words, final, "en"), words[0].start, words[-1].end)]


class Outside(registry.Model):
    """A model whose operator is none of mmstream's own, and takes no arguments."""

    commit = MappingProxyType({"policy": "hold_n", "n": 1})
    before = MappingProxyType({})

    def arguments_for(self, *, watched: bool) -> Mapping[str, Any]:
        return {}


def main(sessions: int) -> None:
    """Serve the stub on a free port of this machine until SIGINT or SIGTERM."""
    from mmstream.server.listening import listen
    from mmstream.server.logs import set_up
    from mmstream.server.models import Model
    from mmstream.server.running import run
    from mmstream.server.service import Service
    from mmstream.server.settings import Settings
    from mmstream.server.tokens import Tokens

    set_up("text", Tokens(()), verbose=False)
    settings = Settings(port=0, sessions=sessions)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(PIPELINE)
        stub = Model("stub", "en", Outside("stub", f"{HERE}:Ticker"))
        service = Service([stub], file, sessions=sessions, allow=[HERE])
        bound = listen(settings.host, settings.port, guarded=False)
        try:
            service.start()
            run(service, settings, bound, None)
        finally:
            service.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
