"""How sessions of a worker end, and that nothing of them is left behind."""

import threading

import numpy as np
import pytest

from mmstream import worker as worker_module
from mmstream.core import MmstreamError
from mmstream.feed import Feed
from tests import toys
from tests.conftest import WAIT_S, Running
from tests.toys import chain, node, numbers


def test_stop_lets_the_last_words_out(run, kept):
    gate = threading.Event()
    made = chain(kept, node("add", toys.Add), source=node("source", toys.Tone, endless=True))
    made.nodes["keep"].arguments["gate"] = gate
    one = run(made)
    one.session()
    one.worker.stop("s")
    gate.set()
    assert one.outcome().error is None
    values = numbers(kept["s"])
    assert values[-1] == -1
    assert values[:-1] == list(np.cumsum(range(len(values) - 1)))


def test_a_source_that_is_stopped_before_it_begins_ends(run, kept):
    one = run(chain(kept, source=node("source", toys.Tone, endless=True)))
    for number in range(20):
        one.session(f"s{number}")
        one.worker.stop(f"s{number}")
    assert {one.outcome().error for _ in range(20)} == {None}


def test_abort_leaves_nothing_written(run, diary, kept):
    one = run(chain(kept, node("spy", toys.Spy, diary=diary), source=node("source", toys.Tone, endless=True)))
    one.session()
    one.worker.abort("s", MmstreamError("enough"))
    outcome = one.outcome()
    assert str(outcome.error) == "enough"
    one.close()
    assert not kept
    calls = [call for call, _, _ in diary]
    assert calls.count("discard") == 1
    assert "flush" not in calls


def test_closing_the_worker_gives_up_what_is_open(run, diary, kept):
    one = run(chain(kept, node("spy", toys.Spy, diary=diary), source=node("source", toys.Tone, endless=True)))
    one.session()
    one.close()
    assert "aborted" in str(one.outcome().error)
    assert [call for call, _, _ in diary if call in ("discard", "flush", "close")] == ["discard", "close"]


def test_a_session_can_be_opened_again_after_it_has_ended(run, kept):
    one = run(chain(kept, node("add", toys.Add)))
    for count in (3, 5):
        one.session("s", {"source": {"count": count}})
        assert one.outcome().error is None
        assert numbers(kept["s"]) == [*np.cumsum(range(count)), -1]


def test_what_is_left_of_a_session_does_not_touch_the_next_one_of_its_name(run, kept):
    """The source of the first is still at work when the second opens; later the first is aborted once more."""
    gate = threading.Event()

    class Slow(toys.Tone):
        def packets(self, session):
            for packet in super().packets(session):
                yield packet
                if self.count == 99:
                    first_is_out.set()
                    gate.wait(WAIT_S)

    first_is_out = threading.Event()
    one = run(chain(kept, node("add", toys.Add), source=node("source", Slow, count=3)))
    one.session("s", {"source": {"count": 99}})
    assert first_is_out.wait(WAIT_S)
    one.worker.abort("s", MmstreamError("enough"))
    one.worker.abort("s", MmstreamError("enough of it"))
    assert one.outcome().error is not None
    old = [thread for thread in threading.enumerate() if thread.name == "mmstream-source"]
    ready = threading.Event()
    one.worker.inbox.call(lambda: ready.wait(WAIT_S))  # so that the second waits in the queue with its packets
    one.session("s")
    gate.set()
    for thread in old:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    ready.set()
    assert one.outcome().error is None
    assert numbers(kept["s"]) == [0, 1, 3, -1]


def test_a_late_word_of_an_old_session_does_not_end_the_next_one_of_its_name(run, kept):
    one = run(chain(kept, source=node("source", toys.Tone, endless=True)))
    opened = threading.Event()
    one.session()
    hold = threading.Event()
    one.worker.inbox.call(lambda: hold.wait(WAIT_S))
    one.worker.abort("s", MmstreamError("enough"))
    one.worker.inbox.call(lambda: opened.wait(WAIT_S))
    one.worker.abort("s", MmstreamError("enough of it"))
    hold.set()
    assert str(one.outcome().error) == "enough"
    one.session("s", {"source": {"endless": False}})
    opened.set()
    assert one.outcome().error is None


def test_a_session_that_fails_while_it_starts_leaves_no_source_running(run, kept, monkeypatch):
    one = run(chain(kept, source=node("source", toys.Tone, endless=True)))

    class Late(Feed):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            one.worker.abort("s", MmstreamError("enough"))
            assert one.outcome().error is not None

        def start(self):
            started.append(self)

    started = []
    monkeypatch.setattr(worker_module, "Feed", Late)
    one.session()
    assert not started


@pytest.mark.usefixtures("no_thread_left")
def test_many_sessions_leave_nothing_behind(run, kept):
    one = run(chain(kept, node("add", toys.Add, fail_at=3)))
    before = {name: len(value) for name, value in sizes(one.worker).items()}
    for number in range(100):
        one.session(f"s{number}", {"source": {"count": 2 + number % 4}})
        one.outcome()
    assert {name: len(value) for name, value in sizes(one.worker).items()} == before
    assert len(kept) == 50


def sizes(worker):
    """Every collection that a worker and its inbox keep."""
    return {
        f"{type(owner).__name__}.{name}": value
        for owner in (worker, worker.inbox)
        for name, value in vars(owner).items()
        if hasattr(value, "__len__")
    }


def test_a_fault_of_the_runtime_itself_is_told_to_every_session(kept, caplog):
    made = chain(kept, source=node("source", toys.Tone, endless=True))
    one = Running(made)
    one.session()

    def break_down():
        raise RuntimeError("out of luck")

    one.worker.inbox.call(break_down)
    assert str(one.outcome().error) == "worker 'main' failed: RuntimeError: out of luck"
    one.thread.join(WAIT_S)
    assert isinstance(one.fault, RuntimeError)
    one.session("late")
    assert str(one.outcome().error) == "worker 'main' failed: RuntimeError: out of luck"
