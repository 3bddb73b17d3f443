"""The operator that translates captions: append-only, several languages at once, with times and confidence."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.media import Gap
from mmstream.testing import run_operator
from mmstream.translation.engine import TranslationError
from operators.translation import Translate, translate
from operators.translation.policies import get_args
from tests.translations import Shouting, caption


def Shown(targets, **arguments):  # noqa: N802 - a Translate that hides nothing
    return Translate(targets, **{"hide": 0, **arguments})


@pytest.fixture
def engine(monkeypatch):
    made = Shouting()
    monkeypatch.setattr(translate, "load", lambda model, source, targets: dict.fromkeys(targets, made))
    return made


def told(packets, language="de"):
    """(index, stable, unstable, final) of each translation into a language, without its mark."""

    def text(words):
        return " ".join(word.text for word in words).replace(f"{language}:", "")

    found = [packet.data for packet in packets if packet.data.language == language]
    return [(one.index, text(one.stable), text(one.unstable), one.final) for one in found]


def test_a_final_caption_is_translated_whole_into_every_language(engine):
    out = run_operator(Shown(["de", "fr"]), [caption("good morning", final=True)])
    assert told(out, "de") == [(0, "GOOD MORNING.", "", True)]
    assert told(out, "fr") == [(0, "GOOD MORNING.", "", True)]
    assert len(engine.asked) == 1  # one call for both


def test_the_sentence_under_way_is_shown_and_promised_word_by_word(engine):
    out = run_operator(Shown(["de"], policy="alignatt", k=1), [
        caption("one two", "three"), caption("one two three", "four"), caption("one two three four", final=True),
    ])  # fmt: skip
    assert told(out) == [
        (0, "ONE TWO", "THREE", False), (0, "ONE TWO THREE", "FOUR", False), (0, "ONE TWO THREE FOUR.", "", True),
    ]  # fmt: skip


def test_the_end_of_a_draft_is_hidden_but_no_promised_word_and_nothing_at_the_end(engine):
    packets = [caption("one two three", "four five"), caption("one two three four five", final=True)]
    out = run_operator(Translate(["de"], k=3, hide=2), packets)
    assert told(out) == [(0, "ONE TWO", "THREE", False), (0, "ONE TWO THREE FOUR FIVE.", "", True)]
    out = run_operator(Translate(["de"], k=3, hide=9), packets)
    assert told(out)[0] == (0, "ONE TWO", "", False)


def test_what_was_promised_is_what_the_next_draft_begins_with(engine):
    run_operator(Shown(["de"], k=1), [caption("one two three"), caption("one two three four five")])
    assert [requests[0].prefix for _, requests in engine.asked[:2]] == [(), ("de:ONE", "de:TWO")]


def test_a_sentence_that_is_over_is_promised_while_its_utterance_goes_on(engine):
    out = run_operator(Shown(["de"], policy="sentence"), [
        caption("I came.", "I"), caption("I came. I saw", "it"), caption("I came. I saw it", final=True),
    ])  # fmt: skip
    assert told(out) == [
        (0, "I CAME.", "I", False), (0, "I CAME.", "I SAW IT", False), (0, "I CAME. I SAW IT.", "", True),
    ]  # fmt: skip
    texts = [[request.text for request in requests] for _, requests in engine.asked]
    assert texts == [["I came.", "I"], ["I saw it"], ["I saw it"]]  # no sentence twice


def test_for_files_only_sentences_that_are_over_are_translated(engine):
    out = run_operator(Translate(["de"], **Translate.unwatched), [
        caption("one two", "three"), caption("one two three", final=True),
    ])  # fmt: skip
    assert told(out) == [(0, "ONE TWO THREE.", "", True)]
    assert len(engine.asked) == 1


def test_a_word_has_times_confidence_and_video_of_the_word_it_comes_from(engine, monkeypatch):
    crossed = {"text": ("ich", "gesehen", "habe"), "sources": (0, 2, 1)}

    def crossing(requests, source):
        made = [Shouting()._one(request) for request in requests]
        return [type(one)(crossed["text"], 0.0, crossed["sources"]) for one in made]

    monkeypatch.setattr(engine, "translate", crossing)
    packet = caption("I have seen", final=True, confidence=0.9)
    heard = packet.data.words
    (out,) = run_operator(Shown(["de"]), [packet])
    assert [(word.start, word.end) for word in out.data.stable] == [
        (heard[0].start, heard[0].end), (heard[2].start, heard[2].end), (heard[2].start, heard[2].end),
    ]  # fmt: skip
    assert {word.confidence for word in out.data.stable} == {0.9}


def test_confidence_that_comes_with_the_end_reaches_words_that_were_promised_before(engine):
    out = run_operator(Shown(["de"], k=0), [
        caption("one two three"), caption("one two three", final=True, confidence=0.7),
    ])  # fmt: skip
    assert [word.confidence for word in out[0].data.stable] == [None, None]
    assert [word.confidence for word in out[-1].data.stable] == [0.7, 0.7, 0.7]


def test_a_doubtful_word_and_what_follows_it_promise_nothing_before_the_end(engine):
    def doubted(stable, **rest):
        packet = caption(stable, confidence=0.9, **rest)
        words = list(packet.data.stable)
        words[1] = type(words[1])(words[1].text, words[1].start, words[1].end, 0.2, 1.0)
        return packet.derive(type(packet.data)(0, tuple(words), (), packet.data.final, "en"))

    packets = [doubted("one two three four."), doubted("one two three four. five six"), doubted("one two.", final=True)]
    out = run_operator(Shown(["de"], k=0), packets)
    assert [stable for _, stable, _, _ in told(out)] == ["ONE", "ONE", "ONE TWO."]
    assert out[-1].data.stable[1].confidence == 0.2
    assert out[-1].data.stable[1].video == 1.0
    trusting = run_operator(Shown(["de"], k=0, min_confidence=0.1), packets)
    assert told(trusting)[0][1] == "ONE TWO THREE FOUR."


def test_partial_captions_are_translated_no_more_often_than_asked(engine):
    packets = [caption("a " * count) for count in range(1, 9)]
    run_operator(Shown(["de"], step_s=2.0), packets)
    assert [requests[0].text for _, requests in engine.asked] == ["a", "a a a a a", " ".join("a" * 8)]


def test_every_utterance_ends_even_where_no_final_caption_came(engine):
    out = run_operator(Shown(["de"]), [caption("one"), caption("two", index=1, start=3.0), _gap(5.0)])
    assert [line for line in told(out) if line[3]] == [(0, "ONE.", "", True), (1, "TWO.", "", True)]
    assert all(packet.data.language == "de" for packet in out)  # gaps come from elsewhere


def test_a_loss_of_pictures_ends_nothing(engine):
    out = run_operator(Shown(["de"], k=1), [caption("one two"), _gap(1.0, "video"), caption("one two", final=True)])
    assert [final for *_, final in told(out)] == [False, True]


def test_a_caption_in_the_target_language_stays_as_it_is(engine):
    out = run_operator(Shown(["de", "en"]), [caption("good morning", final=True)])
    assert told(out, "en") == [(0, "good morning", "", True)]
    assert {request.target for _, requests in engine.asked for request in requests} == {"de"}


def test_captions_in_a_language_that_nobody_translates_say_so_once(monkeypatch, caplog):
    def only_english(model, source, targets):
        if source != "en":
            raise TranslationError(f"{model} does not translate out of {source}")
        return dict.fromkeys(targets, Shouting())

    monkeypatch.setattr(translate, "load", only_english)
    packets = [caption("guten tag", index=at, start=3.0 * at, final=True, language="nl") for at in range(2)]
    out = run_operator(Shown(["de"]), [*packets, caption("good", index=2, start=6.0, final=True)])
    assert told(out) == [(0, "", "", True), (1, "", "", True), (2, "GOOD.", "", True)]
    assert [record.getMessage() for record in caplog.records] == [
        "captions in nl are not translated: auto does not translate out of nl"
    ]


def test_sessions_share_a_call(engine):
    operator = Shown(["de", "fr"])
    states = [operator.open(name) for name in "ab"]
    packets = [caption("one two.", final=True, session="a"), caption("three", final=True, session="b")]
    first, second = operator.process_batch(packets, states)
    assert told(first) == [(0, "ONE TWO.", "", True)]
    assert told(second) == [(0, "THREE.", "", True)]
    assert len(engine.asked) == 1


def test_a_session_goes_on_elsewhere_from_a_copy_of_its_state(engine):
    packets = [caption("one two", "three"), caption("one two three", "four"), caption("one two three four", final=True)]
    whole = run_operator(Shown(["de"], k=1), packets)
    operator = Shown(["de"], k=1)
    state = operator.open("test")
    out = list(operator.process(packets[0], state))
    state, operator = pickle.loads(pickle.dumps(state)), Shown(["de"], k=1)
    for packet in packets[1:]:
        out += operator.process(packet, state)
    assert told(out) == told(whole)


def test_a_fault_leaves_the_state_as_it_was(engine, monkeypatch):
    operator = Shown(["de"], k=1)
    state = operator.open("test")
    list(operator.process(caption("one two three"), state))
    before = pickle.dumps(state)
    monkeypatch.setattr(engine, "translate", lambda requests, source: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(operator.process(caption("one two three four five"), state))
    assert pickle.dumps(state) == before


def test_sentences_before_it_come_along_as_context(engine):
    run_operator(Shown(["de"], policy="sentence", drafts=False), [
        caption("I came. I saw.", final=True), caption("I won.", index=1, start=5.0, final=True),
    ])  # fmt: skip
    assert engine.asked[-1][1][0].context == ("I came.", "I saw.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"targets": []}, "targets names no language"), ({"step_s": -1}, "step_s"), ({"hide": -1}, "hide"),
     ({"min_confidence": 2}, "0 to 1"),
     ({"policy": "waitk"}, "policy is one of"), ({"pause_s": 0}, "pause_s"), ({"longest": 0}, "longest")],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(engine, arguments, said):
    with pytest.raises(ValueError, match=said):
        Translate(**{"targets": ["de"], **arguments})


TEXTS = st.lists(st.sampled_from(["a", "bee", "sea.", "dee,", "eh?"]), min_size=1, max_size=12)


@given(TEXTS, st.sampled_from(get_args(translate.PolicyName)), st.data(), st.booleans())
def test_stable_words_never_change_and_nothing_is_missing_at_the_end(texts, policy, data, attends):
    engine = Shouting(attends)
    packets, stable = [], 0
    for heard in range(1, len(texts) + 1):
        stable = data.draw(st.integers(stable, heard))
        packets.append(caption(" ".join(texts[:stable]), " ".join(texts[stable:heard])))
    packets.append(caption(" ".join(texts), final=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "load", lambda model, source, targets: dict.fromkeys(targets, engine))
        out = run_operator(Shown(["de"], policy=policy, step_s=0), packets)
    before, times = (), ()
    for packet in out:
        now = tuple(word.text for word in packet.data.stable)
        placed = tuple((word.start, word.end) for word in packet.data.stable)
        assert now[: len(before)] == before
        assert placed[: len(times)] == times
        assert list(placed) == sorted(placed)
        before, times = now, placed
    assert out[-1].data.final
    assert len(before) == len(texts)


def _gap(at, medium="audio"):
    return Packet("test", at, at + 1, Gap(medium, "lost"), 1000.0 + at)
