"""The bottom of a terminal: lines that still change, below lines that are there for good."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

NARROWEST = 20  # columns that are left to a line behind its head; with fewer, its further rows begin at the left


@dataclass(frozen=True)
class Line:
    """A line that is wrapped. All its rows stand behind ``head``, which is on the first one only."""

    text: Text
    head: Text = field(default_factory=Text)

    @property
    def plain(self) -> str:
        return self.head.plain + self.text.plain

    def rows(self, console: Console, columns: int) -> Iterator[Text]:
        indent = self.head.cell_len
        if not indent or columns - indent < NARROWEST:
            yield from Text.assemble(self.head, self.text).wrap(console, columns)
            return
        for number, row in enumerate(self.text.wrap(console, columns - indent)):
            yield Text.assemble(Text(" " * indent) if number else self.head, row)


class Screen:
    """Draws at the bottom of a terminal, whatever its width and however it is resized. Safe from several threads.

    While it is open, lines that anybody writes to ``sys.stderr`` on a terminal appear above the changing lines
    instead of in their midst.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._console = Console(file=terminal, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._lock = threading.RLock()
        self._below: list[Line] = []  # the lines that still change
        self._rows: list[int] = []  # columns of each row of theirs on the screen; the cursor stands after the last
        self._size = os.terminal_size((0, 0))
        self._errors = _Above(self, sys.stderr) if sys.stderr.isatty() else None
        if self._errors is not None:
            sys.stderr = self._errors

    def print(self, lines: Sequence[Line], below: Sequence[Line]) -> None:
        """Print ``lines`` for good, and show ``below`` under them."""
        with self._lock:
            self._below = list(below)
            self._draw(lines)

    def show(self, below: Sequence[Line]) -> None:
        """Show ``below`` in place of the changing lines."""
        with self._lock:
            if self._below != list(below) or self._size != _size(self._terminal):
                self._below = list(below)
                self._draw([])

    def write_above(self, stream: TextIO, text: str) -> None:
        """Write whole lines to another stream of the same terminal, above the changing lines."""
        with self._lock:
            below, self._below = self._below, []
            self._draw([])
            stream.write(text)
            stream.flush()
            self._below = below
            self._draw([])

    def close(self) -> None:
        """Take the changing lines away; the cursor stands at the beginning of a line."""
        try:
            self.show([])
        finally:
            if self._errors is not None:
                if sys.stderr is self._errors:
                    sys.stderr = self._errors.stream
                self._errors.release()

    def _draw(self, above: Sequence[Line]) -> None:
        """Erase the changing lines, print ``above`` for good, draw the changing lines; all in one write."""
        self._size = self._console.size = _size(self._terminal)
        with self._console as console:
            console.control(self._erasure())
            for line in above:
                for row in line.rows(console, self._size.columns):
                    console.print(row, no_wrap=True, crop=False)
            rows = [row for line in self._below for row in line.rows(console, self._size.columns)]
            rows = rows[-max(1, self._size.lines - 1) :]  # the cursor cannot go back to what has left the screen
            for number, row in enumerate(rows, start=1):
                console.print(row, no_wrap=True, crop=False, end="\n" if number < len(rows) else "")
        self._rows = [row.cell_len for row in rows]

    def _erasure(self) -> Control:
        """Erases the rows drawn last. A terminal that has become narrower has broken the longer ones itself."""
        if not self._rows:
            return Control()
        height = sum(max(1, -(-columns // self._size.columns)) for columns in self._rows)
        up = min(height, self._size.lines) - 1
        return Control(
            ControlType.CARRIAGE_RETURN,
            (ControlType.ERASE_IN_LINE, 2),
            *((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)) * up,
        )


class _Above(io.TextIOBase):
    """Stands in for ``sys.stderr``: passes whole lines on above the changing lines of a screen."""

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self.stream = stream
        self._screen = screen
        self._begun = ""  # a line that has no end yet

    def write(self, text: str) -> int:
        lines, newline, self._begun = (self._begun + text).rpartition("\n")
        if newline:
            self._screen.write_above(self.stream, lines + newline)
        return len(text)

    def release(self) -> None:
        """Pass on what was begun; nothing is on the screen any more."""
        self.stream.write(self._begun)
        self.stream.flush()
        self._begun = ""

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()


def _size(terminal: TextIO) -> os.terminal_size:
    """Columns and lines as they are now; a pseudo-terminal that was never told its size reports 0."""
    columns, lines = os.get_terminal_size(terminal.fileno())
    return os.terminal_size((columns or 80, lines or 25))
