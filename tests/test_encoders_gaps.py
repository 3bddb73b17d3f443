"""The order in which the video encoder tells what it saw, and what it lost."""

from __future__ import annotations

import numpy as np

from mmstream.core import Packet
from mmstream.media import Gap, Mouth
from mmstream.nets import STEP_S
from mmstream.testing import run_operator
from operators.encoders import VideoEncoder


def test_no_step_begins_before_a_loss_that_was_told():
    """Fusion's order of packets is a promise: a gap ahead of its steps would let sound go on without them."""
    mouth, gap = Mouth(np.full((64, 64), 90, np.uint8), 1.0, 0.0), Gap("video", "dropped")
    packets = [Packet("s", k * STEP_S, (k + 1) * STEP_S, gap if k % 4 == 2 else mouth, 0.0) for k in range(40)]
    given = run_operator(VideoEncoder(), packets)
    assert [packet.start for packet in given] == sorted(packet.start for packet in given)
    told = [packet.start for packet in given if isinstance(packet.data, Gap)]
    assert told == [packets[k].start for k in range(2, 40, 4)]
