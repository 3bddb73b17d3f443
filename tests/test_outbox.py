"""What may be sent to a peer: never more than it has room for, in order, and each lane in its turn."""

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mmstream.core import End, Operator, Packet, Watermark
from mmstream.executors import outbox as outbox_module
from mmstream.executors.outbox import Outbox
from mmstream.graph import Edge, Node
from mmstream.inbox import Inbox
from mmstream.join import Inlet
from mmstream.media import AudioChunk, Gap
from tests.conftest import WAIT_S

SOON_S = 0.05
NAMES = ("ear->fuse", "eye->fuse")


def edge(name=NAMES[0], capacity=4, overflow="block"):
    source, target = name.split("->")
    return Edge(source, target, (AudioChunk,), capacity, overflow)


def audio(start, session="s", samples=1):
    return Packet(session, float(start), start + 1.0, AudioChunk(np.zeros((samples, 1), np.float32), 16000), 0.0)


def control(data, at=0.0, session="s"):
    return Packet(session, at, at, data, 0.0)


def outbox(*sessions):
    made = Outbox()
    for session in sessions or ("s",):
        made.open(session)
    return made


def starts(batch):
    return [(packet.session, packet.start) for *_, packet in batch]


def key(session="s", name=NAMES[0]):
    return (name, session, 0)


def test_a_new_lane_may_send_as_much_as_the_peer_holds():
    one = outbox()
    for second in range(4):
        one.put(edge(), audio(second))
    assert starts(one.take()[0]) == [("s", 0), ("s", 1), ("s", 2), ("s", 3)]
    one.put(edge(), audio(4))
    batch, question = one.take(0.0)
    assert batch == []
    assert question.lanes == (key(),)


def test_credits_let_more_go():
    one = outbox()
    for second in range(4):
        one.put(edge(), audio(second))
    one.take()
    for second in range(4, 8):
        one.put(edge(), audio(second))
    one.grant({key(): 3})
    assert starts(one.take()[0]) == [("s", 4), ("s", 5), ("s", 6)]


def test_what_takes_no_room_needs_no_credit():
    one = outbox()
    one.put(edge(capacity=1), audio(0))
    one.put(edge(capacity=1), control(Watermark(), 1.0))
    one.put(edge(capacity=1), control(Gap("audio", "the device overflowed"), 1.0))
    one.put(edge(capacity=1), control(End(), 2.0))
    batch, question = one.take()
    assert [type(packet.data) for *_, packet in batch] == [AudioChunk, Watermark, Gap, End]
    assert question is None


def test_put_waits_for_room_and_take_makes_it():
    one = outbox()
    made = edge(capacity=1)
    one.put(made, audio(0))
    putting = threading.Thread(target=one.put, args=(made, audio(1)), daemon=True)
    putting.start()
    putting.join(SOON_S)
    assert putting.is_alive()
    assert starts(one.take()[0]) == [("s", 0)]
    putting.join(WAIT_S)
    assert not putting.is_alive()


@pytest.mark.parametrize(
    "release",
    [lambda one: one.close_session("s", deliver=False), lambda one: one.close_session("s", deliver=True), Outbox.close],
    ids=["drop", "deliver", "all"],
)
def test_closing_releases_whoever_waits_to_put(release):
    one = outbox()
    made = edge(capacity=1)
    one.put(made, audio(0))
    putting = threading.Thread(target=one.put, args=(made, audio(1)), daemon=True)
    putting.start()
    putting.join(SOON_S)
    assert putting.is_alive()
    release(one)
    putting.join(WAIT_S)
    assert not putting.is_alive()


def test_a_session_that_is_over_delivers_or_drops_what_is_queued():
    one = outbox("kept", "dropped")
    for session in ("kept", "dropped"):
        one.put(edge(), audio(0, session))
        one.close_session(session, deliver=session == "kept")
        one.put(edge(), audio(1, session))  # too late
    assert starts(one.take()[0]) == [("kept", 0)]


def test_a_lane_that_drops_never_waits():
    one = outbox()
    made = edge(capacity=2, overflow="drop_oldest")
    for second in range(5):
        one.put(made, audio(second))
    assert [type(packet.data) for *_, packet in one.take()[0]] == [Gap, AudioChunk, AudioChunk]


def test_take_waits_for_something_to_send_and_can_be_woken():
    one = outbox()
    taken = []
    taking = threading.Thread(target=lambda: taken.append(one.take(WAIT_S)), daemon=True)
    taking.start()
    one.put(edge(), audio(0))
    taking.join(WAIT_S)
    assert starts(taken[0][0]) == [("s", 0)]
    assert one.take(0.01) == ([], None)
    for release in (one.wake, one.close):
        taking = threading.Thread(target=one.take, daemon=True)
        taking.start()
        taking.join(SOON_S)
        assert taking.is_alive()
        release()
        taking.join(WAIT_S)
        assert not taking.is_alive()
    assert one.closed


def test_a_wake_before_take_is_not_missed():
    one = outbox()
    one.wake()
    assert one.take(None) == ([], None)


def test_a_batch_is_bounded_in_bytes_but_a_large_packet_still_goes(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_BYTES", 100)
    one = outbox()
    for second, samples in enumerate([10, 10, 100, 1]):
        one.put(edge(), audio(second, samples=samples))
    assert [len(one.take(0.0)[0]) for _ in range(4)] == [2, 1, 1, 0]


def test_a_batch_is_bounded_in_packets(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_PACKETS", 3)
    one = outbox()
    for second in range(4):
        one.put(edge(), audio(second))
    assert [len(one.take(0.0)[0]) for _ in range(3)] == [3, 1, 0]


def test_each_lane_has_its_turn_at_the_front(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_PACKETS", 2)
    one = outbox("busy", "calm")
    for second in range(4):
        one.put(edge(), audio(second, "busy"))
    one.put(edge(), audio(0, "calm"))
    one.take()
    one.grant({key("busy"): 4})
    assert ("calm", 0) in starts(one.take()[0])


# Questions about room


def starve(one, session="s", name=NAMES[0]):
    """Use up a lane's credits and leave one packet waiting."""
    one.put(edge(name, capacity=1), audio(0, session))
    one.take()
    one.grant({(name, session, 0): 0})
    one.put(edge(name, capacity=1), audio(1, session))


def test_a_question_is_asked_once_and_again_after_its_answer():
    one = outbox()
    starve(one)
    _, question = one.take()
    assert question.lanes == (key(),)
    assert one.take(0.0) == ([], None)
    one.answer(question, {key(): 0})
    assert one.take(0.0)[1].lanes == (key(),)


def test_a_lane_that_starves_later_is_asked_about_at_once():
    """Else its session would wait until the other one has room, which may be long."""
    one = outbox("stuck", "quick")
    starve(one, "stuck")
    _, first = one.take()
    starve(one, "quick")
    _, second = one.take(0.0)
    assert set(second.lanes) == {key("stuck"), key("quick")}
    assert second.number > first.number
    one.answer(first, {key("stuck"): 1})  # of before the second question: out of date
    assert one.take(0.0) == ([], None)
    one.answer(second, {key("stuck"): 0, key("quick"): 1})
    assert starts(one.take(0.0)[0]) == [("quick", 1)]


def test_a_starving_lane_is_asked_about_while_others_are_busy():
    one = outbox("stuck", "busy")
    starve(one, "stuck")
    one.put(edge(), audio(0, "busy"))
    batch, question = one.take()
    assert starts(batch) == [("busy", 0)]
    assert question.lanes == (key("stuck"),)


def test_a_lane_on_its_way_is_not_asked_about():
    """The peer would count its room without what is on its way."""
    one = outbox()
    one.put(edge(), audio(0))
    one.take()
    one.grant({key(): 1})
    one.put(edge(), audio(1))
    one.put(edge(), audio(2))
    batch, question = one.take()
    assert starts(batch) == [("s", 1)]
    assert question is None
    assert one.take()[1].lanes == (key(),)


def test_no_session_at_the_peer_drops_its_lanes():
    one = outbox("gone", "here")
    starve(one, "gone")
    one.grant({key("gone"): None})
    one.put(edge(), audio(0, "here"))
    batch, question = one.take()
    assert starts(batch) == [("here", 0)]
    assert question is None


def test_an_answer_for_a_session_does_not_touch_the_next_one_of_its_name():
    one = outbox()
    starve(one)
    _, question = one.take()
    one.close_session("s", deliver=False)
    one.open("s")
    one.put(edge(capacity=1), audio(7))
    one.answer(question, {key(): None})
    assert starts(one.take(0.0)[0]) == [("s", 7)]


def test_nothing_of_a_session_is_left_after_its_end():
    one = outbox()
    empty = {name: len(value) for name, value in vars(one).items() if isinstance(value, (dict, set))}
    for number in range(50):
        session = f"s{number}"
        one.open(session)
        one.put(edge(), audio(0, session))
        if number % 2:
            one.put(edge(), control(End(), 1.0, session))
        one.take()
        one.close_session(session, deliver=bool(number % 2))
    assert {name: len(value) for name, value in vars(one).items() if isinstance(value, (dict, set))} == empty


class Link(RuleBasedStateMachine):
    """An outbox and the inbox of its peer, with the wire between them: calls arrive late, answers later still."""

    @initialize(capacity=st.integers(1, 3))
    def begin(self, capacity):
        self.outbox = outbox("a", "b")
        self.edges = [edge(name, capacity) for name in NAMES]
        self.inbox = Inbox([Inlet(Node("fuse", "tests:Fuse", Operator), tuple(self.edges))])
        self.inbox.open("a")
        self.inbox.open("b")
        self.put_in = {(made.name, session): [] for made in self.edges for session in "ab"}  # starts, of each lane
        self.sent = dict.fromkeys(self.put_in, 0)
        self.taken = {lane: [] for lane in self.put_in}
        self.batch, self.receipt = None, None  # one call at a time
        self.questions, self.answers = [], []

    @rule(made=st.integers(0, 1), session=st.sampled_from("ab"))
    def put(self, made, session):
        lane = (NAMES[made], session)
        if len(self.put_in[lane]) - self.sent[lane] < self.edges[made].capacity:
            packet = audio(2 * len(self.put_in[lane]) + made, session)
            self.outbox.put(self.edges[made], packet)
            self.put_in[lane].append(packet.start)

    @rule()
    def send(self):
        if self.batch is None and self.receipt is None:
            batch, question = self.outbox.take(0.0)
            self.batch = batch or None
            for name, _, packet in batch:
                self.sent[name, packet.session] += isinstance(packet.data, AudioChunk)
            self.questions += [question] if question else []

    @rule()
    def arrive(self):
        if self.batch is not None:
            for name, _, packet in self.batch:
                room = self.inbox.room(name, packet.session)
                assert room > 0 or isinstance(packet.data, End), "what is sent always finds room"
                self.inbox.put(name, packet)
            self.receipt = self.inbox.rooms({(name, packet.session, 0) for name, _, packet in self.batch})
            self.batch = None

    @rule()
    def acknowledge(self):
        if self.receipt is not None:
            self.outbox.grant(self.receipt)
            self.receipt = None

    @rule(data=st.data())
    def reply(self, data):
        if self.questions:
            question = self.questions.pop(data.draw(st.integers(0, len(self.questions) - 1)))
            self.answers.append((question, self.inbox.rooms(question.lanes)))

    @rule(data=st.data())
    def answer(self, data):
        if self.answers:
            self.outbox.answer(*self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1))))

    @rule(session=st.sampled_from("ab"))
    def take(self, session):
        self._take(session)

    def _take(self, session):
        item = self.inbox.take_for("fuse", session)
        if item is not None and isinstance(item.packet.data, AudioChunk):
            name = NAMES[int(item.packet.start) % 2]
            self.taken[name, session].append(item.packet.start)
        return item

    def teardown(self):
        """Let everything through: nothing is stuck, nothing is lost, nothing is out of order."""
        if not hasattr(self, "inbox"):
            return
        for made in self.edges:
            for session in "ab":
                self.outbox.put(made, control(End(), 1000.0, session))
        for _ in range(100):
            self.send()
            self.arrive()
            self.acknowledge()
            self.answers += [(question, self.inbox.rooms(question.lanes)) for question in self.questions]
            self.questions.clear()
            while self.answers:
                self.outbox.answer(*self.answers.pop(0))
            while self._take("a") or self._take("b"):
                pass
        assert self.taken == self.put_in


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
