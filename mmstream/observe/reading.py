"""The spans of a session, read back from the files of all its processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError
from mmstream.media import Caption, Word
from mmstream.observe.spans import SUFFIX, Shown, Span

LISTED = 12  # sessions that a message names


@dataclass
class Trace:
    """One run of one session."""

    session: str
    run: float  # wall-clock second at which the run began
    spans: dict[str, list[Span]] = field(default_factory=dict)  # by process such as decode-0, in order of beginning
    shown: list[Shown] = field(default_factory=list)  # in order of time
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)  # node -> the nodes before it
    unread: int = 0  # lines that were cut short


def sessions(folder: Path) -> dict[str, list[Path]]:
    """The sessions that ``folder`` holds spans of, each with its files.

    Raises:
        MmstreamError: there is no such folder, it cannot be read, or it holds none.
    """
    found: dict[str, list[Path]] = {}
    try:
        if not folder.is_dir():
            raise MmstreamError(f"{folder}: no such folder")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            about = next((content for content in _contents(path) if content and "session" in content), None)
            if about is not None:
                found.setdefault(str(about["session"]), []).append(path)
    except OSError as fault:
        raise _cannot_read(folder, fault) from fault
    if not found:
        raise MmstreamError(
            f"{folder}: holds no spans (*{SUFFIX}); write some with 'mmstream run ... --trace {folder}'"
        )
    return found


def read(folder: Path, session: str) -> Trace:
    """The latest run of ``session`` in ``folder``.

    Raises:
        MmstreamError: as ``sessions``; or there is no such session, and these there are.
    """
    found = sessions(folder)
    if session not in found:
        raise MmstreamError(f"{folder}: no session {session!r}; there {_listed(sorted(found))}")
    traces: dict[float, Trace] = {}
    try:
        for path in found[session]:
            _read_file(path, session, traces)
    except OSError as fault:
        raise _cannot_read(folder, fault) from fault
    trace = traces[max(traces)]
    for spans in trace.spans.values():
        spans.sort(key=lambda span: span.began)
    trace.shown.sort(key=lambda shown: shown.at)
    return trace


def _read_file(path: Path, session: str, traces: dict[float, Trace]) -> None:
    trace, worker = None, ""
    for content in _contents(path):
        try:
            if content is None:
                raise ValueError("cut short")
            if "session" in content:
                worker = f"{content['worker']}-{content['number']}"
                trace = traces.setdefault(float(content["run"]), Trace(session, float(content["run"])))
                trace.inputs |= {node: tuple(before) for node, before in content["inputs"].items()}
            elif trace is None:
                continue
            elif "shown" in content:
                trace.shown.append(_shown(session, content))
            else:
                trace.spans.setdefault(worker, []).append(_span(session, content))
        except (ValueError, TypeError, KeyError, AttributeError):
            if trace is not None:
                trace.unread += 1


def _contents(path: Path) -> Iterator[Mapping[str, Any] | None]:
    """Every line that is not empty; None for one that is no JSON object."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):
                    content = None
                yield content if isinstance(content, dict) else None


def _span(session: str, content: Mapping[str, Any]) -> Span:
    gave = content["gave"]
    return Span(
        session,
        str(content["node"]),
        str(content["kind"]),
        float(content["start"]),
        float(content["end"]),
        float(content["captured_at"]),
        float(content["began"]),
        float(content["ended"]),
        float(content["waited_s"]),
        int(content["batch"]),
        None if gave is None else (float(gave[0]), float(gave[1])),
    )


def _shown(session: str, content: Mapping[str, Any]) -> Shown:
    stable, unstable = (
        tuple(Word(str(word["word"]), float(word["start"]), float(word["end"])) for word in content[name])
        for name in ("stable", "unstable")
    )
    caption = Caption(int(content["index"]), stable, unstable, bool(content["final"]))
    place = (float(content["start"]), float(content["end"]), float(content["captured_at"]))
    return Shown(session, str(content["shown"]), float(content["at"]), *place, caption)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(repr(name) for name in names[:LISTED])}{more}"


def _cannot_read(folder: Path, fault: OSError) -> MmstreamError:
    return MmstreamError(f"{fault.filename or folder}: cannot be read: {fault.strerror or fault}")
