"""The shelf that all processes of a Ray cluster share: the key-value store of its head."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError
from ray.experimental import internal_kv

from mmstream.core import MmstreamError

NAMESPACE = "mmstream_sessions"
KNOCK_TIMEOUT_S = 5.0


class Cluster:
    """A shelf in the cluster that this process has joined. The clocks of its machines agree within seconds."""

    lasts_s = 20.0

    def put(self, key: str, text: str) -> None:
        _asked(internal_kv._internal_kv_put, key, text, True)

    def drop(self, key: str) -> None:
        _asked(internal_kv._internal_kv_del, key)

    def texts(self) -> dict[str, str]:
        found = {}
        for key in _asked(internal_kv._internal_kv_list, ""):
            text = _asked(internal_kv._internal_kv_get, key)
            if text is not None:  # its process has ended just now
                found[key.decode()] = text.decode()
        return found


def _asked(call: Callable[..., Any], *arguments: Any) -> Any:
    if not internal_kv._internal_kv_initialized():  # type: ignore[no-untyped-call]
        raise MmstreamError("this process has left the cluster")
    try:
        return call(*arguments, namespace=NAMESPACE)
    except RayError as fault:
        raise MmstreamError(f"the head of the Ray cluster does not answer: {str(fault).splitlines()[0]}") from fault


def _knock(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_TIMEOUT_S).close()


@contextlib.contextmanager
def joined() -> Iterator[Cluster]:
    """The shelf of the cluster that RAY_ADDRESS names.

    Raises:
        MmstreamError: there is no such cluster.
    """
    if ray.is_initialized():
        yield Cluster()
        return
    address = os.environ["RAY_ADDRESS"]
    try:
        _knock(address)
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise MmstreamError(f"RAY_ADDRESS={address}: no such cluster: {str(error).splitlines()[0]}") from error
    try:
        yield Cluster()
    finally:
        ray.shutdown()
