"""Fixtures that several test modules share."""

import logging
import os
import queue
import tempfile
import threading

import pytest
from hypothesis import settings

from mmstream.worker import Worker

settings.register_profile("busy", deadline=None)  # a busy machine is no fault
settings.load_profile("busy")

WAIT_S = 10.0


@pytest.fixture(scope="session")
def ray_cluster():
    """One Ray for the whole test session; a RayExecutor joins it and leaves it running."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default is 15: slow calls on a busy machine
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where servers keep uploads: apart from those of other test processes."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture
def no_thread_left():
    """Every thread of the runtime that the test has started ends soon after it."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("mmstream"):
            thread.join(WAIT_S)
            assert not thread.is_alive(), thread


class Running:
    """One worker in a thread, with everything in it; ``outcome`` waits for the next session that ends."""

    def __init__(self, made):
        (spec,) = made.workers.values()
        self.outcomes = queue.Queue()
        self.delivered = []
        self.fault = None
        self.worker = Worker(made, spec, self, self.outcomes.put)
        self.worker.build()
        self.thread = threading.Thread(target=self._run, name="worker under test", daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.worker.run()
        except RuntimeError as error:
            self.fault = error

    def deliver(self, edge, packet, epoch, *, wait):
        self.delivered.append(packet)

    def has_room(self, edge, session):
        return True

    def session(self, name="s", arguments=None):
        self.worker.open(name)
        self.worker.start(name, arguments)

    def outcome(self):
        return self.outcomes.get(timeout=WAIT_S)

    def close(self):
        self.worker.close()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def run():
    running = []

    def start(made):
        running.append(Running(made))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def diary():
    return []


@pytest.fixture
def kept():
    return {}
