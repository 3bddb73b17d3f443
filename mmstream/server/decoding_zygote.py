"""The server's side of the decoding processes: starts the zygote, asks it for children, learns how they end."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from mmstream.core import MmstreamError
from mmstream.server.decoding_wire import COULD_NOT_FORK, SPAWN, STATUS

log = logging.getLogger(__name__)

START_S = 60.0  # the longest that a zygote may take to load its libraries
ANSWER_S = 10.0  # the longest that it may take for anything else: it is never busy
_ROOT = Path(__file__).resolve().parents[2]  # where the package is found

# What a decoding process gets to know of the server's environment. Not here: tokens and keys.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR")


class DecoderUnavailable(MmstreamError):  # noqa: N818 - the server's trouble, not the media's
    """No decoding process can be had; the media is not to blame."""


class Child:
    """One decoding process. ``session`` is its socket; ``kill`` and ``close`` from any thread."""

    def __init__(self, session: socket.socket, life: socket.socket) -> None:
        self.session = session
        self._life = life

    def kill(self) -> None:
        """End it now, whatever it does; returns at once."""
        _shut(self._life, socket.SHUT_WR)

    def wait(self) -> int | None:
        """How it ended, as ``os.waitpid`` says, once it has; None where nobody knows any more, or it never began."""
        self._life.settimeout(ANSWER_S)
        try:
            message = self._life.recv(STATUS.size, socket.MSG_WAITALL)
        except OSError:
            return None
        status: int = STATUS.unpack(message)[0] if len(message) == STATUS.size else COULD_NOT_FORK
        return None if status == COULD_NOT_FORK else status

    def hang_up(self) -> None:
        """Wake whoever waits at its socket; it ends, too."""
        self.kill()
        _shut(self.session, socket.SHUT_RDWR)

    def close(self) -> None:
        """It ends, and so do our descriptors."""
        self._life.close()
        self.session.close()


class Zygote:
    """The process that children are made of; started on demand, and again should it die. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Load the libraries now, so that the first session need not wait for it. Takes some tenths of a second.

        Raises:
            DecoderUnavailable: it cannot be started.
        """
        with self._lock:
            self._start()

    def spawn(self, file: int | None = None) -> Child:
        """A new child, in about a millisecond; ``file``: the descriptor that it may read.

        Raises:
            DecoderUnavailable: there is none to be had.
        """
        session, its_session = socket.socketpair()
        life, its_life = socket.socketpair()
        theirs = [its_life.fileno(), its_session.fileno(), *([] if file is None else [file])]
        with self._lock, its_session, its_life:
            for _ in range(2):
                control = self._start()
                try:
                    socket.send_fds(control, [SPAWN], theirs)
                    return Child(session, life)
                except OSError as error:
                    log.warning("the decoding process is gone (%s); starting another", error)
                    self._stop()
        session.close()
        life.close()
        raise DecoderUnavailable("no decoding process can be started")

    def close(self) -> None:
        """End it and all its children. The next ``spawn`` starts another."""
        with self._lock:
            self._stop()

    def _start(self) -> socket.socket:
        if self._control is not None:
            return self._control
        control, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mmstream.server.decoding_child", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the server: it lets sessions end in order
            )
        self._process, self._control = process, control
        control.settimeout(START_S)
        try:
            ready = control.recv(1)
        except OSError:
            ready = b""
        if not ready:
            self._stop()
            raise DecoderUnavailable("the decoding process cannot be started; its own message stands above")
        control.settimeout(ANSWER_S)
        return control

    def _stop(self) -> None:
        process, control = self._process, self._control
        self._process = self._control = None
        if control is not None:
            control.close()
        if process is not None:
            try:
                process.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _shut(end: socket.socket, how: int) -> None:
    try:
        end.shutdown(how)
    except OSError:
        return  # it is closed already


_shared: Zygote | None = None
_shared_lock = threading.Lock()


def shared_zygote() -> Zygote:
    """The one of this process, started when it is first needed; it ends with the process."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = Zygote()
            atexit.register(_shared.close)
        return _shared
