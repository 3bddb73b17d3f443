"""A snapshot through a join: what was held at the first barrier and what was recorded are the whole of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import Barrier, End, Packet, Watermark
from mmstream.recovery.cut import Cut, Recorded
from tests.toys import chunk


def packet(data, at=0.0):
    return Packet("s", at, at, data, 0.0)


def run(lanes, order):
    """Snapshots that become whole: number -> lane -> all that it holds of the lane, and lanes that had ended."""
    cut = Cut(lanes)
    held = {lane: [] for lane in lanes}
    saved, whole = {}, {}
    for lane in order:
        given_now = lanes[lane].pop(0)
        if not isinstance(given_now.data, (Barrier, Watermark)):
            held[lane].append(given_now)  # the node has it ...
        for told in cut.passed(lane, given_now):
            if isinstance(told.data, Barrier):
                saved[told.data.number] = {name: list(packets) for name, packets in held.items()}
            else:
                assert isinstance(told.data, Recorded)
                assert told.data.number not in whole
                state = saved[told.data.number]
                recorded = told.data.packets
                assert told.data.ended == {name for name, packets in state.items() if packets and _is_end(packets[-1])}
                whole[told.data.number] = {name: state[name] + list(recorded.get(name, ())) for name in lanes}
    return whole


def _is_end(one):
    return isinstance(one.data, End)


@st.composite
def streams(draw):
    """Two or three lanes of packets, watermarks and barriers, and an order in which their packets are taken."""
    barriers = draw(st.integers(1, 4))
    lanes = {}
    for lane in ("a", "b", "c")[: draw(st.integers(2, 3))]:
        last = draw(st.integers(0, barriers))  # the sender ends after this barrier
        packets = []
        for number in range(1, last + 2):
            for at in range(draw(st.integers(0, 3))):
                packets.append(packet(chunk(0), number + at / 10))
                if draw(st.booleans()):
                    packets.append(packet(Watermark(), number + at / 10))
            if number <= last:
                packets.append(packet(Barrier(number)))
        lanes[lane] = [*packets, packet(End())]
    order = draw(st.permutations([lane for lane, packets in lanes.items() for _ in packets]))
    return lanes, order


@settings(max_examples=400, deadline=None)
@given(streams())
def test_state_and_recorded_packets_are_what_an_undisturbed_run_holds_at_the_cut(made):
    lanes, order = made
    full = {lane: list(packets) for lane, packets in lanes.items()}
    met = {}  # (lane, number) -> when the barrier, or an end before it, is taken
    at = dict.fromkeys(full, 0)
    for when, lane in enumerate(order):
        data = full[lane][at[lane]].data
        at[lane] += 1
        if isinstance(data, Barrier):
            met[lane, data.number] = when
        elif isinstance(data, End):
            met[lane, "end"] = when
    whole = run(lanes, order)
    for number in range(1, 5):
        begun = [met[lane, number] for lane in full if (lane, number) in met]
        closed = max(met.get((lane, number), met[lane, "end"]) for lane in full)
        later = [when for (_, other), when in met.items() if other != "end" and other > number]
        assert (number in whole) == (bool(begun) and closed < min([*later, len(order)]))
    for number, held in whole.items():
        for lane, packets in full.items():
            before = [index for index, one in enumerate(packets) if one.data == Barrier(number)]
            cut = packets[: before[0]] if before else packets
            assert held[lane] == [one for one in cut if not isinstance(one.data, (Barrier, Watermark))]


def test_a_single_lane_has_nothing_to_record():
    cut = Cut(["a"])
    barrier = packet(Barrier(7))
    assert cut.passed("a", packet(chunk(1))) == []
    first, second = cut.passed("a", barrier)
    assert first is barrier
    assert second.data == Recorded(7, {}, frozenset())


def test_a_barrier_that_a_later_one_has_overtaken_is_not_heard():
    cut = Cut(["a", "b"])
    assert [told.data for told in cut.passed("a", packet(Barrier(1)))] == [Barrier(1)]
    assert [told.data for told in cut.passed("a", packet(Barrier(2)))] == [Barrier(2)]
    assert cut.passed("b", packet(Barrier(1))) == []
    late = packet(chunk(1), 3.0)
    assert cut.passed("b", late) == []
    (told,) = cut.passed("b", packet(Barrier(2)))
    assert told.data == Recorded(2, {"b": (late,)}, frozenset())


def test_a_lane_that_ends_instead_of_its_barrier_closes_the_snapshot():
    cut = Cut(["a", "b"])
    cut.passed("a", packet(Barrier(1)))
    end = packet(End())
    (told,) = cut.passed("b", end)
    assert told.data == Recorded(1, {"b": (end,)}, frozenset())
    first, second = cut.passed("a", packet(Barrier(2)))
    assert first.data == Barrier(2)
    assert second.data == Recorded(2, {}, frozenset({"b"}))
