"""Workers killed and machines lost under live sessions: a short form of ``make chaos``, in a Ray of its own."""

import json

import pytest

from tests.command_line import mmstream

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]


@pytest.mark.parametrize(("way", "faults", "more"), [("kill", 4, ["--translate", "de"]), ("node", 1, [])])
def test_no_word_is_lost_or_shown_twice(way, faults, more):
    options = ["--way", way, "--faults", faults, "--seconds", 25, "--sessions", 4, "--model", "stub", "--json", *more]
    ended = mmstream("bench", "chaos", *options, *(["--standby"] if way == "kill" else []), timeout_s=240)
    assert ended.code == 0, ended.err
    found = json.loads(ended.out.splitlines()[-1])
    assert found["kills"] == faults
    assert (found["words_lost"], found["words_twice"], found["errors"]) == (0, 0, [])
    figures = {figure["name"]: figure["median"] for figure in found["figures"]}
    assert [value for name, value in figures.items() if "not byte-equal" in name] == [0.0]
    assert found["recovery_s"]["p95"] < 20  # the machine may be busy; `make chaos` measures
