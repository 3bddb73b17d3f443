"""The models that mmstream knows by name: what loads them, how they come, their licence and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SPHINX = "operators.decoders:Sphinx"
WHISPER = "operators.decoders:Whisper"
AVSR = "operators.decoders:Avsr"
TRANSLATE = "operators.translation:Translate"

ENGLISH, MANY = "en", "many"  # what ``languages`` of a recogniser says

Task = Literal["recognition", "translation", "voice activity"]
Origin = Literal["package", "wheel", "hub"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue."""

    name: str
    task: Task
    use: str  # the operator that loads it
    comes: Origin
    place: str  # package: folder of mmstream.weights; wheel: distribution:folder; hub: owner/repository
    licence: str
    megabytes: int  # on disk, rounded
    languages: str  # "en", or "many"; of a translator, its pair
    rank: int = 0  # among recognisers, higher recognises better


def _whisper(rank: int, name: str, repository: str, megabytes: int) -> Entry:
    languages = "en" if ".en" in name or "distil" in name else "many"
    return Entry(f"whisper-{name}", "recognition", WHISPER, "hub", repository, "MIT", megabytes, languages, rank)


def _opus(pair: str, repository: str, megabytes: int) -> Entry:
    return Entry(f"opus-mt-{pair}", "translation", TRANSLATE, "hub", repository, "CC-BY-4.0", megabytes, pair)


# Conversions that others made of Helsinki-NLP's models. The first one's of en-es is known to lack its weights.
_OPUS = (
    ("en-de", "gaudi/opus-mt-en-de-ctranslate2", 152),
    ("en-fr", "gaudi/opus-mt-en-fr-ctranslate2", 152),
    ("en-es", "michaelfeil/ct2fast-opus-mt-en-es", 150),
    ("de-en", "gaudi/opus-mt-de-en-ctranslate2", 152),
    ("fr-en", "gaudi/opus-mt-fr-en-ctranslate2", 154),
    ("es-en", "gaudi/opus-mt-es-en-ctranslate2", 142),
)

# Repositories: the table of faster-whisper 1.2.1 (`faster_whisper.utils`). Sizes: those of `model.bin` there.
_ENTRIES = (
    Entry("avsr", "recognition", AVSR, "package", "avsr", "Apache-2.0", 10, "en"),
    Entry(
        "sphinx", "recognition", SPHINX, "wheel", "pocketsphinx:pocketsphinx/model/en-us", "BSD-2-Clause", 38, "en", 1
    ),
    _whisper(10, "tiny", "Systran/faster-whisper-tiny", 75),
    _whisper(11, "tiny.en", "Systran/faster-whisper-tiny.en", 75),
    _whisper(20, "base", "Systran/faster-whisper-base", 145),
    _whisper(21, "base.en", "Systran/faster-whisper-base.en", 145),
    _whisper(30, "small", "Systran/faster-whisper-small", 484),
    _whisper(31, "distil-small.en", "Systran/faster-distil-whisper-small.en", 332),
    _whisper(32, "small.en", "Systran/faster-whisper-small.en", 484),
    _whisper(40, "medium", "Systran/faster-whisper-medium", 1528),
    _whisper(41, "distil-medium.en", "Systran/faster-distil-whisper-medium.en", 789),
    _whisper(42, "medium.en", "Systran/faster-whisper-medium.en", 1528),
    _whisper(50, "distil-large-v2", "Systran/faster-distil-whisper-large-v2", 1513),
    _whisper(51, "distil-large-v3", "Systran/faster-distil-whisper-large-v3", 1513),
    _whisper(52, "turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo", 1618),
    _whisper(53, "large-v1", "Systran/faster-whisper-large-v1", 3087),
    _whisper(54, "large-v2", "Systran/faster-whisper-large-v2", 3087),
    _whisper(55, "large-v3", "Systran/faster-whisper-large-v3", 3088),
    *(
        Entry(f"mt-en-{one}", "translation", TRANSLATE, "package", "mt", "CC-BY-2.0-FR data", 10, f"en-{one}")
        for one in ("de", "fr", "es")
    ),
    *(_opus(*one) for one in _OPUS),
    Entry("m2m100-418m", "translation", TRANSLATE, "hub", "michaelfeil/ct2fast-m2m100_418M", "MIT", 970, MANY),
    Entry("m2m100-1.2b", "translation", TRANSLATE, "hub", "michaelfeil/ct2fast-m2m100_1.2B", "MIT", 2480, MANY),
    Entry(
        "nllb-200-distilled-600m",
        "translation",
        TRANSLATE,
        "hub",
        "entai2965/nllb-200-distilled-600M-ctranslate2",
        "CC-BY-NC-4.0",
        2460,
        MANY,
    ),
    Entry(
        "silero-vad", "voice activity", "operators.audio:Vad", "wheel", "silero-vad:silero_vad/data", "MIT", 14, "any"
    ),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}

ALIASES = {
    "whisper-large": "whisper-large-v3",
    "whisper-large-v3-turbo": "whisper-turbo",
}


def known(name: str) -> Entry | None:
    """The entry of that name or alias."""
    return CATALOGUE.get(ALIASES.get(name, name))
