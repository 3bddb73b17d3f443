"""A sink hears a replay as if there had been none."""

import pytest

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation, Word
from mmstream.recovery.shown import Shown
from tests.toys import chunk


def words(text, confidence=None):
    return tuple(Word(word, 0.0, 1.0, confidence) for word in text.split())


def caption(index, stable, unstable="", final=False, confidence=None, start=None):
    data = Caption(index, words(stable, confidence), words(unstable, confidence), final)
    return Packet("s", float(index) if start is None else start, index + 1.0, data, 0.0)


def gap(start, end):
    return Packet("s", start, end, Gap("audio", "lost"), 0.0)


RUN = [
    caption(0, "", "it"),
    caption(0, "it", "is"),
    caption(0, "it is", final=True),
    gap(1.0, 1.5),
    caption(1, "", "so"),
    caption(1, "so it", "is"),
]


def shown(packets=RUN):
    made = Shown()
    assert all(made.is_new(packet) for packet in packets)
    return made


def play(made, packets):
    return [packet for packet in packets if made.is_new(packet)]


def test_a_replay_from_the_beginning_repeats_nothing_and_goes_on():
    made = shown()
    made.rewind(None)
    after = [caption(1, "so it is", final=True), caption(2, "", "well")]
    assert play(made, [*RUN, *after]) == after


def test_what_is_the_same_but_for_the_last_bits_is_not_new():
    made = shown([caption(0, "it is", "so", confidence=0.5)])
    made.rewind(None)
    assert play(made, [caption(0, "it is", "so", confidence=0.5000001)]) == []
    assert made.is_new(caption(0, "it is", "not", confidence=0.5))


@pytest.mark.parametrize("cut", range(len(RUN) + 1))
def test_a_replay_from_a_mark_begins_there(cut):
    made = shown(RUN[:cut])
    made.mark(1)
    assert play(made, RUN[cut:]) == RUN[cut:]
    made.trim(1)
    for _ in range(2):  # put back twice to the same snapshot
        made.rewind(1)
        assert play(made, RUN[cut:]) == []
    assert made.is_new(caption(1, "so it is", final=True))


def test_a_second_loss_in_the_middle_of_a_replay_begins_at_the_snapshot_again():
    made = shown(RUN[:2])
    made.mark(1)
    assert play(made, RUN[2:5]) == RUN[2:5]
    made.rewind(1)
    assert play(made, RUN[2:4]) == []
    made.mark(2)  # a barrier of the new epoch, in the middle of the replay
    made.trim(2)
    made.rewind(2)
    assert play(made, RUN[4:]) == RUN[5:]


def test_trimming_forgets_what_no_replay_asks_for():
    made = Shown()
    for number, packet in enumerate(RUN, start=1):
        assert made.is_new(packet)
        made.mark(number)
    made.trim(2)
    made.trim(1)  # of a snapshot that a later one has overtaken
    made.trim(99)  # of one that has not come here
    made.rewind(4)
    assert play(made, RUN[4:]) == []
    made.rewind(2)
    assert play(made, RUN[2:]) == []


def test_trimming_moves_the_marks_that_follow():
    made = shown(RUN[:2])
    made.mark(1)
    made.trim(1)
    made.mark(2)
    assert play(made, RUN[2:4]) == RUN[2:4]
    made.rewind(2)
    assert play(made, RUN[2:]) == RUN[4:]


def test_marks_of_a_void_epoch_are_forgotten():
    made = shown(RUN[:2])
    made.mark(1)
    assert play(made, RUN[2:5]) == RUN[2:5]
    made.mark(2)  # of a snapshot that does not become whole
    made.rewind(1)
    made.trim(2)
    assert play(made, RUN[2:]) == RUN[5:]


def test_a_replay_that_strays_keeps_the_promises():
    made = shown()
    made.rewind(None)
    late = [
        caption(0, "", "it"),
        caption(0, "it", "was"),  # here it strays
        caption(0, "it was", final=True),  # this utterance was final
        gap(1.0, 1.5),  # told
        caption(1, "", "sew"),  # would take back "so it"
        caption(1, "sew it", "is"),
        caption(1, "so it", "was"),
        gap(1.5, 1.7),
        caption(1, "so it was", final=True),
        caption(1, "so it was", final=True),  # again
        caption(2, "", "well"),
    ]
    assert play(made, late) == [*late[6:9], late[10]]


def test_a_run_that_has_strayed_is_itself_replayed():
    made = shown(RUN[:2])
    made.mark(1)
    made.trim(1)
    made.rewind(1)
    other = [caption(0, "it was", final=True), caption(1, "well", "so")]
    assert play(made, other) == other
    made.mark(2)
    more = [caption(1, "well so", final=True), caption(2, "", "then")]
    assert play(made, more) == more
    made.rewind(2)
    assert play(made, more) == []


def test_a_first_run_may_say_the_same_twice():
    same = caption(0, "it", "is")
    assert play(Shown(), [same, same]) == [same, same]


def test_what_is_no_caption_is_known_by_its_kind_and_place():
    sound = Packet("s", 1.0, 2.0, chunk(1), 0.0)
    made = shown([gap(0.0, 1.0), sound])
    made.rewind(None)
    assert play(made, [gap(0.0, 1.0), Packet("s", 1.0, 2.0, chunk(1), 9.0), gap(2.0, 3.0)]) == [gap(2.0, 3.0)]
    made.rewind(None)
    assert play(made, [gap(0.0, 1.0), gap(1.0, 2.0), gap(3.0, 4.0)]) == [gap(3.0, 4.0)]


def translated(language, index, stable, unstable="", final=False):
    data = Translation(index, words(stable), words(unstable), final, language)
    return Packet("s", float(index), index + 1.0, data, 0.0)


BOTH = [
    caption(0, "it", "is"),
    translated("de", 0, "es", "ist"),
    caption(0, "it is", final=True),
    translated("fr", 0, "c'est", final=True),
    translated("de", 0, "es ist", final=True),
    caption(1, "so"),
]


@pytest.mark.parametrize("cut", range(len(BOTH) + 1))
def test_translations_are_repeated_in_whatever_order_they_come_between_captions(cut):
    made = shown(BOTH[:cut])
    made.mark(1)
    assert play(made, BOTH[cut:]) == BOTH[cut:]
    made.trim(1)
    made.rewind(1)
    rest = BOTH[cut:]
    ordered = [one for one in rest if isinstance(one.data, Translation)]
    ordered += [one for one in rest if not isinstance(one.data, Translation)]
    assert play(made, ordered) == []
    after = [translated("de", 1, "so"), caption(1, "so", "it")]
    assert play(made, after) == after


def test_a_translation_that_comes_out_otherwise_keeps_its_promises():
    made = shown([translated("de", 0, "es ist", final=True), translated("de", 1, "so", "was")])
    made.rewind(None)
    other = [translated("de", 0, "das ist", final=True), translated("de", 1, "na"), translated("de", 1, "so gut")]
    assert play(made, other) == [translated("de", 1, "so gut")]
