"""Translators by name: which model serves a pair of languages, and loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmstream.registry import CATALOGUE, ModelError, absent, find, is_path, pulled_names, store
from mmstream.registry.catalogue import known
from mmstream.spelling import did_you_mean
from mmstream.translation.ctranslate import CTranslate
from mmstream.translation.engine import Engine, TranslationError
from mmstream.translation.faithful import Faithful
from mmstream.translation.families import Family, family_of, opened
from mmstream.translation.languages import listed, primary
from mmstream.translation.languages import name as language_name

AUTO = "auto"
TASK = "translation"


def load(model: str, source: str, targets: Sequence[str]) -> Mapping[str, Engine]:
    """A translator for each target; those that one model serves share it.

    Raises:
        TranslationError: no such model, or none that translates ``source`` into all ``targets``.
        ModelError: it is not on this machine, or damaged.
    """
    found = chosen(model, source, targets)
    engines: dict[Path, Engine] = {}
    for name, folder in found.values():
        if folder not in engines:
            engines[folder] = Faithful(CTranslate(folder, name))
    return {target: engines[folder] for target, (_, folder) in found.items()}


def check(model: str, source: str, targets: Sequence[str]) -> None:
    """The faults that ``load`` would have, without loading anything large."""
    chosen(model, source, targets)


def chosen(model: str, source: str, targets: Sequence[str]) -> dict[str, tuple[str, Path]]:
    """The name and the folder of the model for each target; ``auto``: the first that has the pair, shipped ones first.

    Raises:
        TranslationError: no such model, or none that translates ``source`` into all ``targets``.
        ModelError: it is not on this machine, or damaged.
    """
    if model == AUTO:
        return {target: _best(source, target) for target in targets}
    folder = _folder_of(model)
    for target in targets:
        if not _has(model, folder, source, target):
            raise TranslationError(_without_pair(model, folder, source, target))
    return dict.fromkeys(targets, (model, folder))


def available() -> list[str]:
    """The translators on this machine by name, in the order in which ``auto`` tries them."""
    names = [one.name for one in CATALOGUE.values() if one.task == TASK]
    names += [name for name in pulled_names() if name not in CATALOGUE and _is_translator(store.folder_of(name))]
    return [name for name in names if not _is_restricted(name) and find(name) is not None]


def targets_from(source: str, model: str = AUTO) -> list[str]:
    """The languages that a model translates ``source`` into; of ``auto`` those of the models that ship.

    Raises:
        TranslationError: there is no such model.
        ModelError: it is not on this machine, or damaged.
    """
    names = available() if model == AUTO else [model]
    found: list[str] = []
    for name in names:
        pairs = _pairs(name, _folder_of(name))
        found += [target for origin, target in pairs or () if origin == primary(source)]
    return list(dict.fromkeys(found))


def _best(source: str, target: str) -> tuple[str, Path]:
    names = available()
    for name in names:
        folder = _folder_of(name)
        if _has(name, folder, source, target):
            return name, folder
    there = targets_from(source)
    said = f"; into {listed(there)} there is one" if there else ""
    raise TranslationError(f"no model on this machine translates {source} into {target}{said}; {_MORE}")


def _folder_of(model: str) -> Path:
    entry = known(model)
    if entry is None and model not in pulled_names():
        if is_path(model):
            folder = Path(model).expanduser()
            family_of(folder)
            return folder
        names = [AUTO, *(one.name for one in CATALOGUE.values() if one.task == TASK), *pulled_names()]
        near = did_you_mean(model, names, "there are")
        raise TranslationError(f"there is no translator {model!r}{near}; or write a folder as a path: ./{model}")
    if entry is not None and entry.task != TASK:
        raise TranslationError(f"model {model!r} is for {entry.task}, not for translation")
    found = find(model)
    if found is None or found.path is None:
        raise ModelError(absent(model, entry))
    return found.path


def _has(name: str, folder: Path, source: str, target: str) -> bool:
    pairs = _pairs(name, folder)
    if pairs is not None:
        return (primary(source), primary(target)) in pairs
    family = opened(folder, name)
    return family.knows(source) and family.knows(target)


def _pairs(name: str, folder: Path) -> Sequence[tuple[str, str]] | None:
    """The pairs that a model is for: one in its name where several names share a folder."""
    entry = known(name)
    pairs = opened(folder, name).pairs()
    if entry is None or entry.comes != "package" or pairs is None:
        return pairs
    return [pair for pair in pairs if "-".join(pair) == entry.languages]


def _without_pair(name: str, folder: Path, source: str, target: str) -> str:
    pairs = _pairs(name, folder)
    if pairs is None:
        family: Family = opened(folder, name)
        lacking = source if not family.knows(source) else target
        return f"model {name!r} does not know {language_name(lacking)} ({lacking})"
    there = ", ".join(f"{one} into {other}" for one, other in pairs)
    return f"model {name!r} does not translate {source} into {target}; it translates {there or 'nothing'}"


def _is_translator(folder: Path) -> bool:
    try:
        return bool(family_of(folder))
    except TranslationError:
        return False


def _is_restricted(name: str) -> bool:
    """Whether its licence forbids commerce: nobody gets such a model without asking for it by name."""
    entry = known(name)
    return entry is not None and "NC" in entry.licence


_MORE = "see mmstream models list"
