"""Captions on the terminal, as they are spoken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.text import Text

from mmstream.core import MmstreamError, Packet, Sink
from mmstream.media import Caption, Gap, join_words
from operators.sinks.screen import Screen
from operators.sinks.utterances import Utterances, describe_gap

SAME_LOSS_S = 0.2  # a loss of pictures so soon after one of the same reason goes on


@dataclass
class TerminalState:
    session: str
    utterances: Utterances = field(default_factory=Utterances)
    unseen: Packet[Gap] | None = None  # the last loss of pictures


class Terminal(Sink[TerminalState]):
    """Captions on standard output, one line per utterance, in the order in which utterances end.

    On a terminal an utterance is shown while it is spoken, stable words plain and unstable ones dim, and changes in
    place. Into a pipe or a file goes each utterance once it is over, whole and at once. ``times`` puts the
    media time before each line. The session's name stands there from the moment on when a second one is open.

    With ``many`` sessions every line has its name, and on a terminal too an utterance is shown once it is over.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Gap)

    def __init__(self, times: bool = False, many: bool = False) -> None:
        self.times = times
        self.many = many
        self._named = many
        self._open: dict[str, TerminalState] = {}
        self._screen: Screen | None = None  # on a terminal, while a session is open

    def open(self, session: str) -> TerminalState:
        able = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        if able and not self.many and not self._open:
            self._screen = Screen(sys.stdout)
        state = self._open[session] = TerminalState(session)
        self._named = self._named or len(self._open) > 1
        return state

    def process(self, packet: Packet[Any], state: TerminalState) -> Iterable[Packet[Any]]:
        if isinstance(packet.data, Gap):
            if self._goes_on(packet, state):
                return ()
            self._print(Text.assemble(self._head(packet.start, state), (f"[{describe_gap(packet)}]", "dim")))
        elif not state.utterances.repeats(packet.data):
            over = list(state.utterances.take(packet))
            for utterance in over:
                self._print_utterance(utterance, state)
            if not over:
                self._show_open()
        return ()

    def _goes_on(self, packet: Packet[Gap], state: TerminalState) -> bool:
        """Whether this loss of pictures is one that was shown: nobody wants to read it every second."""
        if packet.data.medium != "video":
            return False
        before, state.unseen = state.unseen, packet
        return before is not None and before.data == packet.data and packet.start <= before.end + SAME_LOSS_S

    def flush(self, state: TerminalState) -> Iterable[Packet[Any]]:
        self._finish(state)
        return ()

    def discard(self, state: TerminalState) -> None:
        with contextlib.suppress(MmstreamError):  # it may be standard output that failed: that has been said
            self._finish(state)

    def close(self) -> None:
        for state in list(self._open.values()):
            self.discard(state)

    def _finish(self, state: TerminalState) -> None:
        """What was shown last stays, as the end of the session's lines."""
        try:
            for utterance in state.utterances.rest():
                self._print_utterance(utterance, state)
        finally:
            self._open.pop(state.session, None)
            if not self._open and self._screen is not None:
                screen, self._screen = self._screen, None
                with _writing():
                    screen.close()

    def _print_utterance(self, packet: Packet[Caption], state: TerminalState) -> None:
        """Print what is over; an utterance whose words were all withdrawn only vanishes."""
        if packet.data.words:
            start = packet.data.words[0].start
            self._print(Text.assemble(self._head(start, state), _printable(packet.data.text)))
        else:
            self._show_open()

    def _print(self, line: Text) -> None:
        """Print a line for good, above the open utterances."""
        with _writing():
            if self._screen is not None:
                self._screen.print(line, below=self._open_lines())
            else:
                sys.stdout.write(line.plain + "\n")
                sys.stdout.flush()

    def _show_open(self) -> None:
        if self._screen is not None:
            with _writing():
                self._screen.show(self._open_lines())

    def _open_lines(self) -> list[Text]:
        lines = []
        for state in self._open.values():
            if state.utterances.open is None or not state.utterances.open.data.words:
                continue
            caption = state.utterances.open.data
            stable = join_words(caption.stable, caption.language)
            unstable = caption.text[len(stable) :]
            head = self._head(caption.words[0].start, state)
            lines.append(Text.assemble(head, _printable(stable), (_printable(unstable), "dim")))
        return lines

    def _head(self, start: float, state: TerminalState) -> Text:
        """What stands before a line."""
        head = Text()
        if self.times:
            seconds, tenths = divmod(int(10 * start), 10)
            head.append(f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{tenths} ", "bold")
        if self._named:
            head.append(f"{_printable(state.session)}: ", "bold")
        return head


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Turns faults of standard output into one line."""
    try:
        yield
    except BrokenPipeError as fault:
        # Otherwise the interpreter complains when it ends (signal module, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MmstreamError("standard output: its reader has gone") from fault
    except OSError as fault:
        raise MmstreamError(f"standard output: cannot be written: {fault.strerror or fault}") from fault


def _printable(text: str) -> str:
    """The text without what could steer the terminal or break the line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
