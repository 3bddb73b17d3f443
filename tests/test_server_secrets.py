"""The whole server, over the network: what it logs of strangers, what it tells them of its faults, what they leave."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mmstream.server.app import make_app
from mmstream.server.decoding_zygote import shared_zygote
from mmstream.server.service import Service
from mmstream.server.settings import Settings
from mmstream.server.tokens import Tokens
from tests.command_line import Running
from tests.decoding import children_of, only_child_of, until
from tests.guarded import OTHER, TOKEN, WAIT_S, bearer, logging_lines
from tests.media_samples import noise, write_wav
from tests.serving import served
from tests.stub import Numbers, spoken

START = {"type": "start", "protocol": 1, "media": {"kind": "pcm"}}
PING = json.dumps({"type": "ping"})
TRANSCRIPTIONS = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def kept_in(tmp_path_factory):
    """The folder in which the server keeps its uploads."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def server(kept_in):
    with served(tokens=Tokens([TOKEN, OTHER])) as running:
        yield running


@pytest.fixture
def logged(server):
    with logging_lines() as lines:
        yield lines


@pytest.fixture
def wav(tmp_path):
    return write_wav(tmp_path / "noise.wav", noise(1.0)).read_bytes()


def post(server, data, **fields):
    return httpx.post(
        f"{server.url}{TRANSCRIPTIONS}",
        files={"file": ("whispered.wav", data)},
        data={"model": "auto", **fields},
        headers=bearer(),
        timeout=WAIT_S,
    )


@contextlib.contextmanager
def live(server, start=START):
    with connect(server.live, subprotocols=["mmstream.v1"], additional_headers=bearer()) as client:
        client.send(json.dumps(start))
        yield client


def told(client):
    """The events until the close, and its code."""
    events = []
    while True:
        try:
            events.append(json.loads(client.recv(WAIT_S)))
        except ConnectionClosed as closed:
            return events, closed.rcvd.code


def lying(kept_in):
    return list(kept_in.glob("mmstream-uploads-*/*"))


def assert_nothing_is_left(server, kept_in):
    server.until(lambda service: not service.open_sessions and not lying(kept_in), "something is left", WAIT_S)


# Logs


def test_what_strangers_send_is_logged_in_lines_of_their_sessions_without_secrets(server, logged, wav):
    with live(server) as client:
        started = json.loads(client.recv(WAIT_S))
        client.send(spoken(1, 5))
        client.send(json.dumps({"type": "finish"}))
        told(client)
    with live(server, {**START, "model": TOKEN}) as client:
        told(client)
    with live(server, {"type": "resume", "protocol": 1, "token": started["token"], "after": 99}) as client:
        told(client)
    with live(server, {**START, "media": {"kind": "container"}}) as client:
        client.send(b"\x1aE\xdf\xa3 no media")
        client.send(json.dumps({"type": "finish"}))
        told(client)
    assert post(server, wav, prompt="my secret words").status_code == 200
    assert post(server, b"no media").status_code == 400
    assert httpx.get(f"{server.url}/v1/models?token={TOKEN}").status_code == 401
    lines = logged()
    written = json.dumps(lines)
    for secret in (TOKEN, OTHER, started["token"], "my secret words", "whispered.wav"):
        assert secret not in written
    requests = [line for line in lines if line["logger"] == "mmstream.server.logs"]
    sessions = [line["session"] for line in requests if "session" in line]
    assert sessions[0] == started["session"]
    assert [name.partition("-")[0] for name in sessions] == ["live", "live", "file", "file"]
    assert [line["status"] for line in requests] == [1000, 4404, 4404, 4415, 200, 400, 401]
    assert not [line for line in lines if "trace" in line]
    assert not [line for line in lines if line["level"] == "error"]


# Faults


def failing(*_, **__):
    raise RuntimeError(f"inside the server: {TOKEN}")


def assert_says_nothing(text):
    for inside in ("RuntimeError", "Traceback", "inside the server", ".py", TOKEN):
        assert inside not in text


def test_a_recogniser_that_fails_is_one_line_for_the_client_and_the_server_goes_on(server, logged, kept_in, wav):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Numbers, "process", failing)
        with live(server) as client:
            client.send(spoken(1, 5))
            events, code = told(client)
        assert (events[-1]["code"], code) == ("internal", 1011)
        assert_says_nothing(json.dumps(events))
        answer = post(server, wav)
        assert answer.status_code == 500
        assert_says_nothing(answer.text)
        assert_says_nothing(post(server, wav, stream="true").text)
    lines = logged()
    assert "inside the server: ***" in json.dumps(lines)
    assert all("session" in line for line in lines if line["level"] == "error")
    assert post(server, wav).status_code == 200
    assert_nothing_is_left(server, kept_in)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_decoding_process_that_dies_is_one_line_for_its_client_and_nothing_for_the_next(server, kept_in, wav, stream):
    def until_all_are_gone():
        until(lambda: not children_of(shared_zygote().pid), "children left")

    def kill_it():
        os.kill(only_child_of(shared_zygote().pid), signal.SIGKILL)

    until_all_are_gone()
    with ThreadPoolExecutor(1) as pool, live(server, {**START, "media": {"kind": "container"}}) as client:
        client.send(b"\x1aE\xdf\xa3")  # the process waits for more
        killing = pool.submit(kill_it)
        events, code = told(client)
        killing.result()
    assert (events[-1]["code"], code) == ("bad_media", 4415)
    assert events[-1]["message"] == "the media cannot be decoded: it ended the decoding process"
    until_all_are_gone()
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_it)
        answer = post(server, write_wav(kept_in / "long.wav", noise(1200.0)).read_bytes(), stream=stream)
        killing.result()
    line = "the file cannot be heard: the media cannot be decoded: it ended the decoding process"
    assert line in answer.text
    assert answer.status_code == 400 or stream == "true"  # by then it may have said that all is well
    assert post(server, wav).status_code == 200
    assert_nothing_is_left(server, kept_in)


def test_decoding_goes_on_when_the_process_that_makes_the_others_has_died(server, kept_in, wav):
    dead = shared_zygote().pid
    os.kill(dead, signal.SIGKILL)
    until(lambda: not children_of(dead), "its children live")
    assert post(server, wav).status_code == 200
    assert shared_zygote().pid != dead
    assert_nothing_is_left(server, kept_in)


def test_a_fault_of_the_service_is_a_reference(server, logged):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "choose", failing)
        with live(server) as client:
            events, code = told(client)
        answer = post(server, b"x")
    assert (events[-1]["code"], code, answer.status_code) == ("internal", 1011, 500)
    for text in (json.dumps(events), answer.text):
        assert_says_nothing(text)
    references = [line["reference"] for line in logged() if "trace" in line]
    assert answer.json()["error"]["reference"] in references
    assert len(references) == 2


def test_a_client_that_is_gone_before_it_is_greeted_is_no_fault():
    """The answer to its ping finds the connection broken, and only then the greeting is sent."""
    first = [{"type": "websocket.receive", "text": json.dumps(START)}, {"type": "websocket.receive", "text": PING}]
    scope = {"type": "websocket", "path": "/v1/live", "scheme": "ws", "query_string": b"", "subprotocols": []}
    scope |= {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}

    async def talk(app):
        said = iter([{"type": "websocket.connect"}, *first])

        async def receive():
            return next(said, None) or await asyncio.Event().wait()

        async def send(message):
            if message["type"] != "websocket.accept":
                raise OSError

        await asyncio.wait_for(app(scope, receive, send), WAIT_S)

    with served() as server, logging_lines() as lines:
        asyncio.run(talk(make_app(server.service, Settings())))
        assert server.service.open_sessions == 1  # it may come back
    assert not [line for line in lines() if line["level"] in ("warning", "error")]


# Uploads


def test_an_answered_upload_is_gone(server, kept_in, wav):
    assert post(server, wav).status_code == 200
    assert "transcript.text.done" in post(server, wav, stream="true").text
    assert_nothing_is_left(server, kept_in)


@pytest.mark.parametrize("fields", [{"model": "none"}, {"language": "xx"}, {"response_format": "x"}, {"stream": "x"}])
def test_a_refused_upload_is_gone(server, kept_in, wav, fields):
    assert 400 <= post(server, wav, **fields).status_code < 500
    assert_nothing_is_left(server, kept_in)


PART = b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'


def upload(content, announced):
    """The bytes of a request, which says that there are more of them."""
    head = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
    kind = "content-type: multipart/form-data; boundary=xyz\r\n"
    return f"{head}{kind}content-length: {announced}\r\n\r\n".encode() + PART + content


def test_the_upload_of_a_client_that_leaves_in_the_middle_is_gone(server, kept_in, logged):
    with socket.create_connection((server.host, server.port), WAIT_S) as plain:
        plain.sendall(upload(bytes(1_000_000), 5_000_000))
        server.until(lambda _: any(file.stat().st_size > 500_000 for file in lying(kept_in)), "nothing came", WAIT_S)
    assert_nothing_is_left(server, kept_in)
    server.until(lambda _: logged(), "it is not over", WAIT_S)
    assert not [line for line in logged() if "trace" in line]


def test_the_upload_of_a_client_that_leaves_while_it_is_heard_is_gone(server, kept_in, tmp_path):
    content = write_wav(tmp_path / "long.wav", noise(600.0)).read_bytes() + b"\r\n--xyz--\r\n"
    with socket.create_connection((server.host, server.port), WAIT_S) as plain:
        plain.sendall(upload(content, len(content) + len(PART)))
        server.until(lambda service: service.open_sessions, "it is not heard", WAIT_S)
    assert_nothing_is_left(server, kept_in)


def test_the_folder_goes_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with served():
        assert [folder.name.startswith("mmstream-uploads-") for folder in Path(tmp_path).iterdir()].count(True) == 1
    assert not [folder for folder in Path(tmp_path).iterdir() if folder.name.startswith("mmstream-uploads-")]


# The command


def test_the_command_logs_json_where_it_is_asked_to(tmp_path):
    (tmp_path / "tokens").write_text(TOKEN)
    options = ("--port", "0", "--log", "json", "--token-file", tmp_path / "tokens")
    with Running("serve", "--model", "sphinx", *options) as server:
        line = json.loads(server.wait_for("serving on"))
        httpx.get(f"{line['message'].split()[-1]}/v1/models?token={TOKEN}", headers=bearer()).raise_for_status()
        server.send(signal.SIGINT)
        done = server.end()
    assert done.code == 0
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert [line["caller"] for line in lines if line.get("path") == "/v1/models"] == ["token-1"]
    assert TOKEN not in done.err + done.out
