"""The Dockerfile: stages, pinned versions, who runs, how its health is told, and files that it copies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmstream.deployment import settings
from mmstream.deployment.facts import IMAGE, Facts, image_fault
from mmstream.deployment.programs import command_faults, shell_faults
from mmstream.pipeline.problems import Problem

WORDS = set(
    "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME "
    "WORKDIR".split()
)
_ASSIGNED = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|\S*)')


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    line: int
    word: str  # in capitals
    rest: str


@dataclass
class Stage:
    """What one FROM begins."""

    line: int
    name: str
    base: str  # an image, or the name of a stage
    instructions: list[Instruction] = field(default_factory=list)


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, comments left out."""
    gathered, began = "", 0
    for number, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        began = began or number
        gathered += row.rstrip().removesuffix("\\") + " "
        if not row.rstrip().endswith("\\"):
            word, _, rest = gathered.strip().partition(" ")
            yield Instruction(began, word.upper(), " ".join(rest.split()))
            gathered, began = "", 0


def stages(text: str) -> tuple[list[Stage], dict[str, str]]:
    """The stages in order, and the defaults of the arguments before the first one."""
    found: list[Stage] = []
    arguments: dict[str, str] = {}
    for instruction in instructions(text):
        if instruction.word == "FROM":
            base, _, name = instruction.rest.partition(" AS ")
            for argument, value in arguments.items():
                base = base.replace(f"${{{argument}}}", value)
            found.append(Stage(instruction.line, name or str(len(found)), base))
        elif found:
            found[-1].instructions.append(instruction)
        elif instruction.word == "ARG":
            argument, _, value = instruction.rest.partition("=")
            arguments[argument] = value
    return found, arguments


def copied(text: str, root: Path) -> dict[str, Path]:
    """Files that come from the repository to an absolute place: their paths in the image, and here."""
    found = {}
    for stage in stages(text)[0]:
        for one in stage.instructions:
            *sources, target = one.rest.split()
            if one.word != "COPY" or sources[:1] == [] or sources[0].startswith("--from") or target[:1] != "/":
                continue
            for source in sources:
                to_folder = target.endswith("/")
                found[f"{target}{Path(source).name}" if to_folder else target] = root / source
    return found


def dockerfile_faults(path: str, text: str, facts: Facts) -> list[Problem]:
    """What is wrong with a Dockerfile, in the order of its stages."""
    found, _ = stages(text)
    if not found:
        return [Problem(path, 1, "a Dockerfile begins with FROM")]
    by_name: dict[str, Stage] = {}
    problems = []
    for stage in found:
        for one in stage.instructions:
            problems += [Problem(path, one.line, fault) for fault in _instruction_faults(one, stage, by_name, facts)]
        if stage.base not in by_name:
            fault = image_fault(stage.base)
            problems += [Problem(path, stage.line, fault)] if fault else []
        by_name[stage.name] = stage
    workshops = {_from(one) for stage in found for one in stage.instructions}  # only made to copy from
    for stage in found:
        if stage.name not in workshops:
            problems += [Problem(path, line, fault) for line, fault in _image_faults(stage, by_name)]
    return problems


def _from(one: Instruction) -> str:
    first = one.rest.split(" ")[0]
    return first.removeprefix("--from=") if one.word == "COPY" and first.startswith("--from=") else ""


def _image_faults(stage: Stage, by_name: dict[str, Stage]) -> Iterator[tuple[int, str]]:
    """What is missing in an image: instructions of its stage and of those it stands on, the last of a kind counts."""
    chain = [stage]
    while chain[0].base in by_name and chain[0].base != chain[0].name:
        chain.insert(0, by_name[chain[0].base])
    last = {one.word: one for layer in chain for one in layer.instructions}
    user, line = (last["USER"].rest, last["USER"].line) if "USER" in last else ("root", stage.line)
    if user.partition(":")[0] in ("root", "0"):
        yield line, f"the image {stage.name!r} runs as root: end it with USER and a number above 0"
    elif not user.partition(":")[0].isdigit():
        yield line, f"USER {user}: give its number, or Kubernetes cannot tell that it is not root"
    if "HEALTHCHECK" not in last or last["HEALTHCHECK"].rest == "NONE":
        yield stage.line, f"the image {stage.name!r} has no HEALTHCHECK"
    if "ENTRYPOINT" in last:
        yield (
            last["ENTRYPOINT"].line,
            f"the image {stage.name!r} has an ENTRYPOINT: `ray up` and KubeRay start shells in it",
        )


def _instruction_faults(one: Instruction, stage: Stage, by_name: dict[str, Stage], facts: Facts) -> Iterator[str]:
    if one.word not in WORDS:
        yield f"a Dockerfile has no {one.word}"
    elif one.word in ("COPY", "ADD"):
        yield from _copy_faults(one, by_name, facts)
    elif one.word == "ENV":
        for name, value in _ASSIGNED.findall(one.rest):
            yield from filter(None, [settings.unknown(name, facts.variables)])
            if settings.is_secret(name) and value:
                yield f"{name} is a secret: it must not be in an image"
    elif one.word == "RUN" and "pip install" in one.rest:
        yield from _pip_faults(one.rest, facts)
    elif one.word in ("CMD", "HEALTHCHECK"):
        text = one.rest.partition("CMD ")[2] if one.word == "HEALTHCHECK" else one.rest
        try:
            yield from command_faults(json.loads(text), facts)
        except ValueError:
            yield f'{one.word} must be a list, such as ["{IMAGE}", "--help"]: a shell would get its signals'


def _pip_faults(text: str, facts: Facts) -> Iterator[str]:
    yield from shell_faults(text[text.index("pip install") :], facts)
    words = text.split()
    named = [word.strip("'\"") for word in words[words.index("install") + 1 :] if not word.startswith("-")]
    loose = [word for word in named if "==" not in word and word != "constraints.txt"]
    if loose and "--constraint" not in words and "--no-deps" not in words:
        yield f"pip install {loose[0]}: no version is pinned; add '--constraint constraints.txt' or '==VERSION'"


def _copy_faults(one: Instruction, by_name: dict[str, Stage], facts: Facts) -> Iterator[str]:
    if one.word == "ADD":
        yield "ADD may fetch and unpack: use COPY"
        return
    stage = _from(one)
    if stage:
        if stage not in by_name:
            yield f"there is no stage {stage!r} before this one"
        return
    kept = kept_by_ignore(facts.folder / "Dockerfile.dockerignore")
    for source in one.rest.split()[:-1]:
        if not (facts.root / source).exists():
            yield f"there is no {source!r} in the repository to copy"
        elif kept is not None and not any(Path(source).is_relative_to(one) for one in kept):
            yield f"{source!r} is left out by Dockerfile.dockerignore"


def kept_by_ignore(file: Path) -> list[str] | None:
    """What an ignore file that begins with ``**`` lets through; None where there is no such file."""
    rows = [row.strip() for row in file.read_text().splitlines()] if file.is_file() else []
    return [row.removeprefix("!") for row in rows if row.startswith("!")] if "**" in rows else None
