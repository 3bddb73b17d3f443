"""Where a server is, what lets us in, and why it cannot be had: one line each."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import InvalidStatus

from mmstream.core import MmstreamError

PATH = "/v1/live"


class ServerError(MmstreamError):
    """There is no session to be had, or none any more. One line for the user."""


def token_in(path: Path) -> str:
    """The first token of a file of them.

    Raises:
        ServerError: there is none.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise ServerError(f"--token-file {path}: {getattr(fault, 'strerror', None) or 'is not a text file'}") from fault
    token = next((line.strip() for line in lines if line.strip() and not line.strip().startswith("#")), None)
    if token is None:
        raise ServerError(f"--token-file {path}: holds no token")
    return token


def checked_address(address: str) -> str:
    """The WebSocket's address; one for browsers, or without a path, does too.

    Raises:
        ServerError: it is none.
    """
    parts = urlsplit(address)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    try:
        usable = scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:  # no port
        usable = False
    if not usable:
        raise ServerError(f"--server {address}: is no server's address, such as ws://localhost:8000{PATH}")
    if parts.username is not None:
        raise ServerError("--server: a token is no part of the address: give --token-file")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") or PATH, parts.query, ""))


def is_overheard(address: str) -> bool:
    """Whether what is said to this address goes over a network in the clear."""
    parts = urlsplit(address)
    if parts.scheme == "wss" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:  # a name
        return True


def why_not_connected(address: str, fault: Exception, waited_s: float) -> str:
    """One line for the user, of a connection that could not be had."""
    if isinstance(fault, InvalidStatus):
        return f"--server {address}: answers, but not as mmstream does (HTTP {fault.response.status_code})"
    if isinstance(fault, TimeoutError):
        return f"--server {address}: does not answer within {waited_s:g} s"
    if isinstance(fault, ConnectionRefusedError) or "Connect call failed" in str(fault):
        return f"--server {address}: nothing listens there"
    if isinstance(fault, OSError):
        return f"--server {address}: cannot be reached: {fault.strerror or fault}"
    return f"--server {address}: answers, but not as mmstream does ({fault})"
