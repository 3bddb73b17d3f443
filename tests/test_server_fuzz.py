"""Random bytes, hostile media and random messages against a running server: no 5xx, no hang, and nothing left behind.

MMSTREAM_FUZZ_CASES=10000 python -m pytest tests/test_server_fuzz.py -o log_cli=true -o log_cli_level=INFO
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close
from websockets.sync.client import connect

from tests.decoding import children_of, open_files
from tests.hostile_media import bombs, mutated, recordings

log = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("websockets").setLevel(logging.CRITICAL)  # it does not like to be dropped

USUAL = 500  # cases: some ten seconds
CASES = int(os.environ.get("MMSTREAM_FUZZ_CASES", USUAL))
pytestmark = pytest.mark.timeout(180 + CASES)  # of one test, for a machine that is busy
HANG_S = 60.0  # no case takes so long, not even on a busy machine
GONE_S = 30.0  # after the last case nothing is left
THREADS = 40  # of the server: its pools, which grow as they are used, and its graphs
GROWTH_MB = 60.0  # of the server's memory, after the first tenth of the cases
SLOW = "an MPEG-TS of 8,000 programs"  # all of its processor time: a test of its own has lower limits

SERVER = """
import os, sys
from mmstream.server import logs
from mmstream.server.limits import Limits
from mmstream.server.tokens import Tokens
from tests.serving import served

logs.set_up("json", Tokens(()), sys.stderr)
limits = Limits(requests_per_minute=10**9, idle_s=20.0)
with served(limits=limits, resume_s=0.5, first_message_s=5.0) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


class Target:
    """The server, in a process of its own, and what it has done so far."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.port = int(process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        self.sockets = f"ws://127.0.0.1:{self.port}"
        self.pid = process.pid
        self.cases = 0
        self.client = httpx.Client(base_url=self.url, timeout=HANG_S)
        self.runner = ThreadPoolExecutor(1, "case")
        self._folder = folder
        self._before: dict[str, float] = {}

    def held(self) -> dict[str, float]:
        """What there is of the server now."""
        (zygote,) = children_of(self.pid)
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return {
            "sessions": self.client.get("/ready").json()["sessions"],
            "files": len(list(self._folder.glob("mmstream-uploads-*/*"))),
            "children": len(children_of(zygote)),
            "descriptors": open_files(self.pid),
            "zygote_descriptors": open_files(zygote),
            "threads": len(list(Path(f"/proc/{self.pid}/task").iterdir())),
            "rss_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        }

    def run(self, case, *arguments):
        """Run one case to its end."""
        self.cases += 1
        if self.cases == max(20, CASES // 10):
            self._before = self.settled()
        self.runner.submit(case, self, *arguments).result(HANG_S)

    def settled(self) -> dict[str, float]:
        """What is held once the last case is over for the server too."""
        deadline = time.monotonic() + GONE_S
        while True:
            held = self.held()
            if not (held["sessions"] or held["files"] or held["children"]) or time.monotonic() > deadline:
                return held
            time.sleep(0.05)

    def assert_nothing_is_left(self) -> None:
        before, after = self._before, self.settled()
        log.info("fuzz %s", json.dumps({"cases": self.cases, "before": before, "after": after}))
        for what in ("sessions", "files", "children"):
            assert after[what] == 0, after
        for what in ("descriptors", "zygote_descriptors"):
            assert after[what] <= before[what] + 3, (before, after)  # a connection of ours is kept, and another may be
        assert after["threads"] <= THREADS, after
        assert after["rss_mb"] <= before["rss_mb"] + GROWTH_MB, (before, after)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with (folder / "log").open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        with process:
            target = Target(process, folder)
            yield target
            target.assert_nothing_is_left()
            target.runner.shutdown()
            target.client.close()
            process.stdin.close()
            assert process.wait(HANG_S) == 0
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [line for line in lines if "trace" in line or line["level"] in ("error", "critical")] == []
    assert [line for line in lines if 500 <= (line.get("status") or 0) < 600] == []


def fuzz(share: float):
    """So many of the cases; the usual ones are the same at each run."""
    return settings(
        max_examples=max(1, round(share * CASES)),
        deadline=None,
        derandomize=CASES <= USUAL,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# What is sent

KINDS = ("webm", "ogg", "mp4", "ts", "wav", "mp3", "flac")
TEXT = st.text(st.characters(), max_size=20)  # halves of characters too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@functools.cache
def sound_and_bombs():
    return {**recordings(), **{name: data for name, data in bombs().items() if name != SLOW}}


@st.composite
def media(draw):
    """A recording as it is, cut off, or damaged; a bomb; or just bytes."""
    known = sound_and_bombs()
    match draw(st.sampled_from(["damaged"] * 5 + ["cut"] * 2 + ["bytes"] * 2 + ["bomb"])):
        case "damaged":
            return mutated(known[draw(st.sampled_from(KINDS))], draw(st.integers(0, 2**32)))
        case "cut":
            whole = known[draw(st.sampled_from(KINDS))]
            return whole[: draw(st.integers(0, len(whole)))]
        case "bytes":
            return draw(st.binary(max_size=4_000))
        case _:
            return known[draw(st.sampled_from(sorted(known)))]


def mostly(usual, other):
    """Three of four times what is usual."""
    return st.sampled_from([usual, usual, usual, other]).flatmap(lambda chosen: chosen)


def message(kind, **fields):
    """An object of that kind, with these fields: some of them left out, or with anything in them."""
    return st.fixed_dictionaries(
        {"type": kind}, optional={name: mostly(values, JSON) for name, values in fields.items()}
    )


def kinds(*names):
    return st.sampled_from(names)


PCM = st.fixed_dictionaries({"kind": st.just("pcm")}, optional={"sample_rate": st.integers()})
GOOD_MEDIA = st.sampled_from([{"kind": "container"}, {"kind": "container"}, {"kind": "pcm"}])
GOOD_START = GOOD_MEDIA.map(lambda media: {"type": "start", "protocol": 1, "media": media})
FIRST = st.one_of(
    message(
        kinds("start"), protocol=st.just(1), model=st.sampled_from(["auto", "stub", "x"]),
        language=st.sampled_from([None, "en", "xx"]), media=PCM | GOOD_MEDIA, offset_s=st.floats(),
    ),
    message(kinds("resume"), protocol=st.just(1), token=TEXT, after=st.integers()),
    JSON,
)  # fmt: skip
LATER = st.one_of(
    message(kinds("finish", "ping", "start", "resume"), id=JSON),
    message(kinds("Finalize", "CloseStream", "KeepAlive", "Configure")),
    JSON,
)
TEXTS = st.one_of(LATER.map(json.dumps), LATER.map(json.dumps), st.text(max_size=200))


@st.composite
def in_pieces(draw):
    """Media as it would come over time."""
    data, size = draw(media()), draw(st.sampled_from([100_000, 100_000, 5_000, 300, 7]))
    return [data[begin : begin + size] for begin in range(0, min(len(data), 100 * size), size)]


PING = st.just(json.dumps({"type": "ping", "id": 1}))
SPEECH = st.builds(lambda pieces, *rest: [*pieces, *rest], in_pieces(), PING)  # as a good client, but for what it holds
ANYTHING = st.lists(st.one_of(media(), media(), TEXTS), max_size=6)
STEPS = mostly(SPEECH, ANYTHING)
ENDS = st.sampled_from(["finish", "finish", "finish", "close", "drop"])


def strict(text: str):
    """JSON as everybody reads it."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def assert_says_nothing_of_itself(text: str) -> None:
    assert "Traceback" not in text
    assert ".py" not in text


HEARING = {"max_size": None, "max_queue": None, "close_timeout": HANG_S}  # a client that waits for nothing but us


def converse(target, address, steps, end, finish, **options):
    """Say it all, and hear the answers out until the close."""
    refused, closed = None, None
    try:
        with connect(target.sockets + address, **HEARING, **options) as client:
            for step in steps:
                client.send(step)
            if end == "drop":
                with contextlib.suppress(OSError):  # the server was quicker
                    client.socket.shutdown(socket.SHUT_RDWR)
            elif end == "finish":
                client.send(finish)
                while True:
                    strict(client.recv(HANG_S))
    except InvalidStatus as answer:
        refused = answer.response
    except ConnectionClosed as event:
        closed = event.rcvd or Close(1006, "")
    if refused is not None:
        assert 400 <= refused.status_code < 500
        assert_says_nothing_of_itself(refused.body.decode())
    if closed is not None:
        assert closed.code not in ((1011,) if end == "drop" else (1006, 1011))
        assert_says_nothing_of_itself(closed.reason)


def live(target, first, steps, end):
    options = {"subprotocols": ["mmstream.v1"]}
    talk = functools.partial(converse, **options)
    target.run(talk, "/v1/live", [json.dumps(first), *steps], end, json.dumps({"type": "finish"}))


@given(first=GOOD_START, steps=SPEECH, end=ENDS)
@fuzz(0.35)
def test_hostile_media_in_the_live_protocol(target, first, steps, end):
    live(target, first, steps, end)


@given(first=mostly(FIRST, GOOD_START), steps=ANYTHING, end=ENDS)
@fuzz(0.1)
def test_messages_that_are_not_in_the_live_protocol(target, first, steps, end):
    live(target, first, steps, end)


QUERY = st.dictionaries(
    st.sampled_from(
        ["model", "language", "encoding", "sample_rate", "channels", "interim_results", "punctuate", "utterance_end_ms"]
    )
    | st.text(max_size=10),
    st.one_of(
        st.sampled_from(["linear16", "mulaw", "16000", "8000", "2", "true", "false", "en", "nova-3", "multi", "1000"]),
        st.text(max_size=20),
    ),
    max_size=5,
)


@given(query=mostly(st.just({}), QUERY), steps=STEPS, end=ENDS)
@fuzz(0.2)
def test_listening_as_with_deepgram(target, query, steps, end):
    target.run(converse, f"/v1/listen?{urlencode(query)}", steps, end, json.dumps({"type": "CloseStream"}))


def legal(*values):
    return mostly(st.sampled_from(values), st.text(max_size=20))


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": legal("auto", "stub", "whisper-1"),
        "language": legal("en", "xx"),
        "response_format": legal("json", "text", "srt", "verbose_json", "vtt"),
        "timestamp_granularities[]": legal("word", "segment"),
        "stream": legal("true", "false"),
        "temperature": legal("0", "1", "nan"),
        "prompt": legal("words"),
    },
)
PATHS = st.sampled_from(["/v1/audio/transcriptions", "/v1/audio/transcriptions", "/v1/audio/translations"])


def send_form(target, path, content, file_name, fields):
    answer = target.client.post(path, files={"file": (file_name, content)}, data=fields)
    check(answer)


def check(answer):
    assert answer.status_code < 500, answer.text
    assert_says_nothing_of_itself(answer.text)
    if answer.headers.get("content-type", "").startswith("application/json"):
        strict(answer.text)


@given(path=PATHS, content=media(), file_name=st.text(min_size=1, max_size=20), fields=mostly(st.just({}), FIELDS))
@fuzz(0.2)
def test_uploads(target, path, content, file_name, fields):
    target.run(send_form, path, content, file_name, fields)


def send_body(target, path, body, content_type):
    check(target.client.post(path, content=body, headers={"content-type": content_type}))


FORM_PIECES = st.sampled_from(
    [
        b"--x\r\n", b"--x--", b"--x--\r\n", b"\r\n", b"\r\n\r\n", b"content-disposition: form-data", b'; name="file"',
        b'; filename="a.wav"', b'; name="model"', b"content-type: audio/wav\r\n", b"RIFF", b"content-length: 9" * 99,
    ]
)  # fmt: skip
BODIES = st.lists(FORM_PIECES | st.binary(max_size=50), max_size=20).map(b"".join)
CONTENT_TYPES = st.sampled_from(
    ["multipart/form-data; boundary=x"] * 4 + ["multipart/form-data", "multipart/mixed; boundary=x", "audio/wav"]
)


@given(path=PATHS, body=BODIES, content_type=CONTENT_TYPES)
@fuzz(0.08)
def test_forms_that_are_none(target, path, body, content_type):
    target.run(send_body, path, body, content_type)


REQUEST = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\n"
UPGRADE = (
    b"GET /v1/live HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
LINES = st.sampled_from(
    [
        REQUEST, UPGRADE, b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"content-length: 100\r\n", b"\r\n", b"\r\n\r\n",
        b"transfer-encoding: chunked\r\n", b"content-length: 99999999999999999999\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
        b"content-type: multipart/form-data; boundary=x\r\n", b"expect: 100-continue\r\n", b"host: elsewhere\r\n",
        b"origin: null\r\n", b"authorization: Bearer \xff\r\n", b"\x81\x85\0\0\0\0hello", b"\x88\x80\0\0\0\0",
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ]
)  # fmt: skip


def send_raw(target, parts):
    with socket.create_connection(("127.0.0.1", target.port), HANG_S) as plain, contextlib.suppress(ConnectionError):
        plain.sendall(b"".join(parts))
        plain.shutdown(socket.SHUT_WR)
        said = b""
        while chunk := plain.recv(65_536):
            said += chunk
        assert b"HTTP/1.1 5" not in said
        assert b"Traceback" not in said


@given(parts=st.lists(LINES | st.binary(max_size=40), min_size=1, max_size=12))
@fuzz(0.07)
def test_bytes_that_are_no_requests(target, parts):
    target.run(send_raw, parts)
