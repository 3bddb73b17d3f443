"""Connections that are many, slow or deaf, over real sockets."""

import contextlib
import socket
import time

import pytest
from websockets.sync.client import connect

from mmstream.server.limits import Limits
from tests.guarded import BIG, TOKEN_LINE, UPGRADE, WAIT_S, Toy, bearer, guarded, layered, serving

HEAD = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@contextlib.contextmanager
def listening(**changes):
    settings = guarded(limits=Limits(**changes))
    with serving(layered(Toy(), settings), settings) as address:
        yield address


def said_to(address, *parts):
    """All that the server answers to these bytes until it closes."""
    with socket.create_connection(address, WAIT_S) as plain:
        for part in parts:
            plain.sendall(part)
        return until_closed(plain)


def until_closed(plain):
    said = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := plain.recv(65536):
            said += chunk
    return bytes(said)


@pytest.mark.parametrize(
    ("changes", "status"), [({"connections": 3}, b"503"), ({"connections_per_address": 3, "connections": 9}, b"429")]
)
def test_a_flood_of_connections_is_turned_away_and_passes(changes, status):
    with listening(**changes) as address, contextlib.ExitStack() as open_ones:
        for _ in range(2):
            plain = open_ones.enter_context(socket.create_connection(address, WAIT_S))
            plain.sendall(HEAD + b"\r\n")
            assert b"200 OK" in plain.recv(1000)
        kept = open_ones.enter_context(connect("ws://{}:{}/v1/live".format(*address), additional_headers=bearer()))
        for _ in range(50):
            answer = said_to(address)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b"retry-after: 5" in answer
        kept.send("still here")
        assert kept.recv(WAIT_S) == "10"
        open_ones.close()
        until_let_in(address)


def until_let_in(address):
    """The server hears of connections that have gone a moment later."""
    for attempt in range(200):
        answer = said_to(address, HEAD + b"connection: close\r\n\r\n")
        if b"200 OK" in answer:
            return
        assert attempt < 199, answer


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", HEAD, HEAD + b"x: " + b"y" * 100, b"\x16\x03"])
def test_headers_have_to_come_soon(sent):
    with listening(header_s=0.3) as address:
        assert b"200" not in said_to(address, sent)


def test_headers_of_a_later_request_have_to_come_soon():
    with listening(header_s=0.3) as address:
        assert said_to(address, HEAD + b"\r\n", b"GET /x").count(b"HTTP/1.1 ") == 1


def test_a_drop_now_and_then_does_not_hold_a_connection():
    """Each new byte of the headers leaves less time, not more."""
    with listening(header_s=0.5) as address, socket.create_connection(address, WAIT_S) as plain:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            plain.settimeout(0.05)
            for byte in HEAD * 10:
                plain.sendall(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    if not plain.recv(1):
                        break
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "headers",
    [
        b"a: b\r\n" * 101,
        b"a: " + b"x" * 40_000 + b"\r\n",
        b"a: " + b"x" * 400_000,  # it never ends
        b"x" * 400_000,
    ],
)
@pytest.mark.parametrize("upgrade", [b"", b"connection: upgrade\r\nupgrade: websocket\r\n"])
def test_headers_are_bounded(headers, upgrade):
    with listening() as address, socket.create_connection(address, WAIT_S) as plain:
        with contextlib.suppress(ConnectionError):
            plain.sendall(HEAD + upgrade + headers + b"\r\n")
        said = until_closed(plain)
        assert said.startswith(b"HTTP/1.1 431") or said == b""  # reset before it was read
        assert b"200 OK" in said_to(address, HEAD + b"connection: close\r\n\r\n")


def test_a_body_that_comes_with_its_headers_does_not_count_as_headers():
    with listening() as address:
        head = HEAD.replace(b"GET", b"POST") + b"connection: close\r\ncontent-length: 60000\r\n\r\n"
        assert b"431" not in said_to(address, head + bytes(60_000))


def test_a_path_is_bounded_too():
    with listening() as address:
        assert b"431" in said_to(address, b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")


@pytest.mark.parametrize("asked", [b"nonsense", b"GET / HTTP/9.9", b"POST / HTTP/1.1\r\ncontent-length: -1"])
def test_no_request_at_all_is_400(asked, caplog):
    with listening() as address:
        said = said_to(address, asked + b"\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 400")
        assert b"server:" not in said.lower()
    assert not caplog.records  # strangers fill no log


def test_an_answer_to_a_body_that_is_still_coming_arrives():
    """413 before the body is there: the rest is read for a while, or the client would see a reset instead."""
    with listening() as address:
        head = b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\nauthorization: " + bearer()["authorization"].encode()
        with socket.create_connection(address, WAIT_S) as plain:
            plain.sendall(head + b"\r\ncontent-length: 5000000\r\n\r\n")
            plain.sendall(bytes(4_000_000))
            assert plain.recv(1000).startswith(b"HTTP/1.1 413")


def test_the_rest_of_a_refused_body_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr("mmstream.server.connection.LINGER_S", 0.3)
    with listening() as address:
        head = b"POST /v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n\r\n"
        with socket.create_connection(address, WAIT_S) as plain:
            plain.sendall(head)
            assert plain.recv(1000).startswith(b"HTTP/1.1 401")
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                plain.settimeout(0.02)
                while time.monotonic() - began < WAIT_S:
                    plain.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        if not plain.recv(1):
                            break
            assert time.monotonic() - began < WAIT_S


def deaf(address, sent):
    """A connection that asks for more than it reads."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(WAIT_S)
    plain.connect(address)
    plain.sendall(sent)
    return plain


def cut_off(plain):
    """Waits until the server has cut the connection; says how much of the answer had come."""
    for _ in range(int(WAIT_S / 0.05)):
        with contextlib.suppress(TimeoutError):
            plain.settimeout(0.05)
            try:
                plain.sendall(b"x")
                plain.recv(0)
            except ConnectionError:
                return
        time.sleep(0.05)
    raise AssertionError("it was not cut off")


def test_a_client_that_reads_nothing_is_cut_off():
    get = b"GET /big HTTP/1.1\r\nhost: localhost\r\n" + TOKEN_LINE + b"\r\n"
    with listening(stall_s=0.4) as address, deaf(address, get) as plain:
        cut_off(plain)
        assert len(until_closed(plain)) < BIG


def test_a_websocket_that_reads_nothing_is_cut_off():
    big = bytes([0x81, 0x83, 0, 0, 0, 0]) + b"big"
    with listening(stall_s=0.4) as address, deaf(address, UPGRADE) as plain:
        assert b"101 Switching" in plain.recv(1000)
        plain.sendall(big)
        cut_off(plain)


def test_a_slow_reader_is_not_cut_off():
    get = b"GET /big HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + TOKEN_LINE + b"\r\n"
    with listening(stall_s=0.5) as address, deaf(address, get) as plain:
        size, began = 0, time.monotonic()
        while chunk := plain.recv(200_000):
            size += len(chunk)
            if time.monotonic() - began < 1.5:
                time.sleep(0.02)
        assert size > BIG
        assert time.monotonic() - began > 1.2


def test_pings_of_a_client_that_reads_nothing_are_not_answered_without_end():
    """Their answers would pile up here: reading stops until they are out."""
    ping = (bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + bytes(125)) * 1000
    with listening(stall_s=1.0) as address, deaf(address, UPGRADE) as plain:
        assert b"101 Switching" in plain.recv(1000)
        plain.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 100_000_000:
                sent += plain.send(ping)
        assert sent < 50_000_000
