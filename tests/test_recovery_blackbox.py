"""What a worker was at, read by another process after it was killed."""

import os
import signal
import subprocess
import sys
import uuid

import pytest

from mmstream.recovery.blackbox import SIZE, BlackBox, box_path, read


@pytest.fixture
def name():
    made = uuid.uuid4().hex
    yield made
    box_path(made).unlink(missing_ok=True)


WRITER = """
import sys
from mmstream.recovery.blackbox import BlackBox
box = BlackBox(sys.argv[1])
box.note(("before", 1.0), ("and before", 22.25))
if sys.argv[2] == "clear":
    box.clear()
else:
    box.note(("a session", 3.1), ("b", 0.1 + 0.2))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("then", "found"), [("note", [("a session", 3.1), ("b", 0.1 + 0.2)]), ("clear", [])])
def test_it_outlives_a_killed_process_and_is_read_once(name, then, found):
    command = [sys.executable, "-c", WRITER, name, then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert read(name) == found
    assert not box_path(name).exists()
    assert read(name) == []


def test_a_worker_that_ended_well_leaves_nothing(name):
    box = BlackBox(name)
    box.note(("s", 1.0))
    box.close()
    assert not box_path(name).exists()


def test_more_than_it_holds_is_cut_and_still_read(name):
    box = BlackBox(name)
    box.note(*((f"session {number:04}", number / 4) for number in range(SIZE // 10)))
    found = read(name)
    assert len(found) > 500
    assert found[:-1] == [(f"session {number:04}", number / 4) for number in range(len(found) - 1)]
    box.close()
