"""Small operators with rich signatures, for tests of pipeline files. They are never run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from mmstream.core import BatchOperator, Operator, Packet, Place, Sink, Source
from mmstream.media import AudioChunk, Caption, Features, Gap, Hypothesis, VideoFrame


class _Quiet:
    """What operators need to be concrete."""

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        return ()

    def process_batch(self, packets: Sequence[Any], states: Sequence[Any]) -> Iterable[Iterable[Packet[Any]]]:
        return ()

    def packets(self, session: str) -> Iterator[Packet[Any]]:
        return iter(())


class Mic(_Quiet, Source):
    """Sound, live."""

    emits = (AudioChunk, Gap)
    live = True
    runs_on: Place = "driver"

    def __init__(self, device: str | int | None = None, block_ms: float = 30.0) -> None: ...


class Clip(_Quiet, Source):
    """Sound and pictures of a file."""

    emits = (AudioChunk, VideoFrame)

    def __init__(self, path: str, pace: Literal["fast", "realtime"] = "fast", start_s: float | None = None) -> None: ...


class Camera(_Quiet, Source):
    emits = (VideoFrame,)
    live = True


class Mel(_Quiet, Operator[None]):
    accepts = (AudioChunk,)
    emits = (Features,)

    def __init__(self, n_mels: int = 80, hop_ms: float = 10.0, centre: bool = True) -> None: ...


class Loud(_Quiet, Operator[None]):
    accepts = (AudioChunk,)
    emits = (AudioChunk,)


class Fuse(_Quiet, Operator[None]):
    accepts = (Features, VideoFrame)
    emits = (Features,)


class Decode(_Quiet, BatchOperator[None]):
    accepts = (Features,)
    emits = (Hypothesis,)

    def __init__(self, model: str, words: list[str] | None = None, weights: dict[str, float] | None = None) -> None: ...


class Commit(_Quiet, Operator[None]):
    accepts = (Hypothesis,)
    emits = (Caption,)

    def __init__(self, sizes: tuple[int, ...] = (), size: tuple[int, int] = (1, 2), folder: Path = Path()) -> None: ...


class Show(_Quiet, Sink[None]):
    accepts = (Caption, Gap)


class Free(_Quiet, Sink[None]):
    """Takes any argument."""

    accepts = (Caption,)

    def __init__(self, **anything: Any) -> None: ...


class Typeless(Operator[None]):
    """Says nothing of its payloads."""

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterable[Packet[Any]]:
        return ()


class Unfinished(Operator[None]):
    accepts = (Caption,)
    emits = ()


NOT_A_CLASS = 5
