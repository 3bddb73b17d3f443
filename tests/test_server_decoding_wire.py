"""A decoding child that was taken over: nothing that it says is believed, and it is heard in one printable line."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.server.decoding import Decoder, DecodingLimits
from mmstream.server.decoding_wire import (
    AUDIO,
    END,
    GAP,
    HEADER,
    OPENED,
    REFUSED,
    STATUS,
    VIDEO,
    WireError,
    read_packet,
)
from mmstream.server.decoding_zygote import Child, Zygote
from tests.decoding import WAIT_S, refusal


class Impostor(Zygote):
    """Its children are the test."""

    def spawn(self, file=None):
        session, self.session = socket.socketpair()
        life, self.life = socket.socketpair()
        return Child(session, life)

    def tell(self, words):
        with contextlib.suppress(ConnectionError):  # it is not heard out
            self.session.sendall(words)


def message(kind, start=0.0, end=0.1, captured_at=0.0, numbers=(0, 0, 0), payload=b"", length=None):
    return HEADER.pack(kind, start, end, captured_at, *numbers, len(payload) if length is None else length) + payload


SAMPLES = np.zeros((4, 1), "<f4").tobytes()
OPEN = message(OPENED, numbers=(3, 0, 0))
SOUND = message(AUDIO, numbers=(16_000, 4, 1), payload=SAMPLES)
LIES = {
    "a packet before anything was opened": SOUND,
    "no medium": message(OPENED),
    "an unknown medium": message(OPENED, numbers=(9, 0, 0)),
    "opened twice": OPEN + OPEN,
    "an unknown kind": OPEN + message(99),
    "a huge length": OPEN + message(AUDIO, numbers=(16_000, 4, 1), length=2**32 - 1),
    "fewer samples than it says": OPEN + message(AUDIO, numbers=(16_000, 5, 1), payload=SAMPLES),
    "no samples": OPEN + message(AUDIO, numbers=(16_000, 0, 1)),
    "no rate": OPEN + message(AUDIO, numbers=(0, 4, 1), payload=SAMPLES),
    "samples that are no numbers": OPEN
    + message(AUDIO, numbers=(16_000, 1, 1), payload=np.full(1, np.nan, "<f4").tobytes()),
    "samples that are too loud": OPEN + message(AUDIO, numbers=(16_000, 1, 1), payload=np.full(1, 9, "<f4").tobytes()),
    "an end before its start": OPEN + message(AUDIO, 1.0, 0.5, numbers=(16_000, 4, 1), payload=SAMPLES),
    "no time": OPEN + message(AUDIO, math.nan, 0.5, numbers=(16_000, 4, 1), payload=SAMPLES),
    "an endless time": OPEN + message(AUDIO, 0.0, math.inf, numbers=(16_000, 4, 1), payload=SAMPLES),
    "no capture": OPEN + message(AUDIO, captured_at=math.nan, numbers=(16_000, 4, 1), payload=SAMPLES),
    "time that runs back": OPEN + message(GAP, 5.0, 6.0, numbers=(1, 0, 0), payload=b"x") + SOUND,
    "a picture of another size": OPEN + message(VIDEO, numbers=(2, 2, 3), payload=bytes(3)),
    "a picture in four colours": OPEN + message(VIDEO, numbers=(2, 2, 4), payload=bytes(16)),
    "a picture that is too large": OPEN + message(VIDEO, numbers=(600, 600, 3), payload=bytes(600 * 600 * 3)),
    "a picture of nothing": OPEN + message(VIDEO, numbers=(0, 0, 3)),
    "a gap in nothing": OPEN + message(GAP, numbers=(0, 0, 0), payload=b"x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_no_sound_child_says_ends_the_session(lie):
    impostor = Impostor()
    decoder = Decoder(zygote=impostor)
    telling = threading.Thread(target=impostor.tell, args=(LIES[lie],))
    telling.start()
    assert refusal(decoder) == "the media cannot be decoded"
    telling.join(WAIT_S)


def test_what_a_child_says_to_people_is_one_short_printable_line():
    impostor = Impostor()
    decoder = Decoder(zygote=impostor)
    text = "a\nb\x1b[31m\u202e" + "c" * 900
    impostor.session.sendall(message(REFUSED, payload=text.encode()))
    assert refusal(decoder).startswith("a b [31m ccc")
    decoder = Decoder(zygote=impostor)
    impostor.session.sendall(OPEN + message(GAP, numbers=(1, 0, 0), payload=text.encode()) + message(END))
    (packet,) = decoder.packets("test")
    assert packet.data.reason.isprintable()
    assert len(packet.data.reason) == 300


def test_a_child_that_crashes_is_told_from_one_that_is_out_of_time():
    for status, says in ((signal.SIGSEGV, "ended the decoding process"), (signal.SIGXCPU, "more processor time")):
        impostor = Impostor()
        decoder = Decoder(zygote=impostor)
        impostor.session.close()
        impostor.life.sendall(STATUS.pack(status))
        impostor.life.close()
        assert says in refusal(decoder)


@given(
    kind=st.integers(0, 255),
    times=st.tuples(*[st.floats(allow_nan=True)] * 3),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    payload=st.binary(max_size=100),
)
@settings(max_examples=300)
def test_a_message_is_a_sound_packet_or_none(kind, times, numbers, payload):
    try:
        packet = read_packet(kind, times, numbers, bytearray(payload), "test", DecodingLimits())
    except WireError:
        return
    assert 0 <= packet.start <= packet.end < math.inf
