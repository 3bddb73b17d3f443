"""``mmstream bench hops``: what it costs to go from one node to the next, in a thread, over threads and over Ray."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mmstream.benchmarks.edges import CAPACITY, apart, chained, pass_through
from mmstream.benchmarks.stages import Arrivals, Numbered, Passage, Stamp
from mmstream.benchmarks.table import Figure, Report
from mmstream.drive import running

SMALL = 256  # samples: 1 KB
LARGE = 76_800  # samples: 300 KB
Values = defaultdict[str, list[float]]  # figure -> its value in each round


@dataclass(frozen=True)
class Sizes:
    """How many packets each measurement sends in one round."""

    chained: int = 5_000
    threads: int = 300
    ray_small: int = 10_000
    ray_large: int = 1_500
    queue_small: int = 500
    queue_large: int = 150
    unloaded: int = 200
    per_second: float = 100.0  # packets, for the unloaded latencies


def measure_hops(rounds: int, say: Callable[[str], None], sizes: Sizes | None = None) -> Report:
    """Every hop, ``rounds`` times, interleaved; ``say`` hears how far it is."""
    sizes = sizes or Sizes()
    values: Values = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as name:
        _measure_local(rounds, Path(name), sizes, values, say)
        _measure_ray(rounds, Path(name), sizes, values, say)
    return Report(
        "hops",
        "From one node to the next",
        {"rounds": rounds, "capacity of edge and queue": f"{CAPACITY} packets", "packets per round": asdict(sizes)},
        _figures(values),
        (
            "A hop is timed from the yield in one node to the entry of the next; 1 KB and 300 KB are NumPy arrays.",
            "Ratios are taken within a round, of the edge and the queue measured one after the other.",
        ),
    )


def _measure_local(rounds: int, folder: Path, sizes: Sizes, values: Values, say: Callable[[str], None]) -> None:
    with running("local", chained(folder)) as together, running("local", apart(folder)) as threads:
        for number in range(rounds):
            say(f"local hops, round {number + 1} of {rounds}")
            bare = _bare_calls(folder, sizes.chained)
            hop = pass_through(together, folder, f"chained-{number}", {"count": sizes.chained})
            source = {"count": sizes.threads, "per_second": sizes.per_second}
            edge = pass_through(threads, folder, f"threads-{number}", source)
            for name, passage in (("bare", bare), ("chained", hop), ("threads", edge)):
                _add_latency(values, name, passage)


def _bare_calls(folder: Path, count: int) -> Passage:
    """The same operators called by a plain loop: what Python itself costs."""
    stamp, arrivals = Stamp(), Arrivals(str(folder))
    times = arrivals.open("bare")
    for packet in Numbered(count).packets("bare"):
        for stamped in stamp.process(packet, None):
            arrivals.process(stamped, times)
    arrivals.flush(times)
    return Passage.load(folder, "bare")


def _measure_ray(rounds: int, folder: Path, sizes: Sizes, values: Values, say: Callable[[str], None]) -> None:
    say("starting Ray")
    with running("ray", apart(folder)) as executor:
        from mmstream.benchmarks.ray_queue import QueueEdge

        queue = QueueEdge()
        for samples in (SMALL, LARGE):  # Ray's first packets cost more: it starts its actors and maps its memory
            pass_through(executor, folder, f"warm-up-{samples}", {"count": sizes.ray_large, "samples": samples})
            queue.pass_through(sizes.queue_large, samples)
        for number in range(rounds):
            say(f"Ray edges, round {number + 1} of {rounds}")
            for size, samples, count, queue_count in (
                ("1 KB", SMALL, sizes.ray_small, sizes.queue_small),
                ("300 KB", LARGE, sizes.ray_large, sizes.queue_large),
            ):
                edge = pass_through(executor, folder, f"{samples}-{number}", {"count": count, "samples": samples})
                slow = queue.pass_through(queue_count, samples)
                values[f"edge {size}"].append(edge.per_second)
                values[f"queue {size}"].append(slow.per_second)
                values[f"ratio {size}"].append(edge.per_second / slow.per_second)
            paced = {"count": sizes.unloaded, "per_second": sizes.per_second}
            _add_latency(values, "ray", pass_through(executor, folder, f"unloaded-{number}", paced))
            _add_latency(values, "queue", queue.pass_through(sizes.unloaded, SMALL, sizes.per_second))


def _add_latency(values: Values, name: str, passage: Passage) -> None:
    values[f"{name} p50"].append(passage.latency_ms(50))
    values[f"{name} p99"].append(passage.latency_ms(99))


def _figures(values: Values) -> list[Figure]:
    def figure(name: str, unit: str, key: str, at_most: float | None = None, at_least: float | None = None) -> Figure:
        return Figure(name, unit, tuple(values[key]), at_most, at_least)

    return [
        figure("a bare generator call, p50", "ms", "bare p50"),
        figure("a bare generator call, p99", "ms", "bare p99"),
        figure("two chained nodes, local, p50", "ms", "chained p50", at_most=0.1),
        figure("two chained nodes, local, p99", "ms", "chained p99"),
        figure("two local workers, unloaded, p50", "ms", "threads p50"),
        figure("two local workers, unloaded, p99", "ms", "threads p99"),
        figure("two Ray actors, unloaded, 1 KB, p50", "ms", "ray p50", at_most=2.0),
        figure("two Ray actors, unloaded, 1 KB, p99", "ms", "ray p99"),
        figure("Ray queue, unloaded, 1 KB, p50", "ms", "queue p50"),
        figure("Ray queue, unloaded, 1 KB, p99", "ms", "queue p99"),
        figure("two Ray actors, 1 KB", "packets/s", "edge 1 KB"),
        figure("Ray queue, 1 KB", "packets/s", "queue 1 KB"),
        figure("edge over queue, 1 KB", "times", "ratio 1 KB", at_least=12.0),
        figure("two Ray actors, 300 KB", "packets/s", "edge 300 KB"),
        figure("Ray queue, 300 KB", "packets/s", "queue 300 KB"),
        figure("edge over queue, 300 KB", "times", "ratio 300 KB", at_least=8.0),
    ]
