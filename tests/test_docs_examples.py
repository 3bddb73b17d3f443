"""The examples of the documents, run as they stand there against a real server."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import WEATHER, say
from tests.media_samples import ffmpeg, require
from tests.serving import served

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "live_client.py"
TIMEOUT_S = 60
MOST_LINES = 20  # that say something


@pytest.fixture(scope="module")
def server():
    with served("sphinx", translate=["de", "fr"]) as one:
        yield one


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    return say(tmp_path_factory.mktemp("media") / "talk.wav", WEATHER)


def test_the_example_in_python_prints_the_words(server, talk):
    done = subprocess.run(
        [sys.executable, EXAMPLE, server.live, talk, "de"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shouted = " ".join(f"de:{word.upper()}" for word in WEATHER.split())
    assert re.fullmatch(rf"(0\.\d+) en {WEATHER}\n\1 de {shouted}\.\n", done.stdout), done.stdout
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(("import", "from", '"'))]
    assert len(lines) <= MOST_LINES


def test_the_example_with_curl_answers(server, talk):
    require("curl")
    (command,) = re.findall(r"^curl .*/v1/audio/transcriptions$", (ROOT / "docs" / "protocol.md").read_text(), re.M)
    command = command.replace("http://localhost:8000", server.url)
    done = subprocess.run(
        shlex.split(command), cwd=talk.parent, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"].strip() == WEATHER


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_with_clients_of_others(server, talk, number):
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "apis.md").read_text(), re.M | re.S)[number]
    code = code.replace("localhost:8000", f"{server.host}:{server.port}")
    ffmpeg("-i", talk, "-f", "s16le", "-ar", 16_000, "-ac", 1, talk.with_name("talk.raw"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=talk.parent, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert " ".join(re.sub(r"^\d+\.\d\d ", "", done.stdout, flags=re.M).split()) == WEATHER
