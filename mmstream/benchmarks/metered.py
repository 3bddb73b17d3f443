"""The recogniser of ``mmstream bench pipeline``: ``Sphinx``, and what it costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmstream.core import Packet
from mmstream.media import Hypothesis, Speech
from operators.decoders.sphinx import Sphinx, SphinxState


class MeteredSphinx(Sphinx):
    """``Sphinx``; the file ``report`` says, after each utterance, how much CPU time it has used and how much it heard.

    ``cpu_s``: of the worker's thread, inside this node. ``decoded_s``: media seconds. Both over all sessions.
    """

    def __init__(self, report: str) -> None:
        super().__init__()
        self._report = Path(report)
        self._cpu_s = 0.0
        self._decoded_s = 0.0
        self._metering = False
        self._write()

    def process(self, packet: Packet[Speech], state: SphinxState) -> Iterator[Packet[Hypothesis]]:
        self._decoded_s += len(packet.data.samples) / packet.data.sample_rate
        yield from self._meter(super().process(packet, state))
        if packet.data.last:
            self._write()

    def flush(self, state: SphinxState) -> Iterator[Packet[Hypothesis]]:
        if self._metering:  # called from ``process``, whose time is being taken
            yield from super().flush(state)
            return
        yield from self._meter(super().flush(state))
        self._write()

    def _meter(self, given: Iterable[Packet[Hypothesis]]) -> Iterator[Packet[Hypothesis]]:
        packets = iter(given)
        while True:
            self._metering, began = True, time.thread_time()
            packet = next(packets, None)
            self._metering, self._cpu_s = False, self._cpu_s + time.thread_time() - began
            if packet is None:
                return
            yield packet

    def _write(self) -> None:
        seen = {"cpu_s": self._cpu_s, "decoded_s": self._decoded_s}
        self._report.write_text(json.dumps(seen), encoding="utf-8")
