"""Translators by name: which model serves a pair of languages, and loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmstream.registry import CATALOGUE, find, pulled_names
from mmstream.registry.catalogue import known
from mmstream.spelling import did_you_mean
from mmstream.translation.ctranslate import CTranslate
from mmstream.translation.engine import Engine, TranslationError
from mmstream.translation.faithful import Faithful
from mmstream.translation.families import Family, family_of, opened
from mmstream.translation.languages import listed, primary

AUTO = "auto"
TASK = "translation"


def load(model: str, source: str, targets: Sequence[str]) -> Mapping[str, Engine]:
    """A translator for each target; those that one model serves share it.

    Raises:
        TranslationError: no such model, or none that translates ``source`` into all ``targets``.
        ModelError: it is not on this machine, or damaged.
    """
    chosen = chosen_folders(model, source, targets)
    engines: dict[Path, Engine] = {}
    for name, folder in chosen.values():
        if folder not in engines:
            engines[folder] = Faithful(CTranslate(folder, name))
    return {target: engines[folder] for target, (_, folder) in chosen.items()}


def check(model: str, source: str, targets: Sequence[str]) -> None:
    """The faults that ``load`` would have, without loading anything large."""
    chosen_folders(model, source, targets)
