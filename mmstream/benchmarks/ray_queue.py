"""What an edge is measured against: a ``ray.util.queue.Queue`` between two actors, one put and one get per packet."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import ray
from ray.util.queue import Queue

from mmstream.benchmarks.edges import CAPACITY, SESSION_TIMEOUT_S
from mmstream.benchmarks.stages import Numbered, Passage


class Producer:
    """Puts the packets of a ``Numbered``."""

    def run(self, queue: Any, count: int, samples: int, per_second: float | None) -> None:
        for packet in Numbered(count, samples, per_second).packets("queue"):
            queue.put(packet)


class Consumer:
    """Gets them, and notes when."""

    def run(self, queue: Any, count: int) -> tuple[list[float], list[float]]:
        sent, arrived = [], []
        for _ in range(count):
            packet = queue.get()
            arrived.append(time.monotonic())
            sent.append(packet.captured_at)
        return sent, arrived


class QueueEdge:
    """The two actors and the queue between them, in the Ray that is running; they end with it."""

    def __init__(self) -> None:
        remote: Any = ray.remote(num_cpus=0)
        self._queue = Queue(maxsize=CAPACITY, actor_options={"num_cpus": 0})
        self._producer = remote(Producer).remote()
        self._consumer = remote(Consumer).remote()

    def pass_through(self, count: int, samples: int, per_second: float | None = None) -> Passage:
        """Send ``count`` packets and say when they passed."""
        getting = self._consumer.run.remote(self._queue, count)
        putting = self._producer.run.remote(self._queue, count, samples, per_second)
        (sent, arrived), _ = ray.get([getting, putting], timeout=SESSION_TIMEOUT_S)
        return Passage(np.array(sent), np.array(arrived))
