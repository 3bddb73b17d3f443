"""Pulling models from a hub: its own client against a server on this machine that speaks its protocol."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmstream import registry
from mmstream.registry import verify
from mmstream.registry.catalogue import CATALOGUE
from tests.model_folders import folder, home, names_in

__all__ = ["folder", "home"]

REPOSITORY = CATALOGUE["whisper-tiny.en"].place
REVISION = "fedcba9876543210fedcba9876543210fedcba98"


class Hub(BaseHTTPRequestHandler):
    """A model repository over HTTP: `files` by name; `sent` stands for what is sent in their place."""

    files: dict[str, bytes]
    sent: dict[str, bytes]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            self._json([self._described(name) for name in self.files])
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": REPOSITORY, "modelId": REPOSITORY, "sha": REVISION, "siblings": siblings})
        elif path.startswith(f"/{REPOSITORY}/resolve/") and name in self.files:
            content = self.sent.get(name, self.files[name])
            described = self._described(name)
            headers = {"ETag": f'"{described["oid"]}"', "X-Repo-Commit": REVISION}
            if "lfs" in described:
                headers |= {"X-Linked-Etag": f'"{described["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
            self._send(200, content if body else b"", {**headers, "Content-Length": str(len(content))})
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound", "Content-Length": "0"})

    def _described(self, name: str) -> dict:
        content = self.files[name]
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        found = {"type": "file", "path": name, "size": len(content), "oid": git}
        if len(content) > 1_000_000:
            found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return found

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._send(200, body, {"Content-Type": "application/json", "Content-Length": str(len(body))})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def hub(folder) -> Iterator[type[Hub]]:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    served = type("Served", (Hub,), {"files": files, "sent": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    served.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def pull_from(address: str, home: Path, name: str = "whisper-tiny.en") -> str:
    """What pulling says, in a process of its own: the client reads its settings when it is imported."""
    script = (
        "import sys; from mmstream import registry\n"
        "try: print(registry.pull(sys.argv[1]).path)\n"
        "except registry.ModelError as error: print(error)\n"
    )
    settings = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, name], env={**os.environ, **settings}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_model_pulled_from_the_hub(home, hub):
    path = home / "models" / "whisper-tiny.en"
    assert pull_from(hub.address, home) == str(path)
    manifest = json.loads((path / "mmstream.json").read_text())
    assert manifest["source"] == f"hub {REPOSITORY}@{REVISION}"
    assert sorted(manifest["files"]) == ["config.json", "model.bin", "tokenizer.json", "vocabulary.json"]
    assert (path / "model.bin").read_bytes() == hub.files["model.bin"]
    assert verify("whisper-tiny.en") == 4
    assert names_in(home / "models") == ["whisper-tiny.en"]


@pytest.mark.parametrize("name", ["model.bin", "config.json"])
def test_a_hub_that_sends_something_else_than_it_promised(home, hub, name):
    content = bytearray(hub.files[name])
    content[-1] ^= 1
    hub.sent[name] = bytes(content)
    assert pull_from(hub.address, home) == f"{REPOSITORY}: {name} arrived with the wrong checksum; try again"
    assert registry.pulled_names() == []
    hub.sent.clear()
    assert pull_from(hub.address, home) == str(home / "models" / "whisper-tiny.en")


def test_a_hub_that_is_not_there(home):
    message = pull_from("http://127.0.0.1:9", home)
    assert message == (
        f"{REPOSITORY} cannot be fetched from the Hugging Face hub: [Errno 111] Connection refused; "
        "a model that you have as a folder comes with --from FOLDER"
    )
    assert names_in(home / "models") == []
    assert registry.pulled_names() == []


def test_a_hub_that_has_no_such_model(home, hub):
    message = pull_from(hub.address, home, "whisper-tiny")
    assert message.startswith(
        "Systran/faster-whisper-tiny cannot be fetched from the Hugging Face hub: Client error '404"
    )
    assert message.endswith("; a model that you have as a folder comes with --from FOLDER")
    assert "\n" not in message
