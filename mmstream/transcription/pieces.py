"""What is heard in one piece of a file, on the disk until all its pieces are there: packets as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError, Packet, Sink
from mmstream.media import Caption, Gap, Translation, Word

WORK_FOLDER = ".mmstream-work"  # below the output, while pieces wait to be joined


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of one media file, heard in a session of its own."""

    session: str  # the name of its captions' file as well
    start_s: float  # media seconds
    end_s: float | None  # media seconds; None: the end of the file

    @property
    def range(self) -> str:
        return f"{self.start_s:.1f} s to {'its end' if self.end_s is None else f'{self.end_s:.1f} s'}"


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet for the sinks, and when it came to this process."""

    packet: Packet[Caption | Translation | Gap]
    arrived_at: float  # wall-clock seconds


class Keep(Sink[AtomicFile]):
    """One file per session, below ``folder``, with all that came, exactly as it came; see ``read_piece``."""

    accepts: ClassVar[tuple[type, ...]] = (Caption, Translation, Gap)
    any_order = True  # each sink that reads it makes an order of its own

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def open(self, session: str) -> AtomicFile:
        return AtomicFile(self.folder / f"{session}.jsonl")

    def process(self, packet: Packet[Any], state: AtomicFile) -> Iterable[Packet[Any]]:
        times = {"start": packet.start, "end": packet.end, "captured_at": packet.captured_at}
        line = {**times, "arrived_at": self.clock.now(), **_payload(packet.data)}
        state.write(json.dumps(line, separators=(",", ":")) + "\n")
        return ()

    def flush(self, state: AtomicFile) -> Iterable[Packet[Any]]:
        state.commit()
        return ()

    def discard(self, state: AtomicFile) -> None:
        state.discard()


def read_piece(path: Path, session: str) -> Iterator[Heard]:
    """What ``Keep`` wrote to ``path``, as packets of ``session``.

    Raises:
        MmstreamError: the file cannot be read, or is no such file.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                found = json.loads(line)
                packet = Packet(session, found["start"], found["end"], _data(found), found["captured_at"])
                yield Heard(packet, found["arrived_at"])
    except OSError as fault:
        raise MmstreamError(f"{path}: cannot be read: {fault.strerror or fault}") from fault
    except (ValueError, TypeError, KeyError) as fault:
        raise MmstreamError(f"{path}: is damaged; remove it and run the command again") from fault


def in_one(pieces: Sequence[tuple[Piece, Path]], session: str) -> Iterator[Heard]:
    """What was heard in all pieces of a file, as if it had been heard in one.

    Utterances are numbered through, in every language alike, and no word leaves its piece: recognisers round their
    times.
    """
    first, past = 0, -1  # index of a piece's first utterance; of the last one so far
    for piece, path in pieces:
        for heard in read_piece(path, session):
            data = heard.packet.data
            if isinstance(data, Caption | Translation):
                past = max(past, first + data.index)
                moved = replace(
                    data,
                    index=first + data.index,
                    stable=tuple(_inside(word, piece) for word in data.stable),
                    unstable=tuple(_inside(word, piece) for word in data.unstable),
                )
                yield replace(heard, packet=replace(heard.packet, data=moved))
            else:
                yield heard
        first = past + 1


def _inside(word: Word, piece: Piece) -> Word:
    end_s = float("inf") if piece.end_s is None else piece.end_s
    if piece.start_s <= word.start and word.end <= end_s:
        return word
    start, end = (min(max(time, piece.start_s), end_s) for time in (word.start, word.end))
    return replace(word, start=start, end=end)


def _payload(data: Caption | Translation | Gap) -> dict[str, Any]:
    if isinstance(data, Gap):
        return {"gap": {"medium": data.medium, "reason": data.reason}}
    stable, unstable = ([astuple(word) for word in words] for words in (data.stable, data.unstable))
    about = {"index": data.index, "final": data.final, "language": data.language}
    kind = "caption" if isinstance(data, Caption) else "translation"
    return {kind: {**about, "stable": stable, "unstable": unstable}}


def _data(found: dict[str, Any]) -> Caption | Translation | Gap:
    if "gap" in found:
        return Gap(**found["gap"])
    kind, text = (Caption, found["caption"]) if "caption" in found else (Translation, found["translation"])
    stable, unstable = (tuple(Word(*word) for word in text[name]) for name in ("stable", "unstable"))
    return kind(text["index"], stable, unstable, text["final"], text["language"])
