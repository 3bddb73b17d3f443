"""``multipart/form-data`` taken apart as it comes: start, data and end of each part, within limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MAX_PARTS = 100
MAX_NAME = 200  # characters of a field's or file's name


class MalformedForm(Exception):  # noqa: N818 - it is the form that is
    """The body is no such form. The message is one line for the client."""


class FormTooLarge(Exception):  # noqa: N818 - it is the form that is
    """The fields of the form are too large, or too many. The message is one line for the client."""


@dataclass(frozen=True, slots=True)
class PartStart:
    """A field begins."""

    name: str
    file_name: str | None  # None: it is text


@dataclass(frozen=True, slots=True)
class PartData:
    """Some of its content."""

    data: bytes
    in_file: bool


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The field is whole."""

    in_file: bool


PartEvent = PartStart | PartData | PartEnd


class Parts:
    """One body. What ``feed`` gives is never more than what it was fed, but for the names."""

    def __init__(self, content_type: str, field_bytes: int) -> None:
        """``field_bytes``: of the content of all parts that are no files, together.

        Raises:
            MalformedForm: it is another type of body.
        """
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise MalformedForm("the body must be multipart/form-data with a boundary")
        self._field_bytes = field_bytes
        self._events: list[PartEvent] = []
        self._parts = 0
        self._in_file = False
        self._ended = False
        self._header = (bytearray(), bytearray())  # the name and value that are being read
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._start_part,
                    "on_part_data": self._add,
                    "on_part_end": lambda: self._events.append(PartEnd(self._in_file)),
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MalformedForm("the form's boundary is too long") from error

    def feed(self, data: bytes) -> Iterator[PartEvent]:
        """What ``data`` brings.

        Raises:
            MalformedForm: it is no such form.
            FormTooLarge: its fields are beyond the limits.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedForm("the body is no well-formed multipart/form-data") from error
        events, self._events = self._events, []
        return iter(events)

    def end(self) -> None:
        """The body is over.

        Raises:
            MalformedForm: the form is not.
        """
        if not self._ended:
            raise MalformedForm("the form breaks off in the middle")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise FormTooLarge(f"the form has more than {MAX_PARTS} fields")
        self._disposition = b""

    def _end_header(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _start_part(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise MalformedForm("a field of the form has no name")
        file_name = options.get(b"filename")
        self._in_file = file_name is not None
        self._events.append(PartStart(_text(name), None if file_name is None else _text(file_name)))

    def _add(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._field_bytes -= end - start
            if self._field_bytes < 0:
                raise FormTooLarge("the fields of the form are too large")
        self._events.append(PartData(bytes(data[start:end]), self._in_file))

    def _end(self) -> None:
        self._ended = True


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:MAX_NAME]
