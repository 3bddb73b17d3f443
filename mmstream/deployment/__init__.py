"""What is wrong with a ``deploy/`` folder, as far as that can be told without Docker and without Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mmstream.deployment.composing import compose_faults
from mmstream.deployment.dockerfile import copied, dockerfile_faults, kept_by_ignore, stages
from mmstream.deployment.facts import Facts, gather
from mmstream.deployment.launcher import cluster_faults, is_cluster
from mmstream.deployment.manifests import claims, is_manifest, manifest_faults, pods_of
from mmstream.deployment.parts import Part, read_parts
from mmstream.deployment.shown_commands import shown_faults
from mmstream.pipeline import PipelineError, load
from mmstream.pipeline.problems import Problem

HIDDEN = "."  # what begins so is left out


@dataclass(frozen=True)
class Checked:
    """One file, what it was taken for, and all that is wrong with it."""

    path: str
    what: str
    problems: tuple[Problem, ...]


def examine(folder: Path) -> list[Checked]:
    """Every file of the folder, by name.

    Raises:
        MmstreamError: the folder, or constraints.txt beside it, is not there.
    """
    facts = facts_of(folder)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not _hidden(file.relative_to(folder))]
    return [examine_file(file, facts) for file in files]


def _hidden(path: Path) -> bool:
    return any(name.startswith(HIDDEN) or name == "__pycache__" for name in path.parts)


def facts_of(folder: Path) -> Facts:
    """What the files of a folder must agree with, its own Dockerfile and manifests included.

    Raises:
        MmstreamError: the folder, or constraints.txt beside it, is not there.
    """
    facts = gather(folder)
    file = facts.folder / "Dockerfile"
    text = file.read_text() if file.is_file() else ""
    parts = [part for one in sorted(facts.folder.rglob("*.yaml")) for part in read_parts(one, str(one))[0]]
    manifests = [part for part in parts if is_manifest(part)]
    return replace(
        facts,
        copied=copied(text, facts.root),
        targets=frozenset(stage.name for stage in stages(text)[0]),
        claims=frozenset(claim for part in manifests for claim in claims(part)),
        pods=tuple(pods for part in manifests for pods in pods_of(part)),
    )


def examine_file(file: Path, facts: Facts) -> Checked:
    """One file, by its name or by what is in it."""
    path = str(file)
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return Checked(path, "not text", (Problem(path, 0, "is not UTF-8 text"),))
    what, problems = _by_kind(file, text, facts)
    problems = [*problems, *shown_faults(path, text, facts)]
    return Checked(path, what, tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line)))


def _by_kind(file: Path, text: str, facts: Facts) -> tuple[str, list[Problem]]:
    """What a file is, by its name or by what is in it, and what is wrong with it."""
    path = str(file)
    if file.name == "Dockerfile":
        return "Dockerfile", dockerfile_faults(path, text, facts)
    if file.name.endswith(".dockerignore"):
        gone = [one for one in kept_by_ignore(file) or [] if not (facts.root / one).exists()]
        return "ignore file", [Problem(path, 0, f"lets {one!r} through, which is not there") for one in gone]
    if file.suffix == ".json":
        return "JSON", _json_faults(path, text)
    if file.suffix == ".md":
        return "commands shown", []
    if file.suffix not in (".yaml", ".yml"):
        return "no check", []
    if file.name.startswith("pipeline"):
        return "pipeline", _pipeline_faults(file)
    return _yaml(file, facts)


def _yaml(file: Path, facts: Facts) -> tuple[str, list[Problem]]:
    parts, problems = read_parts(file, str(file))
    kinds: list[str] = []
    for part in parts:
        kind, check = _check_of(part, file)
        kinds.append(kind)
        problems += check(part, facts) if check is not None else []
    return ", ".join(dict.fromkeys(kinds)) or "empty", problems


def _check_of(part: Part, file: Path) -> tuple[str, Callable[[Part, Facts], list[Problem]] | None]:
    if is_manifest(part):
        return str(part.content["kind"]), manifest_faults
    if is_cluster(part):
        return "cluster of `ray up`", cluster_faults
    if file.name.startswith("compose"):
        return "Compose", compose_faults
    return "YAML, read only", None


def _pipeline_faults(file: Path) -> list[Problem]:
    try:
        load(file, environment={})
    except PipelineError as error:
        return list(error.problems)
    return []


def _json_faults(path: str, text: str) -> list[Problem]:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return [Problem(path, error.lineno, f"not JSON: {error.msg}")]
    return []
