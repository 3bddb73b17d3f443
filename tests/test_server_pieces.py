"""The parts that a live session is made of: its line of PCM, its mailbox, its log of events, the choice of a model."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError, Packet
from mmstream.media import Gap, Sight
from mmstream.registry import Model as Recogniser
from mmstream.server.events import KEPT, EventLog
from mmstream.server.mailbox import CAPACITY, Mailbox
from mmstream.server.models import Model, UnknownLanguage, UnknownModel, choose
from operators.sources import Incoming, PcmLine
from operators.sources.incoming import CHUNK_S, CUT, LINE_S
from tests.captions import caption

RATE = 16_000
WAIT_S = 10.0


def line(sample_rate=RATE, channels=1, on_room=lambda: None, **more):
    return PcmLine(sample_rate, channels, on_room, **more)


def everything(source):
    source.end()
    return list(source.packets("s", SYSTEM_CLOCK))


# PCM.


@given(
    st.lists(st.binary(max_size=700), max_size=12),
    st.integers(1, 3),
    st.sets(st.integers(0, 11), max_size=3),
)
def test_every_whole_sample_comes_out_once_however_it_came_in(pieces, channels, cuts):
    pcm = line(8000, channels, capacity_s=100.0)
    for number, piece in enumerate(pieces):
        if number in cuts:
            pcm.cut()
        assert pcm.offer(memoryview(piece), float(number)) == len(piece)
    packets = everything(pcm)
    data = b"".join(pieces)
    frame = 2 * channels
    whole = np.frombuffer(data[: len(data) // frame * frame], "<i2").reshape(-1, channels)
    chunks = [packet for packet in packets if not isinstance(packet.data, Gap)]
    heard = [packet.data.samples for packet in chunks] or [np.zeros((0, channels))]
    assert np.array_equal(np.concatenate(heard) * 32768, whole)
    at = 0.0
    for packet in packets:
        assert packet.start == pytest.approx(at)
        assert packet.end - packet.start <= CHUNK_S + 1e-9
        at = packet.end
    places = [sum(map(len, pieces[:number])) // frame / 8000 for number in cuts if number < len(pieces)]
    assert [gap.start for gap in packets if isinstance(gap.data, Gap)] == pytest.approx(sorted(set(places)))


def test_a_client_that_is_held_up_or_hurries_is_not_late():
    pcm = line()
    second = memoryview(bytes(2 * RATE))
    pcm.offer(second[:6400], 100.0)  # 0.2 s that came at once
    pcm.offer(second[:3200], 105.0)  # and, after a pause of the network, 0.1 s more
    assert [packet.captured_at for packet in everything(pcm)] == pytest.approx([100.0, 100.1, 105.0])
    assert pcm.arrivals.at(0.15) == 100.0
    assert pcm.arrivals.at(0.25) == 105.0
    assert pcm.arrivals.at(0.35) is None


def test_a_full_line_takes_no_more_and_says_when_there_is_room():
    room = threading.Event()
    pcm = line(on_room=room.set)
    media = memoryview(bytes(round(2 * (LINE_S + 1) * RATE)))
    taken = pcm.offer(media, 0.0)
    assert taken == 2 * LINE_S * RATE
    assert pcm.offer(media[:2], 0.0) == 0
    source = Incoming(pcm)
    packets = source.packets("s")
    for _ in range(round(LINE_S / CHUNK_S)):
        next(packets)
    assert room.is_set()
    assert pcm.offer(media[taken:], 0.0) == len(media) - taken


def test_a_source_that_is_stopped_gives_what_has_come():
    pcm = line()
    pcm.offer(memoryview(bytes(3200)), 0.0)
    source = Incoming(pcm)
    source.stop()
    assert [packet.end for packet in source.packets("s")] == [0.1]
    assert pcm.offer(memoryview(bytes(3200)), 0.0) == 3200  # thrown away
    with pytest.raises(ValueError, match="mmstream serve"):
        next(Incoming().packets("s"))


def test_a_cut_ends_nothing_twice():
    pcm = line()
    pcm.offer(memoryview(bytes(3201)), 0.0)
    pcm.cut()
    pcm.cut()
    packets = everything(pcm)
    assert [type(packet.data).__name__ for packet in packets] == ["AudioChunk", "Gap"]
    assert packets[1].data == Gap("audio", CUT)


# The mailbox.


def sight(at):
    return Packet("s", at, at + 0.04, Sight(4, 4, None, None, 0.0, 0.0), 0.0)


def posted(*packets, error=None):
    """What comes out of a mailbox that another thread has filled and ended."""

    async def go():
        box = Mailbox()
        thread = threading.Thread(target=lambda: ([box.put(one) for one in packets], box.end(error)))
        found = []
        thread.start()
        await asyncio.to_thread(thread.join)
        while (packet := await box.get()) is not None:
            found.append(packet)
        return found

    return asyncio.run(asyncio.wait_for(go(), WAIT_S))


def test_a_reader_is_woken_for_every_packet_and_for_the_end():
    async def go():
        box, found = Mailbox(), []

        async def read():
            while (packet := await box.get()) is not None:
                found.append(packet.data.index)

        def write():
            for number in range(500):
                while not box.ready:
                    time.sleep(0.001)
                box.put(caption(number, "word", final=True))
            box.end()

        await asyncio.gather(read(), asyncio.to_thread(write))
        return found

    assert asyncio.run(asyncio.wait_for(go(), WAIT_S)) == list(range(500))


def test_beyond_its_half_partial_captions_give_way_and_final_ones_never():
    finals = [caption(number, "word", final=True) for number in range(CAPACITY // 2)]
    partials = [caption(CAPACITY, "", f"word {number}") for number in range(CAPACITY)]
    found = posted(*finals, *partials, caption(CAPACITY + 1, "end", final=True))
    assert found[: len(finals)] == finals
    assert [packet.data.index for packet in found[len(finals) :]] == [CAPACITY, CAPACITY + 1]
    assert found[-2] == partials[-1]


def test_of_sights_only_the_newest_is_kept():
    assert posted(sight(0.0), sight(0.1), caption(0, "a"), sight(0.2)) == [caption(0, "a"), sight(0.2)]


def test_an_error_comes_after_what_was_said_before_it():
    with pytest.raises(MmstreamError, match="broke"):
        posted(caption(0, "a"), error=MmstreamError("broke"))


# Events that can be had again.


def logged(*indexes):
    log = EventLog()
    for index in indexes:
        log.add({"type": "gap", "seq": 0} if index is None else {"type": "caption", "seq": 0, "index": index})
    return log


def numbers(texts):
    return None if texts is None else [int(text.split('"seq":')[1].split(",")[0].rstrip("}")) for text in texts]


def test_of_an_utterance_the_newest_caption_is_enough():
    log = logged(0, 0, 0, None, 1, 1)
    assert numbers(log.after(0)) == [3, 4, 6]
    assert numbers(log.after(3)) == [4, 6]
    assert numbers(log.after(5)) == [6]
    assert log.after(6) == []
    assert log.after(7) is None


def test_what_is_gone_is_not_said_to_be_all():
    log = logged(*range(KEPT + 10))
    assert log.after(9) is None
    assert numbers(log.after(10)) == list(range(11, KEPT + 11))


# The choice of a model.


def test_a_model_is_chosen_by_name_or_by_language():
    english = Model("sphinx", "en", Recogniser("sphinx", "operators.decoders:Sphinx"))
    many = Model("whisper-tiny", "many", Recogniser("whisper-tiny", "operators.decoders:Whisper"))
    served = {one.name: one for one in (english, many)}
    assert choose(served, "auto", None) is english
    assert choose(served, "auto", "en-GB") is english
    assert choose(served, "auto", "de-AT").key == ("whisper-tiny", "de", "transcribe", False)
    assert choose(served, "whisper-tiny", None).spoken is None
    assert choose(served, "whisper-tiny", "de", "translate").task == "translate"
    assert choose(served, "sphinx", None, "translate").task == "transcribe"  # English already
    with pytest.raises(UnknownLanguage, match="knows 'en' only"):
        choose(served, "sphinx", "de")
    with pytest.raises(UnknownModel, match="auto, sphinx, whisper-tiny"):
        choose(served, "nobody", None)
