"""Where the server listens: loopback or not, ports, TLS."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import stat

import pytest
from websockets.sync.client import connect

from mmstream.core import MmstreamError
from mmstream.server.listening import listen, tls_context, url
from tests.guarded import BIG, UPGRADE, WAIT_S, Toy, bearer, guarded, layered, serving

# --- Where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_loopback_needs_no_token(host):
    bound = listen(host, 0, guarded=False)
    try:
        assert bound
        assert url(bound, host, tls=False).startswith(f"http://{host}:")
        assert len({one.getsockname()[1] for one in bound}) == 1  # localhost: the same port for IPv4 and IPv6
    finally:
        for one in bound:
            one.close()


def test_loopback_of_ipv6_needs_no_token():
    try:
        bound = listen("::1", 0, guarded=False)
    except MmstreamError as fault:
        if "--token-file" in str(fault):
            raise
        pytest.skip(f"no IPv6 here: {fault}")
    assert url(bound, "::1", tls=True).startswith("https://[::1]:")
    for one in bound:
        one.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.0.2.1", "::ffff:192.0.2.1", "0", "2001:db8::1"])
def test_other_addresses_need_a_token(host):
    with pytest.raises(MmstreamError, match=r"can be reached from other machines: add --token-file") as refused:
        listen(host, 0, guarded=False)
    assert "\n" not in str(refused.value)


def test_a_name_counts_by_what_it_leads_to(monkeypatch):
    real = socket.getaddrinfo

    def lookup(host, *arguments, **named):
        return real({"outside.test": "192.0.2.1", "inside.test": "127.0.0.1"}.get(host, host), *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(MmstreamError, match=r"outside\.test \(192\.0\.2\.1\) can be reached"):
        listen("outside.test", 0, guarded=False)
    for one in listen("inside.test", 0, guarded=False):
        one.close()


def test_with_tokens_it_listens_everywhere():
    for one in listen("0.0.0.0", 0, guarded=True):
        one.close()


@pytest.mark.parametrize(
    ("host", "says"), [("", "--host is empty"), ("no such name", "is no address"), ("192.0.2.1", "--host 192.0.2.1")]
)
def test_a_bad_address_is_one_line(host, says):
    with pytest.raises(MmstreamError, match=says):
        listen(host, 0, guarded=True)


def test_a_taken_port_is_named():
    (bound,) = listen("127.0.0.1", 0, guarded=False)
    port = bound.getsockname()[1]
    try:
        with pytest.raises(MmstreamError, match=f"--port {port}: another program listens there"):
            listen("127.0.0.1", port, guarded=False)
    finally:
        bound.close()


# --- TLS


def certificate(tmp_path, name="server"):
    """A certificate that signs itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    chain, private = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    private.chmod(stat.S_IRUSR)
    locked = tmp_path / f"{name}.locked"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return chain, private, locked


def test_tls_serves_both_kinds(tmp_path):
    chain, private, _ = certificate(tmp_path)
    settings = guarded()
    trusting = ssl.create_default_context(cafile=chain)
    with (
        serving(layered(Toy(), settings), settings, tls_context(chain, private)) as (host, port),
        connect(f"wss://{host}:{port}/v1/live", ssl=trusting, additional_headers=bearer(), max_size=None) as socket,
    ):
        socket.send(b"12345678")
        assert socket.recv(WAIT_S) == "8"
        socket.send("big")
        assert len(socket.recv(WAIT_S)) == BIG


def test_tls_below_1_2_is_refused(tmp_path):
    chain, private, _ = certificate(tmp_path)
    settings = guarded()
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        serving(layered(Toy(), settings), settings, tls_context(chain, private)) as address,
        socket.create_connection(address, WAIT_S) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(plain)


def test_no_tls_without_files():
    assert tls_context(None, None) is None


def test_bad_tls_files_are_one_line(tmp_path):
    chain, private, locked = certificate(tmp_path)
    _, other, _ = certificate(tmp_path, "other")
    nothing, missing = tmp_path / "nothing", tmp_path / "missing"
    nothing.write_text("nothing")
    broken = tmp_path / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n")
    for cert, key, says in (
        (chain, None, "give both"),
        (None, private, "give both"),
        (missing, private, f"--tls-cert {missing}: No such file"),
        (chain, missing, f"--tls-key {missing}: No such file"),
        (chain, nothing, "is not a PEM file"),
        (broken, private, "no certificate and its key"),
        (chain, other, "is not the key of"),
        (private, chain, "no certificate and its key"),
        (chain, locked, "is encrypted"),
    ):
        with pytest.raises(MmstreamError) as refused:
            tls_context(cert, key)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_tls_client_that_leaves_in_the_handshake_disturbs_nobody(tmp_path):
    chain, private, _ = certificate(tmp_path)
    settings = guarded()
    with serving(layered(Toy(), settings), settings, tls_context(chain, private)) as (host, port):
        for sent in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"):
            with socket.create_connection((host, port), WAIT_S) as plain:
                plain.sendall(sent)
        trusting = ssl.create_default_context(cafile=chain)
        with connect(f"wss://{host}:{port}/v1/live", ssl=trusting, additional_headers=bearer()) as still:
            still.send("x")
            assert still.recv(WAIT_S) == "1"


def test_the_server_ends_in_order_while_a_client_is_closing(tmp_path):
    """Its close frame is answered; TLS then waits for its goodbye, which does not come."""
    chain, private, _ = certificate(tmp_path)
    settings = guarded()
    trusting = ssl.create_default_context(cafile=chain)
    open_ones = contextlib.ExitStack()
    with open_ones, serving(layered(Toy(), settings), settings, tls_context(chain, private)) as address:
        plain = open_ones.enter_context(socket.create_connection(address, WAIT_S))
        wrapped = open_ones.enter_context(trusting.wrap_socket(plain, server_hostname="localhost"))
        wrapped.sendall(UPGRADE)
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            said += wrapped.recv(1)
        assert b" 101 " in said
        wrapped.sendall(b"\x88\x80\0\0\0\0")
        assert wrapped.recv(1) == b"\x88"
