"""What a source keeps for a replay: numbered, trimmed at snapshots, and bounded in media time."""

from mmstream.core import End, Packet
from mmstream.graph import Edge
from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.recovery.tape import Tape
from tests.toys import chunk

SOUND = Edge("source", "ear", (AudioChunk,), 8, "block")
SIGHT = Edge("source", "eye", (VideoFrame,), 8, "block")


def packet(number, data=None):
    return Packet("s", number / 10, (number + 1) / 10, chunk(number) if data is None else data, 0.0)


def tape(count, longest_s=100.0):
    made = Tape(longest_s)
    for number in range(count):
        made.add((SOUND,), packet(number))
    return made


def starts(entries):
    return [round(entry.packet.start * 10) for entry in entries]


def test_a_replay_begins_at_any_position_and_ends_with_the_newest_packet():
    made = tape(5)
    assert made.end == 5
    assert [starts(made.since(position)) for position in (0, 3, 5)] == [[0, 1, 2, 3, 4], [3, 4], []]
    assert made.since(3)[0].edges == (SOUND,)


def test_trimming_moves_no_number():
    made = tape(5)
    made.trim(3)
    made.trim(2)  # an older snapshot, told later
    made.add((SOUND,), packet(5))
    assert made.end == 6
    assert starts(made.since(3)) == [3, 4, 5]
    assert starts(made.since(5)) == [5]
    made.trim(6)
    assert made.end == 6
    assert made.since(6) == []


def test_what_is_too_old_becomes_one_gap_of_its_length():
    made = tape(10, longest_s=0.45)
    first, *kept = made.since(0)
    assert isinstance(first.packet.data, Gap)
    assert first.packet.data.medium == "audio"
    assert (first.packet.start, first.packet.end, first.edges) == (0.0, 0.5, (SOUND,))
    assert starts(kept) == [5, 6, 7, 8, 9]
    assert made.end == 10
    assert starts(made.since(5)) == [5, 6, 7, 8, 9]  # nothing of that replay is missing
    made.trim(6)
    assert starts(made.since(6)) == [6, 7, 8, 9]
    for number in range(10, 13):
        made.add((SOUND,), packet(number))
    first, *kept = made.since(6)
    assert (first.packet.start, first.packet.end) == (0.6, 0.8)  # what was trimmed is no loss
    assert starts(kept) == [8, 9, 10, 11, 12]


def test_sound_and_pictures_are_lost_apart():
    made = Tape(0.45)
    for number in range(10):
        picture = VideoFrame(None)
        made.add((SIGHT,), packet(number, picture))
        made.add((SOUND,), packet(number))
    gaps = [entry for entry in made.since(0) if isinstance(entry.packet.data, Gap)]
    assert [(entry.packet.data.medium, entry.edges) for entry in gaps] == [("video", (SIGHT,)), ("audio", (SOUND,))]
    assert [(entry.packet.start, entry.packet.end) for entry in gaps] == [(0.0, 0.5)] * 2


def test_a_gap_and_an_end_are_never_too_old():
    made = Tape(0.45)
    made.add((SIGHT,), Packet("s", 0.0, 0.0, End(), 0.0))
    broke = packet(0, Gap("audio", "the device overflowed"))
    made.add((SOUND,), broke)
    for number in range(1, 12):
        made.add((SOUND,), packet(number))
    ended, gap, lost, *_ = made.since(0)
    assert ended.packet.data == End()
    assert ended.edges == (SIGHT,)
    assert gap.packet == broke
    assert (lost.packet.start, lost.packet.end) == (0.1, 0.7)
    made.trim(made.end - 5)
    assert starts(made.since(made.end - 5)) == [7, 8, 9, 10, 11]  # the snapshot holds that the edge has ended
