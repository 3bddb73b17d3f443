"""Manifests, the normaliser, error rates and latency, against values worked out by hand."""

import json

import av
import pytest

from mmstream.core import MmstreamError
from mmstream.evaluation.latency import Latency, Percentiles, Timed, latency
from mmstream.evaluation.manifest import read_manifest
from mmstream.evaluation.normalise import normalise
from mmstream.evaluation.result import Result
from mmstream.evaluation.wer import error_rates
from mmstream.media import Word
from mmstream.samples import SPOKEN_TEXT, SPOKEN_VIDEO
from mmstream.samples.make_sample import SENTENCES


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")

    def write(*lines):
        path = tmp_path / "m.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return write


def test_a_manifest(manifest, tmp_path):
    words = [{"word": "hello", "start": 0.5, "end": 1}]
    full = {"media": "a.wav", "text": "HELLO", "speaker": "s1", "duration": 2, "words": words, "license": "CC0"}
    first, second = read_manifest(manifest(full, "", {"media": "a.wav", "text": ""}))
    assert (first.media, first.text, first.speaker, first.duration) == (tmp_path / "a.wav", "HELLO", "s1", 2.0)
    assert first.words == (Word("hello", 0.5, 1.0),)
    assert (second.text, second.speaker, second.duration, second.words) == ("", None, None, None)


GOOD = {"media": "a.wav", "text": "hello"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[1]", "must be a JSON object, is '[1]'"),
        ("[" * 100_000, "nested too deeply"),
        ({"text": "x"}, "'media' is missing"),
        ({"media": "a.wav"}, "'text' is missing"),
        ({**GOOD, "media": 3}, "media must be a string, is 3"),
        ({**GOOD, "text": None}, "text must be a string, is None"),
        ({**GOOD, "media": "gone.wav"}, "media 'gone.wav' is not in "),
        ({**GOOD, "media": "a\x00.wav"}, "media 'a\\x00.wav' is not in "),
        ({**GOOD, "media": "a" * 5000}, "media cannot be looked up: File name too long"),
        ({**GOOD, "duration": "2"}, "duration must be a number, is '2'"),
        ({**GOOD, "duration": -1}, "duration must be seconds, 0 or more, is -1"),
        ({**GOOD, "duration": float("nan")}, "duration must be seconds, 0 or more, is nan"),
        ({**GOOD, "duration": True}, "duration must be seconds, 0 or more, is True"),
        ({**GOOD, "words": "x"}, "words must be a list of objects"),
        ({**GOOD, "words": [{"word": "x", "start": 1}]}, "'end' is missing"),
        ({**GOOD, "words": [{"word": "x", "start": 1, "end": 0}]}, "words: one of them ends before it starts"),
    ],
)
def test_a_mistake_in_a_manifest_names_its_line(manifest, line, message):
    path = manifest(GOOD, line)
    with pytest.raises(MmstreamError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_manifest(manifest, tmp_path):
    with pytest.raises(MmstreamError, match="is empty"):
        read_manifest(manifest())
    with pytest.raises(MmstreamError, match=r"gone\.jsonl: No such file"):
        read_manifest(tmp_path / "gone.jsonl")
    with pytest.raises(MmstreamError, match="Is a directory"):
        read_manifest(tmp_path)
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MmstreamError, match="not UTF-8"):
        read_manifest(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("HE COULD WAIT NO LONGER", "he could wait no longer"),
        ("And so, my fellow Americans: ask not!", "and so my fellow americans ask not"),
        ("a rifle-shot — beyond the “ridge”…", "a rifle shot beyond the ridge"),
        ("A MAN'S, it\u2019s, 'tis, dogs', 'quoted'", "a man's it's tis dogs quoted"),
        ("Café naïve Ⅳ", "cafe naive iv"),
        ("[Music] <unk> hello (there)", "hello there"),
        ("Mr. & Mrs. Smith met Dr. No", "mister and missus smith met doctor no"),
        ("CHAPTER 33", "chapter thirty three"),
        ("0 7 13 20 99 100 101", "zero seven thirteen twenty ninety nine one hundred one hundred one"),
        ("1,000 12,345 1000000", "one thousand twelve thousand three hundred forty five one million"),
        ("1961 1905 1900 2005 2024 2000", "nineteen sixty one nineteen oh five nineteen hundred two thousand five "
         "twenty twenty four two thousand"),
        ("the 1990s and '90s", "the nineteen nineties and nineties"),
        ("1st 2nd 3rd 12th 20th 21st 100th", "first second third twelfth twentieth twenty first one hundredth"),
        ("3.5 and 50%", "three point five and fifty percent"),
        ("$5, $5.50, $3.5 million, £1,200", "five dollars five dollars fifty three point five million dollars one "
         "thousand two hundred pounds"),
        ("3:30 007 mp3 4x4", "three thirty zero zero seven mp three four x four"),
        ("12345678901234567", "one two three four five six seven eight nine zero one two three four five six seven"),
        ("... -- !", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_normal_form(text, normal):
    assert normalise(text) == normal
    assert normalise(normal) == normal


def test_error_rates_by_hand():
    # one substitution of 4 words; one insertion and one deletion of 3; none of 3
    references = ["the cat sat down", "a b c", "one two three"]
    hypotheses = ["the cat sat up", "x a b", "1, 2, 3."]
    rates = error_rates(references, hypotheses)
    assert rates.wer == pytest.approx(3 / 10)
    assert (rates.words, rates.utterances) == (10, 3)
    # characters: down -> up is 4 (d, o, w -> u, n -> p); "a b c" -> "x a b" is 3; of 16 + 5 + 13
    assert rates.cer == pytest.approx(7 / 34)


def test_case_and_punctuation_are_no_errors():
    rates = error_rates(["HE HOPED THERE'D BE STEW FOR 2"], ["he hoped, there'd be stew for two."])
    assert (rates.wer, rates.cer, rates.wer_ci) == (0.0, 0.0, (0.0, 0.0))


def test_empty_hypothesis_and_empty_reference():
    assert error_rates(["a b c d"], [""]).wer == 1.0
    rates = error_rates(["a b c d", ""], ["a b c d", "x y"])
    assert (rates.wer, rates.words, rates.utterances) == (0.5, 4, 2)
    assert error_rates(["a"], ["x y z"]).wer == 3.0


def test_without_reference_words_there_is_no_rate():
    with pytest.raises(MmstreamError, match="hold no words"):
        error_rates(["", "..."], ["x", ""])
    with pytest.raises(MmstreamError, match="hold no words"):
        error_rates([], [])
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        error_rates(["a", "b"], ["a"])


def test_the_interval_is_the_binomial_one():
    # 400 utterances of one word, a quarter of them wrong: the standard error is sqrt(.25 * .75 / 400) = 0.02165
    hypotheses = ["a" if number % 4 else "b" for number in range(400)]
    rates = error_rates(["a"] * 400, hypotheses)
    low, high = rates.wer_ci
    assert rates.wer == 0.25
    assert low == pytest.approx(0.25 - 1.96 * 0.02165, abs=0.005)
    assert high == pytest.approx(0.25 + 1.96 * 0.02165, abs=0.005)
    assert error_rates(["a"] * 400, hypotheses) == rates  # the same draw every time


def word(captured, emitted, committed):
    return {"word": "x", "captured_at": captured, "emitted_at": emitted, "committed_at": committed}


def test_latency_by_hand():
    lines = [
        {"revisions": 2, "words": [word(10.0, 10.1, 10.5), word(11.0, 11.2, 11.6)]},
        {"gap": {"start": 0, "end": 1}},
        {"revisions": 1, "words": [word(12.0, 12.3, 12.3)]},
    ]
    found = latency([Timed(lines)])
    # of 100, 200, 300 ms the 90th percentile lies 0.8 of the way from the second to the third
    assert found.emission_ms == Percentiles(200.0, 280.0, 298.0)
    assert found.commit_ms == Percentiles(500.0, 580.0, 598.0)
    assert found.revision_rate == 1.0


def test_latency_of_nothing():
    nothing = Latency(None, None, None, None, 0, None)
    assert latency([]) == nothing
    assert latency([Timed([{"revisions": 1, "words": []}])]) == nothing


def test_the_result_for_machines():
    rates = error_rates(["a b", "c d"], ["a b", "c x"])
    plain = Result(rates, rtf=0.123456).to_json()
    assert plain == {
        "wer": 0.25,
        "wer_ci": [0.0, 0.5],
        "cer": 1 / 6,
        "words": 4,
        "utterances": 2,
        "rtf": 0.1235,
        "video": None,
    }
    live = Result(rates, 1.0, 0.25, latency([Timed([{"revisions": 0, "words": [word(1.0, 1.5, 2.0)]}])])).to_json()
    assert live["emission_ms"] == {"p50": 500.0, "p90": 500.0, "p99": 500.0}
    assert live["commit_ms"]["p99"] == 1000.0
    assert live["revision_rate"] == 0.0
    assert json.loads(json.dumps(live)) == live


def test_the_sample_is_small_and_has_sound_and_picture():
    assert SPOKEN_VIDEO.stat().st_size < 400_000
    with av.open(str(SPOKEN_VIDEO)) as container:
        sound, picture = container.streams.audio[0], container.streams.video[0]
        assert (sound.codec.name, sound.rate, sound.layout.name) == ("aac", 16_000, "mono")
        assert (picture.codec.name, picture.width, picture.height, picture.average_rate) == ("h264", 640, 360, 25)
        assert 15 < container.duration / av.time_base < 20
        assert sum(1 for _ in container.decode(video=0)) == pytest.approx(25 * container.duration / av.time_base, abs=2)
    assert SPOKEN_TEXT.read_text().splitlines() == list(SENTENCES)
