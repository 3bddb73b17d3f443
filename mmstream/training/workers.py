"""Training by several processes, on one machine or a Ray cluster, through Ray Train.

They share every batch (see ``together``), so ``workers: 4`` learns what ``workers: 1`` learns. The run's folder and
the cache must be on a file system that all of them see.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from mmstream.core import MmstreamError
from mmstream.training.config import Config
from mmstream.training.corpora import open_corpora
from mmstream.training.loop import train
from mmstream.training.reports import MEND
from mmstream.training.together import Together

STOP = ".stop"  # a file in the run's folder that asks the workers to end
GROUP_DEADLINE_S = 3600  # for which workers wait for the first of them, which measures


def train_with_ray(config: Config, cache: Path, run: Path, *, verbose: bool = False) -> None:
    """Train in ``config.run.workers`` processes until the end, or until ``stop`` asks them to end.

    Raises:
        MmstreamError: Ray Train is not installed, or what a worker said when it failed.
    """
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as fault:
        raise MmstreamError(f"several workers need Ray Train: run {MEND}") from fault
    from ray.train import WorkerGroupError

    run.mkdir(parents=True, exist_ok=True)
    (run / STOP).unlink(missing_ok=True)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    device = config.run.device
    on_gpu = device.startswith("cuda") or (device == "auto" and _has_gpu())
    with _ray(ray, config.run.workers, on_gpu):
        trainer = TorchTrainer(
            _work,
            train_loop_config={"config": config, "cache": cache.resolve(), "run": run.resolve(), "verbose": verbose},
            scaling_config=ScalingConfig(num_workers=config.run.workers, use_gpu=on_gpu),
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo", timeout_s=GROUP_DEADLINE_S),
            run_config=RunConfig(name="ray", storage_path=str(run.resolve())),
        )
        try:
            _beside(trainer.fit)
        except WorkerGroupError as fault:
            raise _plain(fault.worker_failures) from fault


def ask_to_stop(run: Path) -> None:
    """Have the workers of ``run`` write a checkpoint and end after the step that they are at."""
    (run / STOP).touch()


def _work(given: dict[str, Any]) -> None:
    """One of the workers."""
    import ray.train
    import torch

    context = ray.train.get_context()
    together = Together(context.get_world_rank(), context.get_world_size())
    if together.rank == 0:
        _speak(given["verbose"])
    config: Config = given["config"]
    if not config.run.threads:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // together.size))
    run: Path = given["run"]
    corpora = open_corpora(config, given["cache"])
    console = Console(file=sys.stderr, force_terminal=False)
    train(config, corpora, run, stopping=(run / STOP).exists, console=console, together=together)


def _beside(work: Callable[[], Any]) -> None:
    """Run ``work`` in a thread: in the main one Ray would take Ctrl-C for itself and end without a checkpoint."""
    with ThreadPoolExecutor(1, "mmstream-ray-train") as pool:
        future = pool.submit(work)
        while not future.done():
            wait([future], timeout=0.5)
        future.result()


def _speak(verbose: bool) -> None:
    """Bring the lines of this process to its standard error, which Ray brings to the user."""
    logger = logging.getLogger("mmstream")
    logger.handlers = [logging.StreamHandler()]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


@contextmanager
def _ray(ray: Any, workers: int, on_gpu: bool) -> Iterator[None]:
    """A Ray that is running already (RAY_ADDRESS, or started by this process), or one for this run alone."""
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS"):
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR)
        yield
        return
    os.environ.setdefault("RAY_worker_niceness", str(os.nice(0)))
    cpus = None if on_gpu else max(workers + 1, os.cpu_count() or 1)
    ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _plain(failures: dict[int, Exception]) -> MmstreamError:
    """What a worker said, where it is one line of ours; else what kind of fault it was."""
    faults = [_cause(fault) for _, fault in sorted(failures.items())]
    ours = [fault for fault in faults if isinstance(fault, MmstreamError)]
    if ours:
        return MmstreamError(str(ours[0]))
    said = str(faults[0]).strip().splitlines() if faults else []
    return MmstreamError(f"a training worker failed: {type(faults[0]).__name__}: {said[-1] if said else ''}")


def _cause(fault: Exception) -> BaseException:
    found: BaseException = fault
    inner: Callable[[BaseException], Any] = lambda one: getattr(one, "cause", None) or one.__cause__  # noqa: E731
    while not isinstance(found, MmstreamError) and isinstance(inner(found), BaseException):
        found = inner(found)
    return found
