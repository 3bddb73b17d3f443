"""What the log holds: a line for each event, of its request and session, and nobody's secrets."""

import asyncio
import io
import json
import logging

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from mmstream.server import logs
from mmstream.server.limits import Limits
from mmstream.server.tokens import Tokens
from tests.guarded import OTHER, TOKEN, WAIT_S, Toy, bearer, call, client, guarded, layered, logging_lines, serving


@pytest.fixture
def logged():
    """What the server logs meanwhile, as JSON lines."""
    with logging_lines() as lines:
        yield lines


def test_a_request_is_one_line_without_its_query(logged):
    path = f"/v1/things?token={TOKEN}&word=whispered"
    call(layered(Toy(), guarded()), "POST", path, headers=bearer(), content=b"secret words")
    (line,) = [line for line in logged() if line["logger"] == "mmstream.server.logs"]
    assert {name: line[name] for name in ("method", "path", "status", "caller", "bytes_in")} == {
        "method": "POST",
        "path": "/v1/things",
        "status": 200,
        "caller": "token-1",
        "bytes_in": 12,
    }
    assert line["request"]
    assert line["ms"] >= 0
    assert "whispered" not in json.dumps(logged())
    assert "secret words" not in json.dumps(logged())
    assert TOKEN not in json.dumps(logged())


def test_a_refused_request_is_logged_too(logged):
    call(layered(Toy(), guarded()), "GET", "/v1/things", headers=bearer("x" * 20))
    (line,) = logged()
    assert (line["status"], line["caller"]) == (401, None)
    assert "x" * 20 not in json.dumps(line)


def test_a_websocket_is_one_line_with_its_close_code(logged):
    settings = guarded(limits=Limits(message_bytes=10))
    with (
        serving(layered(Toy(), settings), settings) as (host, port),
        connect(f"ws://{host}:{port}/v1/live?token={TOKEN}", additional_headers=bearer()) as client,
    ):
        client.send("x" * 11)
        with pytest.raises(ConnectionClosed):
            client.recv(WAIT_S)
    (line,) = [line for line in logged() if line.get("method") == "WebSocket"]
    assert (line["path"], line["status"], line["bytes_in"]) == ("/v1/live", 4413, 11)
    assert TOKEN not in json.dumps(logged())


def test_questions_of_machines_are_not_logged():
    stream = io.StringIO()
    form = logs.Lines("json", Tokens(()))
    to = logging.StreamHandler(stream)
    to.setFormatter(form)
    logger = logging.getLogger("mmstream.server.logs")
    kept = logger.level, logger.propagate
    logger.addHandler(to)
    logger.setLevel(logging.INFO)
    try:
        call(layered(Toy(), guarded()), "GET", "/health")
        assert stream.getvalue() == ""
    finally:
        logger.removeHandler(to)
        logger.level, logger.propagate = kept


def test_lines_belong_to_their_session(logged):
    log = logging.getLogger("mmstream.server.live")

    async def app(scope, receive, send):
        async def hear():
            logs.name_session(scope["path"])
            log.info("words")

        await asyncio.create_task(hear())
        log.info("more words")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def both():
        async with client(logs.RequestLog(app)) as caller:
            await asyncio.gather(caller.get("/live-1"), caller.get("/live-2"))

    asyncio.run(both())
    log.info("after")
    lines = logged()
    assert sorted(str(line.get("session")) for line in lines) == ["/live-1"] * 3 + ["/live-2"] * 3 + ["None"]
    assert len({(line.get("request"), line.get("session")) for line in lines}) == 3


def line_of(message, *arguments, form="json", level=logging.INFO, tokens=(TOKEN, OTHER), **extra):
    record = logging.LogRecord("mmstream.x", level, "x.py", 1, message, arguments, None)
    record.__dict__.update(extra)
    return logs.Lines(form, Tokens(tokens)).format(record)


@pytest.mark.parametrize(
    "text",
    [
        f"header Authorization: Bearer {TOKEN}",
        f"(b'authorization', b'Token {TOKEN}')",
        f"got {TOKEN}",
        f"path /v1/{TOKEN}/x",
        f"url http://host/?a=b&x={TOKEN}",
        f'{{"x": "{TOKEN}"}}',
        f"{OTHER},{TOKEN}",
    ],
)
def test_no_token_of_the_file_is_written(text):
    for form in ("json", "text"):
        line = line_of("%s", text, form=form, extra_field=text)
        assert TOKEN not in line
        assert OTHER not in line
        assert "***" in line


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRET",
        "authorization=SECRET",
        "('authorization', 'Basic SECRET')",
        "bearer SECRET,",
        "subprotocols mmstream.v1, mmstream.token.SECRET",
        '{"token": "SECRET", "after": 3}',
        "{'resume_token': 'SECRET'}",
        "api_key=SECRET&x=1",
        "OPENAI_API_KEY=SECRET",
        "password: SECRET",
        "rtsp://user:SECRET@camera/stream",
    ],
)
def test_what_looks_like_a_secret_is_not_written(text):
    line = line_of("%s", text, tokens=())
    assert "SECRET" not in line
    assert "***" in json.loads(line)["message"]


@pytest.mark.parametrize(
    "text", ["session live-1a2b3c4d ended after 12.5 s", "/v1/audio/transcriptions", "bearers of news"]
)
def test_other_words_are_left_alone(text):
    assert json.loads(line_of(text))["message"] == text


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_value_cannot_begin_another_line(form):
    hostile = 'x\n{"level": "error", "message": "forged"}\r\x1b[2J\x00\u2028'
    line = line_of("path %s", hostile, form=form, name_given=hostile)
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line
    assert "\u2028" not in line


def test_text_for_people_is_short_and_names_the_session():
    line = line_of("words came", form="text", session="live-1")
    assert line.endswith("words came  session=live-1")
    warned = line_of("slow", form="text", level=logging.WARNING)
    assert "warning: slow" in warned


def test_a_message_is_bounded():
    assert len(line_of("x" * 100_000)) < logs.LONGEST + 500
