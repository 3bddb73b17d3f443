"""Who gets in: token files, Host and Origin, rates, sessions at a time."""

import asyncio
import base64
import contextlib
import logging

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mmstream.core import MmstreamError
from mmstream.server.guard import is_loopback, origins
from mmstream.server.limits import Limits
from mmstream.server.settings import Settings
from mmstream.server.tokens import Tokens, read_tokens
from tests.guarded import OTHER, TOKEN, WAIT_S, Toy, bearer, call, guarded, layered, serving

# --- Token files


def written(tmp_path, text, mode=0o600):
    path = tmp_path / "tokens"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def test_a_token_file_has_a_token_a_line(tmp_path):
    tokens = read_tokens(written(tmp_path, f"# of the page\n{TOKEN}\n\n  {OTHER}  \r\n"))
    assert len(tokens) == 2
    assert [tokens.caller(token) for token in (TOKEN, OTHER, TOKEN[:-1], "", "# of the page")] == [
        "token-1",
        "token-2",
        None,
        None,
        None,
    ]
    assert TOKEN not in repr(vars(tokens))  # kept as hashes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("# nothing\n\n", "holds no token"),
        ("short\n", ":1: a token has 16 to 512"),
        (f"{TOKEN}\nwith a space inside\n", ":2: a token has"),
        (f"{TOKEN}é\n", ":1: a token has"),
        (b"\xff\xfe\x00", "is not a text file"),
    ],
)
def test_a_bad_token_file_is_one_line_without_its_content(tmp_path, text, says):
    path = written(tmp_path, text)
    with pytest.raises(MmstreamError, match=says) as refused:
        read_tokens(path)
    assert "\n" not in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert "short" not in str(refused.value).replace(str(path), "")


def test_a_token_file_that_is_not_there(tmp_path):
    with pytest.raises(MmstreamError, match="No such file"):
        read_tokens(tmp_path / "none")


def test_a_token_file_that_others_may_write_is_refused(tmp_path):
    with pytest.raises(MmstreamError, match="chmod 600"):
        read_tokens(written(tmp_path, TOKEN, 0o602))


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False), (0o640, False)])
def test_a_token_file_that_others_may_read_is_warned_of(tmp_path, caplog, mode, warned):
    with caplog.at_level(logging.WARNING):
        read_tokens(written(tmp_path, TOKEN, mode))
    assert ("every user of this machine may read it" in caplog.text) == warned
    assert TOKEN not in caplog.text


def test_every_token_is_compared(monkeypatch):
    """The time it takes to refuse or accept does not tell which token came near."""
    compared = []

    def counting(left, right):
        compared.append(right)
        return left == right

    monkeypatch.setattr("hmac.compare_digest", counting)
    tokens = Tokens([TOKEN, OTHER, TOKEN + "x"])
    for given in (TOKEN, "x" * 32, TOKEN + "x"):
        compared.clear()
        tokens.caller(given)
        assert len(compared) == 3


# --- Requests


def ways(token):
    return [
        {"authorization": f"Bearer {token}"},
        {"authorization": f"Token {token}"},
        {"authorization": f"bearer {token}"},
    ]


@pytest.mark.parametrize("headers", ways(TOKEN))
def test_a_token_lets_in_and_goes_no_further(headers):
    toy = Toy()
    answer = call(layered(toy, guarded()), "POST", "/v1/things", headers=headers)
    assert (answer.status_code, answer.json()["caller"]) == (200, "token-1")
    assert TOKEN not in repr(toy.scopes)


@pytest.mark.parametrize("headers", [{}, *ways(TOKEN[:-1]), {"authorization": "Basic eDp5"}, {"authorization": TOKEN}])
@pytest.mark.parametrize(
    "path", ["/v1/models", "/metrics", "/docs", "/openapi.json", "/health/x", "/page/../v1/models"]
)
def test_without_a_token_nothing_answers(headers, path):
    toy = Toy()
    answer = call(layered(toy, guarded()), "GET", path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert toy.scopes == []


def test_a_token_in_the_url_is_none():
    answer = call(layered(Toy(), guarded()), "GET", f"/v1/models?token={TOKEN}&access_token={TOKEN}")
    assert answer.status_code == 401


def test_the_page_and_health_are_open():
    app = layered(Toy(), guarded())
    assert call(app, "GET", "/health").status_code == 200
    assert call(app, "POST", "/health").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:80", "localhost.evil.test", "127.0.0.1.evil.test", "192.0.2.1", "", "a b", "@localhost"],
)
def test_without_tokens_only_names_of_this_machine_are_answered(host):
    """Else a page elsewhere could have its name lead here and read what we say (DNS rebinding)."""
    answer = call(layered(Toy(), Settings()), "GET", "/v1/models", headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]:8000", "x.localhost", "caption.test"]
)
def test_names_of_this_machine_and_of_listed_origins_are_answered(host):
    app = layered(Toy(), Settings(origins=origins(["https://caption.test"])))
    assert call(app, "GET", "/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://localhost:8000", 200),
        ("https://localhost:8000", 200),  # TLS may end at a proxy before us
        ("https://caption.test", 200),
        ("https://caption.test:443", 200),
        ("http://caption.test", 403),
        ("https://caption.test:444", 403),
        ("https://evil.test", 403),
        ("http://localhost:8001", 403),
        ("http://localhost:8000.evil.test", 403),
        ("null", 403),
        ("", 403),
        ("http://localhost:8000@evil.test", 403),
        ("http://localhost:99999", 403),
        ("file://", 403),
    ],
)
@pytest.mark.parametrize(
    "settings", [Settings(origins=("https://caption.test",)), guarded(origins=("https://caption.test",))]
)
def test_only_pages_of_known_origins_may_post(origin, status, settings):
    headers = {**bearer(), "host": "localhost:8000", **({} if origin is None else {"origin": origin})}
    answer = call(layered(Toy(), settings), "POST", "/v1/things", headers=headers)
    assert answer.status_code == status
    assert call(layered(Toy(), settings), "GET", "/v1/things", headers=headers).status_code == 200  # safe


def test_over_tls_a_page_without_it_is_another_origin():
    headers = {"origin": "http://localhost", **bearer()}
    assert call(layered(Toy(), guarded()), "POST", "/v1/things", scheme="https", headers=headers).status_code == 403


def test_two_origins_are_no_origin():
    headers = [("origin", "http://localhost"), ("origin", "http://localhost"), *bearer().items()]
    assert call(layered(Toy(), guarded()), "POST", "/v1/things", headers=headers).status_code == 403


def test_a_listed_origin_may_read_the_answer():
    app = layered(Toy(), guarded(origins=("https://caption.test",)))
    asked = {"origin": "https://caption.test", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization"
    before = call(app, "OPTIONS", "/v1/things", headers=asked)
    assert before.headers["access-control-allow-origin"] == "https://caption.test"
    assert call(app, "POST", "/v1/things", headers={**asked, **bearer()}).headers["access-control-allow-origin"]
    asked["origin"] = "https://evil.test"
    assert "access-control-allow-origin" not in call(app, "OPTIONS", "/v1/things", headers=asked).headers


@pytest.mark.parametrize(
    "text", ["caption.test", "https://caption.test/", "ftp://caption.test", "https://", "*", "null"]
)
def test_an_origin_is_written_as_browsers_do(text):
    with pytest.raises(MmstreamError, match="as browsers send it"):
        origins([text])


@pytest.mark.parametrize(
    ("name", "loopback"),
    [
        ("localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("localhostx", False),
    ],
)
def test_names_that_nobody_else_can_give_out(name, loopback):
    assert is_loopback(name) == loopback


# --- Rates


def test_a_caller_asks_so_often_and_is_told_when_again():
    settings = guarded(limits=Limits(requests_per_minute=3))
    app = layered(Toy(), settings)
    codes = [call(app, "GET", "/v1/models", headers=bearer()).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    refused = call(app, "GET", "/v1/models", headers=bearer())
    assert refused.json()["error"]["code"] == "too_many"
    assert 1 <= int(refused.headers["retry-after"]) <= 21
    assert call(app, "GET", "/v1/models", headers=bearer(OTHER)).status_code == 200  # another caller's own
    assert call(app, "GET", "/health", address="192.0.2.9").status_code == 200


def test_guesses_of_a_token_cost_more():
    app = layered(Toy(), guarded(limits=Limits(requests_per_minute=30)))
    codes = [call(app, "GET", "/v1/x", headers=bearer("x" * 20)).status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]
    assert call(app, "GET", "/v1/x", headers=bearer()).status_code == 200  # who has one is not kept out by who guesses


def test_a_network_of_ipv6_is_one_caller():
    app = layered(Toy(), guarded(limits=Limits(requests_per_minute=1)))
    codes = [call(app, "GET", "/health", address=f"2001:db8::{host:x}").status_code for host in (1, 2)]
    assert codes == [200, 429]
    assert call(app, "GET", "/health", address="2001:db8:0:1::1").status_code == 200


# --- WebSockets, over the network


def browser(token):
    return ["mmstream.v1", "mmstream.token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")]


@pytest.fixture
def served():
    toy, settings = Toy(), guarded(limits=Limits(sessions_per_token=2))
    with serving(layered(toy, settings), settings) as (host, port):
        yield toy, f"ws://{host}:{port}"


@pytest.mark.parametrize(
    ("how", "chosen"),
    [
        ({"additional_headers": bearer()}, None),
        ({"additional_headers": {"authorization": f"Token {TOKEN}"}}, None),
        ({"subprotocols": browser(TOKEN)}, "mmstream.v1"),
        ({"subprotocols": list(reversed(browser(TOKEN)))}, "mmstream.v1"),
        ({"subprotocols": ["token", TOKEN]}, "token"),  # Deepgram's clients in browsers
    ],
)
def test_a_websocket_brings_its_token(served, how, chosen):
    toy, address = served
    with connect(f"{address}/v1/live", **how) as socket:
        assert socket.subprotocol == chosen
        socket.send("hello")
        assert socket.recv(WAIT_S) == "5"
    assert TOKEN not in repr(toy.scopes)
    assert browser(TOKEN)[1] not in repr(toy.scopes)


@pytest.mark.parametrize("how", [{}, {"additional_headers": bearer("x" * 20)}, {"subprotocols": ["token", "x" * 20]}])
def test_a_client_without_a_token_gets_401(served, how, caplog):
    toy, address = served
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{address}/v1/live?token={TOKEN}", **how)
    assert refused.value.response.status_code == 401
    assert toy.scopes == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]  # no fault of ours


@pytest.mark.parametrize("token", ["x" * 20, "\x00\xff", ""])
def test_a_browser_without_a_token_is_told_in_the_protocol(served, token):
    toy, address = served
    with connect(f"{address}/v1/live", subprotocols=browser(token)[: 2 if token else 1]) as socket:
        assert '"code": "unauthorized"' in socket.recv(WAIT_S)
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT_S)
        assert socket.close_code == 4401
    assert toy.scopes == []


@pytest.mark.parametrize(
    "secret", ["mmstream.token.!!!!", "mmstream.token.a", "mmstream.token.", "mmstream.token.4pyT"]
)
def test_a_subprotocol_that_is_no_token(served, secret):
    _, address = served
    with connect(f"{address}/v1/live", subprotocols=["mmstream.v1", secret]) as socket:
        assert "unauthorized" in socket.recv(WAIT_S)


def test_a_websocket_of_another_origin_is_refused(served):
    _, address = served
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{address}/v1/live", origin="https://evil.test", additional_headers=bearer())
    assert refused.value.response.status_code == 403
    with connect(f"{address}/v1/live", origin="https://evil.test", subprotocols=browser(TOKEN)) as socket:
        assert "forbidden_origin" in socket.recv(WAIT_S)
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT_S)
        assert socket.close_code == 4403


def test_a_token_has_so_many_sessions_at_a_time(served):
    toy, address = served
    with contextlib.ExitStack() as first, connect(f"{address}/v1/live", additional_headers=bearer()):
        first.enter_context(connect(f"{address}/v1/live", additional_headers=bearer()))
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{address}/v1/live", additional_headers=bearer())
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["retry-after"]
        with connect(f"{address}/v1/live", subprotocols=browser(TOKEN)) as third:
            assert "too_many" in third.recv(WAIT_S)
            with pytest.raises(ConnectionClosed):
                third.recv(WAIT_S)
            assert third.close_code == 4429
        with connect(f"{address}/v1/live", additional_headers=bearer(OTHER)) as another:
            another.send("of another token")
            assert another.recv(WAIT_S) == "16"
        first.close()
        _until_let_in(address)
    assert len(toy.scopes) == 4


def _until_let_in(address):
    """The server hears of a client that has left a moment later."""
    for attempt in range(200):
        try:
            with connect(f"{address}/v1/live", additional_headers=bearer()):
                return
        except InvalidStatus:
            assert attempt < 199


def test_a_faulty_session_gives_its_seat_back(served):
    _, address = served
    for _ in range(5):
        with connect(f"{address}/fault", additional_headers=bearer()) as socket, pytest.raises(ConnectionClosed):
            socket.recv(WAIT_S)
    _until_let_in(address)


def test_the_guard_starts_with_the_application():
    async def live():
        sent = []
        messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

        async def receive():
            return next(messages)

        async def send(message):
            sent.append(message["type"])

        await layered(Toy(), guarded())({"type": "lifespan"}, receive, send)
        return sent

    assert asyncio.run(live()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
