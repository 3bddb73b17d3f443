"""What a client of ``/v1/listen`` asks for in the address: https://developers.deepgram.com/reference/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mmstream.server.models import AUTO
from mmstream.server.refusal import Refusal
from operators.sources.incoming import PCM_CHANNELS, PCM_RATES

Sound = Literal["linear16", "mulaw", "alaw"]

SOUNDS: tuple[Sound, ...] = ("linear16", "mulaw", "alaw")
# Containers say themselves what is in them; these names are taken for "look into the container".
CONTAINERS = frozenset({"opus", "ogg-opus", "flac"})
# Deepgram's own models, for which the default one stands in.
DEEPGRAM_MODEL = re.compile(r"(nova|enhanced|base)(-[a-z0-9-]+)?|whisper(-[a-z0-9-]+)?|flux-[a-z-]+")
ANY_LANGUAGE = "multi"


class QueryError(Refusal):
    """A parameter that cannot be met; one line says which and what would do."""

    def __init__(self, message: str) -> None:
        super().__init__("Bad Request", message, 400, 4400)


@dataclass(frozen=True)
class Listen:
    """What is asked for. Of the parameters that are not here nothing is known, and nothing is done."""

    model: str = AUTO
    language: str | None = None  # BCP-47; None: whatever the model takes it for
    encoding: Sound | None = None  # None: a container that says itself
    sample_rate: int = 0  # Hz, of sound without a container
    channels: int = 1  # likewise; they are mixed
    interim_results: bool = False
    punctuated: bool = False  # capitals and punctuation as the recogniser gives them
    utterance_end: bool = False  # tell the end of each utterance in a message of its own
    vad_events: bool = False  # tell the beginning of each, likewise
    translate: tuple[str, ...] = ()  # BCP-47, as they were written


def parse(query: Mapping[str, str]) -> Listen:
    """Check the parameters that are understood.

    Raises:
        QueryError: one of them has no meaning, or asks for something that is not served.
    """
    encoding = _encoding(query.get("encoding"))
    if encoding is not None and "sample_rate" not in query:
        raise QueryError(f"encoding={encoding} needs sample_rate, in Hz, such as sample_rate=16000")
    language = query.get("language") or None
    return Listen(
        model=query.get("model") or AUTO,
        language=None if language == ANY_LANGUAGE else language,
        encoding=encoding,
        sample_rate=_number(query, "sample_rate", PCM_RATES) if encoding is not None else 0,
        channels=_number(query, "channels", PCM_CHANNELS) if "channels" in query else 1,
        interim_results=_flag(query, "interim_results"),
        punctuated=_flag(query, "punctuate") or _flag(query, "smart_format"),
        utterance_end=query.get("utterance_end_ms", "false").lower() not in ("false", "", "0"),
        vad_events=_flag(query, "vad_events"),
        translate=tuple(one.strip() for one in query.get("translate", "").split(",") if one.strip()),
    )


def served_name(model: str, served: Sequence[str]) -> str:
    """The name by which the service knows what a client calls ``model``."""
    return AUTO if model not in served and DEEPGRAM_MODEL.fullmatch(model) else model


def _encoding(name: str | None) -> Sound | None:
    """Raises QueryError for one that is not served."""
    if not name or name in CONTAINERS:
        return None
    for sound in SOUNDS:
        if name == sound:
            return sound
    raise QueryError(
        f"encoding={name[:40]} is not served: send {', '.join(SOUNDS)}, or a container (WebM, Ogg, WAV, "
        "FLAC, MPEG-TS, fragmented MP4) without encoding"
    )


def _number(query: Mapping[str, str], name: str, legal: tuple[int, int]) -> int:
    text, (low, high) = query[name], legal
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else -1
    if not low <= number <= high:
        raise QueryError(f"{name} is a whole number from {low} to {high}, not {text[:40]!r}")
    return number


def _flag(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", ""):
        raise QueryError(f"{name} is true or false, not {text[:40]!r}")
    return text in ("true", "1")
