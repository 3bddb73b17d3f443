"""YAML text -> plain values, with the line of each; nothing but plain values ever comes out.

Scalars follow the core schema of YAML 1.2, not PyYAML's 1.1: ``no`` and ``on`` are text, so that ``language: no`` is
Norwegian, ``12:30`` is text and ``1e-3`` a number. Keys are always text. Tags are refused; anchors and aliases work,
within a bound on the values they expand to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Keys = tuple[str | int, ...]  # where a value stands: ("nodes", "mel", "with", "n_mels")
Complain = Callable[[int, str], None]  # line, message

MAX_BYTES = 1 << 20  # of a file
MAX_VALUES = 10_000  # in a file, aliases expanded
MAX_DEPTH = 30

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class NotYamlError(Exception):
    """The text is not YAML, or not YAML that a pipeline may hold. Reading stops here."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


@dataclass(slots=True, eq=False)
class Value:
    """One value of the text, before aliases are expanded and variables replaced."""

    line: int  # 1-based
    content: str | list[Value] | list[tuple[Value, Value]]
    is_mapping: bool = False
    plain: bool = False  # a scalar without quotes, which may mean a number
    closed: bool = True  # False while its end is still to come
    refused: bool = False  # it bears a tag, which has been complained of


Replace = Callable[[Value], tuple[Any, str | None]]  # a scalar -> what it means, and the text it may mean instead


def scalar(text: str) -> Any:
    """What an unquoted scalar means: null, true or false, a number, or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def parse(text: str, complain: Complain) -> Value | None:
    """The one document in ``text``; None for an empty one. Tags and other local faults go to ``complain``.

    Raises:
        NotYamlError: what follows cannot be made sense of.
    """
    builder = _Builder(complain)
    try:
        # The parser in Python, not libyaml's: it is fast enough for these sizes and its messages name what it found.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        raise NotYamlError(line, f"not YAML: it holds the control character {fault.character:#04x}") from fault
    except yaml.MarkedYAMLError as fault:
        raise _explain(text, fault) from fault
    return builder.root


@dataclass
class _Builder:
    """Gathers parser events into values, without recursion and within bounds."""

    complain: Complain
    root: Value | None = None
    count: int = 0
    open: list[Value] = field(default_factory=list)
    keys: list[Value | None] = field(default_factory=list)  # for each open mapping: the key that waits for its value
    anchors: dict[str, Value] = field(default_factory=dict)

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        line = mark.line + 1 if mark is not None else 1
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise NotYamlError(line, "a second document begins here ('---'): a pipeline file holds one")
        if isinstance(event, yaml.AliasEvent):
            self._add(self._aliased(event, line))
        elif isinstance(event, yaml.ScalarEvent):
            self._begin(Value(line, event.value, plain=event.style is None), event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(Value(line, [], closed=False), event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(Value(line, [], is_mapping=True, closed=False), event)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            self.open.pop().closed = True
            self.keys.pop()

    def _begin(self, value: Value, event: Any) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.complain(value.line, f"the tag {tag!r} is not allowed: a pipeline file holds plain values only")
            value.refused = True
        if event.anchor is not None:
            self.anchors[event.anchor] = value
        self._add(value)
        if not value.closed:
            if len(self.open) == MAX_DEPTH:
                raise NotYamlError(value.line, f"values lie more than {MAX_DEPTH} levels deep")
            self.open.append(value)
            self.keys.append(None)

    def _add(self, value: Value) -> None:
        self.count += 1
        if self.count > MAX_VALUES:
            raise NotYamlError(value.line, f"more than {MAX_VALUES:,} values: a pipeline file is far smaller")
        if not self.open:
            self.root = value
            return
        content: list[Any] = self.open[-1].content  # type: ignore[assignment]  # an open value is a list or mapping
        key = self.keys[-1]
        if not self.open[-1].is_mapping:
            content.append(value)
        elif key is None:
            self.keys[-1] = value
        else:
            content.append((key, value))
            self.keys[-1] = None

    def _aliased(self, event: yaml.AliasEvent, line: int) -> Value:
        value = self.anchors.get(event.anchor or "")
        if value is None:
            raise NotYamlError(line, f"the alias '*{event.anchor}' has no anchor '&{event.anchor}' before it")
        if not value.closed:
            raise NotYamlError(line, f"the alias '*{event.anchor}' stands inside its own anchor")
        return value


def _explain(text: str, fault: yaml.MarkedYAMLError) -> NotYamlError:
    """The parser's complaint in one line, with a hint for the usual slips."""
    rows = text.splitlines() or [""]
    mark = fault.problem_mark or fault.context_mark
    line = min(mark.line + 1, len(rows)) if mark is not None else 1
    row = rows[line - 1]
    said = " ".join((fault.problem or "").split())
    if row[: len(row) - len(row.lstrip())].count("\t"):
        said = "YAML indents with spaces, not with tabs"
    elif mark is not None and row[max(0, mark.column - 1) : mark.column + 1] == "${":
        said = 'inside {...} and [...] a variable needs quotes: "${NAME}"'
    elif "mapping values are not allowed" in said:
        said = "a ':' that does not belong here: check the indentation, or quote a value that holds ': '"
    elif "<block end>" in said:
        said = "the indentation does not fit the lines above"
    elif "'<stream end>'" in said:
        said = said.replace("'<stream end>'", "the end of the file")
    elif "cannot start any token" in said and mark is not None:
        said = f"a value cannot begin with {row[mark.column : mark.column + 1]!r}: quote it"
    began = fault.context_mark
    if began is not None and began.line + 1 != line and fault.context:
        said += f" ({' '.join(fault.context.split())} that begins on line {began.line + 1})"
    return NotYamlError(line, f"not YAML: {said}")


@dataclass
class Plain:
    """Makes plain values of parsed ones, and notes the line of every place among them."""

    replace: Replace
    complain: Complain
    lines: dict[Keys, int] = field(default_factory=dict)
    texts: dict[Keys, str] = field(default_factory=dict)  # what ``replace`` says a place may also mean
    count: int = 0

    def values(self, value: Value, keys: Keys = ()) -> Any:
        """``value`` as dict, list or scalar, aliases expanded.

        Raises:
            NotYamlError: the aliases expand to more than a pipeline may hold.
        """
        self.count += 1
        if self.count > MAX_VALUES or len(keys) > MAX_DEPTH:
            raise NotYamlError(
                value.line, f"the aliases expand to more than {MAX_VALUES:,} values or {MAX_DEPTH} levels"
            )
        self.lines.setdefault(keys, value.line)
        if isinstance(value.content, str):
            meaning, text = self.replace(value)
            if text is not None:
                self.texts[keys] = text
            return meaning
        if value.is_mapping:
            return self._mapping(value, keys)
        return [self.values(entry, (*keys, index)) for index, entry in enumerate(value.content)]  # type: ignore[arg-type]

    def _mapping(self, value: Value, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for name, key, entry in _entries(value, self.complain):
            if name in mapping:
                first = self.lines[(*keys, name)]
                self.complain(key.line, f"duplicate name {name!r}: it stands on line {first} already")
                continue
            self.lines[(*keys, name)] = key.line
            mapping[name] = self.values(entry, (*keys, name))
        return mapping


def _entries(mapping: Value, complain: Complain) -> Iterator[tuple[str, Value, Value]]:
    for pair in mapping.content:
        assert isinstance(pair, tuple)
        key, value = pair
        if isinstance(key.content, str):
            yield key.content, key, value
        else:
            complain(key.line, "a key must be a name, not a list or a mapping")
