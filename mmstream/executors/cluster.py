"""Ray itself: joining a cluster or starting one, and whether what a graph asks for fits."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path

import ray

from mmstream.core import MmstreamError
from mmstream.graph import WorkerSpec

TOKEN = Path.home() / ".ray" / "auth_token"
PROBE_S = 5.0  # for the head of a cluster to take a connection


def join() -> bool:
    """Join the cluster that ``RAY_ADDRESS`` names, or start a Ray of our own. True if this process now holds it.

    Raises:
        MmstreamError: there is no such cluster, or Ray does not start.
    """
    if ray.is_initialized():
        return False
    # Ray runs its workers at nice 15 unless told otherwise: on a busy machine words would wait for seconds.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        if "RAY_ADDRESS" in os.environ:
            _probe(os.environ["RAY_ADDRESS"])
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        else:  # left to itself it would look for the last cluster of this machine, and wait for one that is gone
            ray.init("local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        hint = ""
        if "RAY_ADDRESS" in os.environ and TOKEN.exists() and "RAY_AUTH_MODE" not in os.environ:
            hint = "; if it was started with a token, as Ray does where there is one, set RAY_AUTH_MODE=token"
        raise MmstreamError(f"cannot join or start Ray: {str(error).splitlines()[0]}{hint}") from error
    return True


def _probe(address: str) -> None:
    """Ray itself would wait for minutes for a head that is gone."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return  # "auto", or a client's address: Ray knows what to do
    try:
        socket.create_connection((host, int(port)), PROBE_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MmstreamError(f"RAY_ADDRESS={address}: no cluster answers there: {reason}") from error


def check_room(specs: Iterable[WorkerSpec]) -> None:
    """Refuse what the nodes of the cluster could never hold, rather than wait for it.

    A cluster that grows on demand is asked all the same: there, what is missing now may come.

    Raises:
        MmstreamError: names the worker, what it asks for and what there is.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if os.environ.get("MMSTREAM_CLUSTER_GROWS"):
        return
    specs = list(specs)
    for spec in specs:
        wanted = {name: amount for name, amount in spec.resources.items() if amount > 0}
        places = sum(
            min(int(node.get(name, 0) // amount) for name, amount in wanted.items()) for node in nodes if wanted
        )
        if not wanted or places >= spec.replicas + spec.standby:
            continue
        asked = ", ".join(f"{name}: {amount:g}" for name, amount in spec.resources.items())
        there = "; ".join(
            ", ".join(f"{name}: {amount:g}" for name, amount in sorted(node.items()) if "node:" not in name)
            for node in nodes
        )
        if places == 0:
            raise MmstreamError(f"worker {spec.name!r} asks for {{{asked}}}, which no node has ({there})")
        replicas = f"{spec.replicas + spec.standby} replicas of worker {spec.name!r} ask for {{{asked}}} each"
        raise MmstreamError(f"{replicas}, and there is room for {places} ({there})")
    for name in {name for spec in specs for name in spec.resources}:
        wanted_in_all = sum(spec.resources.get(name, 0.0) * (spec.replicas + spec.standby) for spec in specs)
        there_in_all = sum(node.get(name, 0.0) for node in nodes)
        if wanted_in_all > there_in_all + 1e-9:
            asked = f"{name}: {wanted_in_all:g}"
            raise MmstreamError(f"the workers together ask for {asked}, and there is {there_in_all:g}")
