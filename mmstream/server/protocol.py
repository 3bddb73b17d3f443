"""The live protocol, version 1: what a client says, checked, and the codes with which it is told no.

docs/protocol.md is the contract; ``events`` makes what the server says.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from mmstream.server.refusal import Refusal
from operators.sources.incoming import PCM_CHANNELS, PCM_RATES

VERSION = 1
FINISHED_CLOSE = 1000
LONGEST_TEXT = 4096  # characters of a message from a client: none is longer
LONGEST_TAG = 35  # characters of a language's BCP-47 code


class BadMessage(Refusal):
    """The client does not keep to the protocol."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_message", message, 400, 4400)


class UnknownSession(Refusal):
    """There is no session that could be resumed like this."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown_session", message, 404, 4404)


class AlreadyConnected(Refusal):
    """Another connection has taken the session over."""

    def __init__(self) -> None:
        super().__init__("already_connected", "another connection goes on with this session", 409, 4409)


class Internal(Refusal):
    """What went wrong is ours, and in the log under the session's name."""

    def __init__(self, session: str) -> None:
        super().__init__("internal", f"session {session} failed; the server's log says why", 500, 1011)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # of a later version, perhaps


class PcmMedia(_Message):
    """16-bit little-endian samples, channels interleaved."""

    kind: Literal["pcm"]
    sample_rate: int = Field(16_000, ge=PCM_RATES[0], le=PCM_RATES[1], strict=True)  # Hz
    channels: int = Field(1, ge=PCM_CHANNELS[0], le=PCM_CHANNELS[1], strict=True)


class ContainerMedia(_Message):
    """A container with sound, pictures or both, as MediaRecorder and ffmpeg write them while they record."""

    kind: Literal["container"]


PCM = PcmMedia(kind="pcm", sample_rate=16_000, channels=1)


class Start(_Message):
    """Begin a session."""

    type: Literal["start"]
    protocol: Literal[1]
    model: str = Field("auto", max_length=200)
    language: str | None = Field(None, max_length=LONGEST_TAG)  # BCP-47
    translate: list[Annotated[str, Field(max_length=LONGEST_TAG)]] = []  # likewise: into what
    media: Annotated[PcmMedia | ContainerMedia, Field(discriminator="kind")] = PCM
    offset_s: float = Field(0.0, ge=0, le=1e7, allow_inf_nan=False)  # added to all times


class Resume(_Message):
    """Go on with a session after a dropped connection."""

    type: Literal["resume"]
    protocol: Literal[1]
    token: str = Field(max_length=200)
    after: int = Field(0, ge=-1, strict=True)  # seq of the last event that came; 0 or -1: none


class Finish(_Message):
    """The media has ended."""

    type: Literal["finish"]


class Ping(_Message):
    """Ask for a pong."""

    type: Literal["ping"]
    id: Any = None  # comes back as it is

    @field_validator("id")
    @classmethod
    def _can_come_back(cls, value: Any) -> Any:
        """Raises ValueError: it holds NaN or infinity, which are read in JSON here, but by nobody else."""
        json.dumps(value, allow_nan=False)
        return value


First = Annotated[Start | Resume, Field(discriminator="type")]
Later = Annotated[Finish | Ping, Field(discriminator="type")]
_FIRST: TypeAdapter[Start | Resume] = TypeAdapter(First)
_LATER: TypeAdapter[Finish | Ping] = TypeAdapter(Later)


def read_first(text: str) -> Start | Resume:
    """The first message of a connection.

    Raises:
        BadMessage: it is none.
    """
    first: Start | Resume = _read(_FIRST, text)
    return first


def read_later(text: str) -> Finish | Ping:
    """Any other message.

    Raises:
        BadMessage: it is none.
    """
    later: Finish | Ping = _read(_LATER, text)
    return later


def _read(adapter: TypeAdapter[Any], text: str) -> Any:
    if len(text) > LONGEST_TEXT:
        raise BadMessage(f"a message is {LONGEST_TEXT} characters at most, not {len(text)}")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadMessage(f"{place}: {first['msg']}" if place else first["msg"]) from error
