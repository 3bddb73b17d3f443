"""The book of sessions: where each lives, and when it has ended everywhere."""

import threading

import pytest

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Ledger
from mmstream.graph import WorkerSpec
from mmstream.lane import LaneReport
from mmstream.outcome import Outcome
from tests.conftest import WAIT_S


@pytest.fixture
def given_up():
    return []


@pytest.fixture
def ledger(given_up):
    specs = {"edge": WorkerSpec("edge", ("mic",)), "decode": WorkerSpec("decode", ("sphinx",), replicas=2)}
    return Ledger(specs, lambda session, error: given_up.append((session, str(error))))


def outcome(session, worker, error=None, dropped=0):
    lanes = (LaneReport("a->b", session, 8, 3, dropped),)
    return Outcome(session, worker, MmstreamError(error) if error else None, lanes)


def test_sessions_go_to_the_least_loaded_replica(ledger):
    pins = [ledger.pin(f"s{number}")["decode"] for number in range(4)]
    assert sorted(pins) == [("decode", 0), ("decode", 0), ("decode", 1), ("decode", 1)]
    for session in [name for name, pin in zip(["s0", "s1", "s2", "s3"], pins, strict=True) if pin == ("decode", 1)]:
        ledger.report(outcome(session, "edge"))
        ledger.report(outcome(session, "decode"))
    assert ledger.pin("s4")["decode"] == ("decode", 1)
    assert ledger.replica("s4", "decode") == ("decode", 1)
    assert ledger.replica("s4", "edge") == ("edge", 0)
    assert set(ledger.sessions(("decode", 0))) == {
        name for name, pin in zip(["s0", "s1", "s2", "s3"], pins, strict=True) if pin[1] == 0
    }


def test_a_session_has_one_name(ledger):
    ledger.pin("s")
    with pytest.raises(MmstreamError, match="session 's' is already open"):
        ledger.pin("s")


def test_a_session_ends_once_every_worker_has_said_so(ledger, given_up):
    ledger.pin("s")
    ledger.report(outcome("s", "edge", dropped=2))
    assert ledger.wait(0.0) is None
    assert ledger.sessions() == ("s",)
    ledger.report(outcome("s", "decode", dropped=3))
    result = ledger.wait(0.0)
    assert (result.session, result.error, result.dropped, len(result.lanes)) == ("s", None, 5, 2)
    assert ledger.sessions() == ()
    assert not given_up
    ledger.pin("s")


def test_the_first_fault_counts_and_ends_the_session_elsewhere(ledger, given_up):
    ledger.pin("s")
    assert ledger.fault("s") is None
    ledger.report(outcome("s", "decode", "the model broke"))
    assert given_up == [("s", "the model broke")]
    assert str(ledger.fault("s")) == "the model broke"
    ledger.report(outcome("s", "edge", "given up"))
    assert str(ledger.wait(0.0).error) == "the model broke"
    assert len(given_up) == 1
    assert ledger.fault("s") is None


def test_what_is_said_about_no_session_is_ignored(ledger, given_up):
    ledger.report(outcome("ghost", "edge", "boo"))
    assert ledger.wait(0.0) is None
    assert not given_up


def test_nothing_is_pinned_to_a_buried_replica(ledger):
    ledger.bury(("decode", 0))
    assert {ledger.pin(f"s{number}")["decode"] for number in range(3)} == {("decode", 1)}
    ledger.bury(("decode", 1))
    with pytest.raises(MmstreamError, match="no replica of worker 'decode' is left to run session 's9'"):
        ledger.pin("s9")
    assert "s9" not in ledger.sessions()


def test_wait_gives_none_when_nothing_is_open(ledger):
    assert ledger.wait(None) is None


def test_wait_waits_for_the_next_result(ledger):
    ledger.pin("s")
    results = []
    waiting = threading.Thread(target=lambda: results.append(ledger.wait(WAIT_S)), daemon=True)
    waiting.start()
    ledger.report(outcome("s", "edge"))
    ledger.report(outcome("s", "decode"))
    waiting.join(WAIT_S)
    assert results[0].session == "s"


def test_end_all_ends_what_no_worker_would(ledger):
    for session in "ab":
        ledger.pin(session)
    ledger.report(outcome("a", "edge"))
    ledger.end_all(MmstreamError("closed"))
    assert {str(ledger.wait(0.0).error) for _ in range(2)} == {"closed"}
    assert ledger.sessions() == ()
