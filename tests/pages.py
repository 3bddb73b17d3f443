"""The server's page as a visitor has it: a server of its own, and a browser whose microphone and camera play a file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.command_line import BANK, COMMAND, STATES, WEATHER, say
from tests.media_samples import DATA, ffmpeg, missing

TIMEOUT_S = 60.0
SESSIONS = 3  # that the server lets in
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CLIPS = 2  # of GRID's speaker s1, 3 s each


@dataclass(frozen=True)
class Spoken:
    """What the microphone and the camera play, once."""

    sound: Path
    pictures: Path | None
    texts: list[str]  # one an utterance
    model: str
    file: Path  # the first utterance, as a file to upload


def spoken_sample(folder: Path) -> Spoken:
    """Clips of GRID where they are; otherwise a voice made here, without a face."""
    manifest = DATA / "grid" / "dev_seen.jsonl"
    if not manifest.exists():
        texts = [WEATHER, BANK, STATES]
        sound = say(folder / "spoken.wav", *texts, options=("-ar", 48_000))
        return Spoken(sound, None, texts, "sphinx", say(folder / "first.wav", texts[0]))
    lines = [json.loads(line) for line in manifest.read_text().splitlines()[:CLIPS]]
    clips = [manifest.parent / line["media"] for line in lines]
    listed = folder / "clips.txt"
    listed.write_text("".join(f"file '{clip}'\n" for clip in clips))
    sound, pictures = folder / "spoken.wav", folder / "spoken.mjpeg"
    ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-vn", "-ar", 48_000, "-ac", 1, sound)
    ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-an", "-q:v", 3, "-r", 25, pictures)
    return Spoken(sound, pictures, [line["text"] for line in lines], "avsr", clips[0])


class Server:
    """``mmstream serve`` in a process of its own; it keeps its port when it is started again."""

    def __init__(self, model: str, *options: str) -> None:
        self._command = [COMMAND, "serve", "--model", model, "--sessions", str(SESSIONS), *options]
        self.port = 0
        self.start()

    def start(self) -> None:
        """Return once it serves."""
        command = [*self._command, "--port", str(self.port)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
        said = deque[str](maxlen=20)
        assert self._process.stderr is not None
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                threading.Thread(target=deque, args=(self._process.stderr, 0), daemon=True).start()  # reads it dry
                return
        raise AssertionError("".join(said))

    def kill(self) -> None:
        """As by a crash: nobody is told anything."""
        self._process.kill()
        self._process.wait(TIMEOUT_S)

    def kill_busiest_actor(self) -> None:
        """Kill the replica that has done most, of those that Ray runs for this server."""
        actors = [pid for pid, title in _descendants(self._process.pid).items() if title.startswith("ray::Host")]
        assert len(actors) >= 2, actors
        os.kill(max(actors, key=_worked), signal.SIGKILL)

    def close(self) -> None:
        """As by Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(TIMEOUT_S)
        finally:
            self._process.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _descendants(root: int) -> dict[int, str]:
    """Processes that come from ``root``, and their titles."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(folder.name)] = (folder / "cmdline").read_text(errors="replace")
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: titles.get(pid, "") for pid in found}


def _worked(pid: int) -> int:
    """Clock ticks of CPU."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextlib.contextmanager
def browser_that_plays(spoken: Spoken) -> Iterator[Browser]:
    """A headless Chromium. Every page that opens the devices hears and sees the sample from its beginning."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing("chromium (apt install chromium)")
    arguments = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={spoken.sound}%noloop"]
    if spoken.pictures is not None:
        arguments.append(f"--use-file-for-fake-video-capture={spoken.pictures}")
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    expect.set_options(timeout=1000 * TIMEOUT_S)  # its 5 s are short on a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


class Visit:
    """One page in a context of its own, and everything that went wrong on it."""

    def __init__(self, browser: Browser, url: str, *, allowed: bool = True, width: int = 1280) -> None:
        """``allowed``: the visitor lets the page have the microphone and the camera."""
        self.faults: list[str] = []
        self.sent: list[dict[str, Any]] = []  # control messages of live sessions
        granted = ["microphone", "camera"] if allowed else []
        self._context = browser.new_context(permissions=granted, viewport={"width": width, "height": 740})
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(1000 * TIMEOUT_S)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("websocket", lambda socket: socket.on("framesent", self._note))
        self.url = url

    def open(self) -> Page:
        self.page.goto(self.url)
        self.page.locator("#model option").first.wait_for(state="attached")
        return self.page

    def listen(self, *, camera: bool = False) -> None:
        if camera:
            self.page.select_option("#camera", index=1)
        self.page.get_by_role("button", name="Start", exact=True).click()

    def stop(self) -> None:
        """Stop, and wait for the last words."""
        self.page.get_by_role("button", name="Stop", exact=True).click()
        self.page.get_by_role("button", name="Start", exact=True).wait_for()

    def captions(self) -> list[str]:
        """The texts of those that are final."""
        return self.page.locator("#sections .line.final .text").all_inner_texts()

    def notice(self, code: str) -> str:
        """The message of that code, once it is shown."""
        return str(self.page.locator(f'.notice[data-code="{code}"]').inner_text())

    def close(self) -> None:
        self._context.close()

    def _note(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self.sent.append(json.loads(frame))


@pytest.fixture
def visit(browser, server):
    """Makes visits; at the end nothing may have gone wrong on any of them."""
    visits = []

    def make(**wishes):
        visits.append(Visit(browser, server.url, **wishes))
        visits[-1].open()
        return visits[-1]

    yield make
    for one in visits:
        one.close()
    assert [fault for one in visits for fault in one.faults] == []


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds serious, with the elements, once colours have stopped fading into one another."""
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
