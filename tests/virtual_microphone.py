"""A microphone that tests speak into: a private PulseAudio server whose only source hears what ``speak`` plays.

PortAudio looks for devices when it is first used, so sound is captured in a process that was started with ``env``::

    def test_listens(virtual_microphone, tmp_path):
        process = subprocess.Popen([sys.executable, "-m", "mmstream", "live"], env=virtual_microphone.env)
        virtual_microphone.speak(speak(tmp_path / "words.wav", "bin blue at f two now"))
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.media_samples import require

START_S = 10.0
SETTLE_S = 0.5  # a stream hears nothing for some 0.15 s, and PortAudio opens one for a moment to try the device

# One ALSA device, "pulse", which is also the default: the machine's own sound cards stay out of the tests.
ALSA = "pcm.pulse { type pulse }\nctl.pulse { type pulse }\npcm.!default { type pulse }\nctl.!default { type pulse }\n"


class VirtualMicrophone:
    """A running server. ``env`` is the environment for processes that are to use it."""

    device = "pulse"  # the name under which PortAudio shows it

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self._socket = folder / "native"
        (folder / "alsa.conf").write_text(ALSA)
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_COOKIE": str(folder / "cookie"),
            "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
        }
        self._log = folder / "pulseaudio.log"
        with self._log.open("w") as log:
            self._server = subprocess.Popen(self._command(), env=self.env, stdout=log, stderr=log)

    def _command(self) -> list[str]:
        # Without norewinds=1 the sink works in steps of up to two seconds, and so would the microphone.
        modules = (
            f"module-native-protocol-unix socket={self._socket} auth-anonymous=1",
            "module-null-sink sink_name=speaker rate=48000 channels=1 norewinds=1",
            "module-remap-source source_name=microphone master=speaker.monitor",
        )
        return [
            *(require("pulseaudio"), "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=300"),
            *("-n", "--disable-shm=yes", "--log-level=notice", *(f"--load={module}" for module in modules)),
        ]

    def wait_until_ready(self) -> None:
        give_up_at = time.monotonic() + START_S
        while self._pactl("set-default-source", "microphone").returncode:
            if self._server.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"pulseaudio did not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def _pactl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [require("pactl"), *arguments], env=self.env, capture_output=True, text=True, timeout=START_S
        )

    def speak(self, path: Path, timeout_s: float = 120.0) -> None:
        """Play a sound file; returns when all of it has been played."""
        subprocess.run([require("paplay"), str(path)], env=self.env, check=True, timeout=timeout_s)

    def listeners(self) -> set[str]:
        """The streams that record from it now; the module that makes the microphone has one of its own."""
        lines = self._pactl("list", "short", "source-outputs").stdout.splitlines()
        return {line.split()[0] for line in lines if "module-remap-source" not in line}

    def wait_for_listener(self, timeout_s: float = 30.0) -> None:
        """Return once somebody records and hears: what is spoken before that is lost."""
        give_up_at = time.monotonic() + timeout_s
        since: dict[str, float] = {}  # streams, and when they were first seen
        while True:
            now = time.monotonic()
            since = {stream: since.get(stream, now) for stream in self.listeners()}
            if any(now - seen >= SETTLE_S for seen in since.values()):
                return
            if now > give_up_at:
                raise TimeoutError(f"nobody listened within {timeout_s:g} s")
            time.sleep(0.02)

    def unplug(self) -> None:
        """Take the microphone and everything it could be replaced by away, as when a USB plug is pulled."""
        self._pactl("unload-module", "module-remap-source")
        self._pactl("unload-module", "module-null-sink")

    def close(self) -> None:
        self._server.terminate()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


@pytest.fixture
def virtual_microphone() -> Iterator[VirtualMicrophone]:
    """A fresh virtual microphone; it takes about a quarter of a second to start."""
    require("paplay")
    folder = Path(tempfile.mkdtemp(prefix="mmstream-pulse-"))  # a socket's path must be short: tmp_path may not be
    microphone = VirtualMicrophone(folder)
    try:
        microphone.wait_until_ready()
        yield microphone
    finally:
        microphone.close()
        shutil.rmtree(folder, ignore_errors=True)
