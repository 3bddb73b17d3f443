"""Inboxes with one or two inputs, and packets for them."""

import numpy as np

from mmstream.core import End, Operator, Packet, Watermark
from mmstream.graph import Edge, Node
from mmstream.inbox import Inbox
from mmstream.join import Inlet
from mmstream.media import AudioChunk, Gap, VideoFrame


def edge(source, target="fuse", capacity=8, overflow="block"):
    carries = (VideoFrame,) if source == "eye" else (AudioChunk,)
    return Edge(source, target, carries, capacity, overflow)


def node(name="fuse", max_skew_s=None, kind=Operator):
    return Node(name, "tests:Fuse", kind, max_skew_s=max_skew_s)


def one_input(capacity=8, overflow="block", sessions=("s",)):
    made = Inbox([Inlet(node(), (edge("ear", capacity=capacity, overflow=overflow),))])
    for session in sessions:
        made.open(session)
    return made


def two_inputs(capacity=8, overflow="block", max_skew_s=None, kind=Operator):
    edges = (edge("ear", capacity=capacity, overflow=overflow), edge("eye", capacity=capacity, overflow=overflow))
    made = Inbox([Inlet(node(max_skew_s=max_skew_s, kind=kind), edges)])
    made.open("s")
    return made


def audio(start, session="s", end=None):
    return Packet(
        session, start, start + 1 if end is None else end, AudioChunk(np.zeros((1, 1), np.float32), 16000), 0.0
    )


def video(start, end=None):
    return Packet("s", start, start + 1 if end is None else end, VideoFrame(np.zeros((1, 1, 3), np.uint8)), 0.0)


def control(data, at=0.0, session="s"):
    return Packet(session, at, at, data, 0.0)


def ready(one, node="fuse", session="s"):
    """Everything that can be taken now."""
    return list(iter(lambda: one.take_for(node, session), None))


def shape(items):
    kinds = {AudioChunk: "audio", VideoFrame: "video", End: "end", Watermark: "mark", Gap: "gap"}
    return [(kinds[type(item.packet.data)], item.packet.start) for item in items]
