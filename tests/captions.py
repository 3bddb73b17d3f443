"""Captions as a policy would make them, for the tests of sinks."""

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation, Word


def spoken(text, start=0.0, word_s=0.3):
    """Words of equal length without pauses."""
    return tuple(
        Word(word, start + number * word_s, start + (number + 1) * word_s) for number, word in enumerate(text.split())
    )


def caption(index, stable="", unstable="", final=False, start=0.0, language=None):
    """A packet as it is at the moment when the last word has been captured."""
    words = spoken(f"{stable} {unstable}", start)
    cut = len(stable.split())
    end = words[-1].end if words else start
    return Packet("s", start, end, Caption(index, words[:cut], words[cut:], final, language), captured_at=100.0 + end)


def translation(index, stable="", unstable="", final=False, start=0.0, language="de"):
    """A packet with a translation, its words timed as if they had been spoken."""
    said = caption(index, stable, unstable, final, start, language)
    data = said.data
    return said.derive(Translation(index, data.stable, data.unstable, final, language))


def gap(start, end, medium="audio"):
    return Packet("s", start, end, Gap(medium, "the device overflowed"), captured_at=100.0 + end)


def finals(*texts, every_s=10.0):
    return [caption(index, text, final=True, start=index * every_s) for index, text in enumerate(texts)]
