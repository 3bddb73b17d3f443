"""Captions on the terminal, as they are spoken."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text

from mmstream.core import MmstreamError, Packet, Sink
from mmstream.media import Caption, Gap, Translation, join_words
from mmstream.translation.languages import checked
from operators.sinks.blocks import Block, Blocks
from operators.sinks.screen import Line, Screen
from operators.sinks.utterances import Utterance, describe_gap

SAME_LOSS_S = 0.2  # a loss of pictures so soon after one of the same reason goes on


@dataclass
class TerminalState:
    session: str
    blocks: Blocks
    unseen: Packet[Gap] | None = None  # the last loss of pictures


class Terminal(Sink[TerminalState]):
    """Captions on standard output, one line per utterance, in the order in which utterances end.

    On a terminal an utterance is shown while it is spoken, stable words plain and unstable ones dim, and changes in
    place. Into a pipe or a file goes each utterance once it is over, whole and at once. ``times`` puts the
    media time before each line. The session's name stands there from the moment on when a second one is open.

    Translations into ``languages`` stand below what was said, each behind its language. An utterance then is whole once
    they are; until that it is shown as far as it has come.

    With ``many`` sessions every line has its name, and on a terminal too an utterance is shown once it is over.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Translation, Gap)
    any_order = True

    def __init__(self, times: bool = False, many: bool = False, languages: list[str] | None = None) -> None:
        self.times = times
        self.many = many
        self.languages = tuple(dict.fromkeys(checked(one) for one in languages or ()))
        self._named = many
        self._open: dict[str, TerminalState] = {}
        self._screen: Screen | None = None  # on a terminal, while a session is open

    def open(self, session: str) -> TerminalState:
        able = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        if able and not self.many and not self._open:
            self._screen = Screen(sys.stdout)
        state = self._open[session] = TerminalState(session, Blocks(self.languages))
        self._named = self._named or len(self._open) > 1
        return state

    def process(self, packet: Packet[Any], state: TerminalState) -> Iterable[Packet[Any]]:
        if self._take(packet, state) and not self._print_all(state.blocks.due(), state):
            self._show_open()
        return ()

    def _take(self, packet: Packet[Any], state: TerminalState) -> bool:
        """Whether there is anything new to show."""
        if isinstance(packet.data, Caption):
            return state.blocks.say(packet)
        if isinstance(packet.data, Translation):
            return state.blocks.translate(packet.data)
        if self._goes_on(packet, state):
            return False
        state.blocks.lose(packet)
        return True

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
            self._print_all(state.blocks.rest(), state)
        finally:
            self._open.pop(state.session, None)
            if not self._open and self._screen is not None:
                screen, self._screen = self._screen, None
                with _writing():
                    screen.close()

    def _print_all(self, over: Iterable[Block | Packet[Gap]], state: TerminalState) -> bool:
        """Print for good, above the open utterances; whether there was anything."""
        printed = False
        for one in over:
            lines, printed = self._lines(one, state, over=True), True
            with _writing():
                if self._screen is not None:
                    self._screen.print(lines, below=self._open_lines())
                else:
                    sys.stdout.write("".join(f"{line.plain}\n" for line in lines))
                    sys.stdout.flush()
        return printed

    def _show_open(self) -> None:
        if self._screen is not None:
            with _writing():
                self._screen.show(self._open_lines())

    def _open_lines(self) -> list[Line]:
        return [
            line
            for state in self._open.values()
            for one in state.blocks.standing()
            for line in self._lines(one, state, over=False)
        ]

    def _lines(self, one: Block | Packet[Gap], state: TerminalState, *, over: bool) -> list[Line]:
        """A block or a loss, as it is shown. What is ``over`` is plain: nothing of it will change."""
        if not isinstance(one, Block):
            head = self._head(one.start, state)
            return [Line(Text.assemble(head, (f"[{describe_gap(one)}]", "dim")))]
        head = self._head(one.said.words[0].start, state)
        lines = [Line(Text.assemble(head, _shown(one.said, over=one.over)))]
        width = max(map(len, self.languages), default=0)
        for translation in one.translations:
            named = Text(f"{_printable(state.session)}: ", "bold") if self._named else Text()
            language = (f"  {translation.language.ljust(width)}  ", "dim")
            lines.append(Line(_shown(translation, over=over), Text.assemble(named, language)))
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


def _shown(said: Utterance, *, over: bool) -> Text:
    """The words; unless all is ``over``, those that may change are dim."""
    stable = said.text if over else join_words(said.stable, said.language)
    return Text.assemble(_printable(stable), (_printable(said.text[len(stable) :]), "dim"))


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
