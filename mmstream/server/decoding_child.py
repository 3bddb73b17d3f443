"""The processes that decode what strangers send: a zygote with the libraries loaded, and a child for each session.

Started by ``mmstream.server.decoding_zygote`` as ``python -m mmstream.server.decoding_child FD``. The zygote never
sees any media: it makes children on demand, kills them when it is told to and says how they ended. A child can open
nothing: it has one socket, and in file mode the open file, and its limit for open files is what it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import math
import os
import pkgutil
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from mmstream.server.decoding_media import Outlet, Pieces, decode
from mmstream.server.decoding_wire import (
    COULD_NOT_FORK,
    FAULT,
    LENGTH,
    READY,
    REFUSED,
    STATUS,
    DecodingLimits,
    Job,
    write_end,
)
from operators.sources.container import import_av
from operators.sources.errors import SourceError

SESSION_FD, FILE_FD = 3, 4  # in a child

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


class Zygote:
    """Makes, kills and buries children. Single-threaded, so that a fork is safe."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lives: dict[int, socket.socket] = {}  # of the children, by process id
        self._selector = selectors.DefaultSelector()
        self._deaths, wakes = socket.socketpair()
        self._deaths.setblocking(False)
        wakes.setblocking(False)
        self._wakes = wakes
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the server closes its end, or is gone; then no child is left."""
        try:
            self._control.sendall(READY)
            serving = True
            while serving:
                for key, _ in self._selector.select():
                    if key.fileobj is self._control:
                        serving = self._spawn()
                    elif key.fileobj is self._deaths:
                        self._bury()
                    elif self._lives.get(key.data) is key.fileobj:  # the session has ended
                        self._selector.unregister(key.fileobj)
                        self._kill(key.data)
        finally:
            for pid in self._lives:
                self._kill(pid)

    def _spawn(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 3)
        if not message:
            return False
        if len(descriptors) < 2:  # there was no room for them: closing them says that nothing came of it
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        zygote = os.getpid()
        life = socket.socket(fileno=descriptors[0])
        try:
            pid = os.fork()
        except OSError:
            life.sendall(STATUS.pack(COULD_NOT_FORK))
            life.close()
        else:
            if pid == 0:
                _be_child(descriptors[1:], zygote)
            self._lives[pid] = life
            self._selector.register(life, selectors.EVENT_READ, pid)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        return True

    def _kill(self, pid: int) -> None:
        if pid in self._lives:  # not buried yet, so the number is still its own
            os.kill(pid, signal.SIGKILL)

    def _bury(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._deaths.recv(4096):
                pass
        while self._lives:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            life = self._lives.pop(pid)
            if life in self._selector.get_map():
                self._selector.unregister(life)
            with contextlib.suppress(OSError):  # nobody wants to know any more
                life.sendall(STATUS.pack(status))
            life.close()


def _be_child(descriptors: list[int], zygote: int) -> None:
    """Decode one session in a process that was just made; never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _keep_only(descriptors)
        code = _run_job(socket.socket(fileno=SESSION_FD), zygote)
    finally:
        os._exit(code)


def _keep_only(descriptors: list[int]) -> None:
    """Close every file but these, which become SESSION_FD and FILE_FD; nothing goes to the terminal any more."""
    os.dup2(0, 1)
    os.dup2(0, 2)  # /dev/null
    highest = max(descriptors) + 1
    kept = [os.dup2(descriptor, highest + FILE_FD + place) for place, descriptor in enumerate(descriptors)]
    os.closerange(SESSION_FD, kept[0])
    for place, descriptor in enumerate(kept):
        os.dup2(descriptor, SESSION_FD + place)
    os.closerange(SESSION_FD + len(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _run_job(session: socket.socket, zygote: int) -> int:
    """Do what the server asks for; the exit status."""
    job = _read_job(session)
    _confine(job.limits, zygote, open_files=FILE_FD if job.mode == "live" else FILE_FD + 1)
    outlet = Outlet(session, Allowance(job.limits))
    file = None if job.mode == "live" else os.fdopen(FILE_FD, "rb", buffering=0)
    kind, text = REFUSED, ""
    try:
        decode(Pieces(session) if file is None else file, outlet, job)
        return 0
    except ConnectionError:
        return 0  # the session has ended
    except SourceError as error:
        text = str(error)
    except MemoryError:
        text = f"the media takes more than {job.limits.memory_mb} MB of memory to decode"
    except Exception as error:  # noqa: BLE001 - the process ends with it
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind, text = FAULT, f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    with contextlib.suppress(ConnectionError):
        for part in write_end(kind, text):
            session.sendall(part)
    return 0


def _read_job(session: socket.socket) -> Job:
    (length,) = LENGTH.unpack(session.recv(LENGTH.size, socket.MSG_WAITALL))
    fields = json.loads(session.recv(length, socket.MSG_WAITALL))
    return Job(fields["mode"], fields["streams"], DecodingLimits(**fields["limits"]))


def _confine(limits: DecodingLimits, zygote: int, open_files: int) -> None:
    """Give up, for good, all that decoding does not need."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory = pages * resource.getpagesize() + limits.memory_mb * 1_000_000
        _set_limit(resource.RLIMIT_AS, memory)
        Path("/proc/self/oom_score_adj").write_text("1000")  # if somebody has to go, then not the server
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    _set_limit(resource.RLIMIT_NPROC, 0)  # no threads either
    _set_limit(resource.RLIMIT_NOFILE, open_files)
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other child of this user may look into it
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # of the zygote, which buries what dies
    if os.getppid() != zygote:
        raise ConnectionError("the zygote is gone")


def _set_limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


class Allowance:
    """The processor time that is left: so much until the next packet, so much in all. Past it the kernel kills."""

    def __init__(self, limits: DecodingLimits) -> None:
        self._each_s = limits.cpu_s
        self._total_s = math.ceil(time.process_time()) + limits.total_cpu_s
        self._until_s = 0
        self.renew()

    def renew(self) -> None:
        """A packet has come."""
        until_s = min(math.ceil(time.process_time()) + self._each_s, self._total_s)
        if until_s > self._until_s:
            self._until_s = until_s
            resource.setrlimit(resource.RLIMIT_CPU, (until_s, self._total_s))


def main() -> None:
    """Be the zygote of the server at the other end of the socket."""
    av = import_av()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # a child cannot open a file: all is imported before
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends sessions in its own order
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    gc.collect()
    gc.freeze()  # children share these pages as long as nobody touches them
    with contextlib.suppress(ConnectionError):  # the server is gone
        Zygote(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
