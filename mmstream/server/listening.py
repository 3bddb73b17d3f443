"""Where the server listens: its sockets, checked before anybody can reach them, and its TLS."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import ssl
import stat
from pathlib import Path
from typing import NoReturn

from mmstream.core import MmstreamError

log = logging.getLogger(__name__)

BACKLOG = 1024  # connections that the system holds until we take them
LOOPBACK = "127.0.0.1"


def listen(host: str, port: int, *, guarded: bool) -> list[socket.socket]:
    """Sockets bound to every address of ``host``, all at one port; port 0 takes any that is free.

    What was checked is what is bound: a name is looked up once. ``guarded``: a token is asked of every caller.

    Raises:
        MmstreamError: the address can be reached from other machines and is not guarded, or cannot be had.
    """
    addresses = _addresses(host, port)
    outside = [address for _, address in addresses if not _is_loopback(address[0])]
    if outside and not guarded:
        where = host if host == outside[0][0] else f"{host} ({outside[0][0]})"
        raise MmstreamError(
            f"--host {where} can be reached from other machines: add --token-file FILE with one token a line "
            f"(openssl rand -hex 32), or listen at {LOOPBACK}"
        )
    bound: list[socket.socket] = []
    try:
        for family, address in addresses:
            taken = address[1] or (bound[0].getsockname()[1] if bound else 0)
            bound.append(_bound(family, (address[0], taken, *address[2:])))
    except OSError as fault:
        for one in bound:
            one.close()
        raise _cannot_listen(host, port, fault) from fault
    return bound


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What TLS 1.2 and later needs; None where neither file is given.

    Raises:
        MmstreamError: only one of the two is given, or they cannot be read or do not belong together.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise MmstreamError("--tls-cert and --tls-key go together: give both")
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            text = path.read_bytes()
        except OSError as fault:
            raise MmstreamError(f"{option} {path}: {fault.strerror or fault}") from fault
        if b"-----BEGIN " not in text:
            raise MmstreamError(f"{option} {path}: is not a PEM file")
    if stat.S_IMODE(key.stat().st_mode) & stat.S_IROTH:
        log.warning("--tls-key %s: every user of this machine may read it; better: chmod 600 %s", key, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: _locked(key))
    except ssl.SSLError as fault:
        if fault.reason == "KEY_VALUES_MISMATCH":
            raise MmstreamError(f"--tls-key {key}: is not the key of {certificate}") from fault
        raise MmstreamError(f"--tls-cert {certificate}, --tls-key {key}: no certificate and its key in PEM") from fault
    return context


def url(bound: list[socket.socket], host: str, *, tls: bool) -> str:
    """The address for people: the host that was asked for and the port that was taken."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{bound[0].getsockname()[1]}"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    if not host.strip():
        raise MmstreamError(f"--host is empty: give an address, such as {LOOPBACK}")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise MmstreamError(f"--host {host}: is no address of this machine: {reason}") from fault
    known: dict[tuple[str, int], socket.AddressFamily] = {}
    for family, _, _, _, address in found:
        known.setdefault(address, family)  # type: ignore[arg-type]  # of IPv6 it has four members
    return [(family, address) for address, family in known.items()]


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _bound(family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _cannot_listen(host: str, port: int, fault: OSError) -> MmstreamError:
    if fault.errno == errno.EADDRINUSE:
        return MmstreamError(f"--port {port}: another program listens there; give another, or 0 for any that is free")
    if fault.errno == errno.EACCES:
        return MmstreamError(f"--port {port}: the system lets only its administrator listen there")
    return MmstreamError(f"--host {host}: {fault.strerror or fault}")


def _locked(key: Path) -> NoReturn:
    raise MmstreamError(f"--tls-key {key}: is encrypted; give one that is not, readable by this user only")
