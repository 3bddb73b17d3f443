"""What the files of deploy/ must agree with: pinned versions, what is in the image, and what there is beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmstream import __version__
from mmstream.core import MmstreamError

IMAGE = "mmstream"
CUDA = f"{__version__}-cuda"  # the image's tag with what GPUs need
TAGS = (__version__, CUDA)

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Pods:
    """Alike pods of a cluster."""

    labels: Mapping[str, str]
    ports: frozenset[str | int]  # that their containers open, by number and by name

    def have(self, labels: Mapping[str, str]) -> bool:
        """Whether a selector of these labels finds them."""
        return labels.items() <= self.labels.items()


@dataclass(frozen=True)
class Facts:
    """The repository around ``deploy/``."""

    root: Path  # of the repository, and what `docker build` is given
    folder: Path  # deploy/
    pins: Mapping[str, str]  # constraints.txt
    variables: frozenset[str]  # that pipeline files of deploy/ take from the environment
    copied: Mapping[str, Path] = field(default_factory=dict)  # path in the image -> file here
    targets: frozenset[str] = frozenset()  # stages of the Dockerfile
    claims: frozenset[str] = frozenset()  # PersistentVolumeClaims that deploy/ makes
    pods: tuple[Pods, ...] = ()  # that its clusters have


def gather(folder: Path) -> Facts:
    """Read what a folder's files must agree with, but for what its own Dockerfile and manifests say.

    Raises:
        MmstreamError: there is no such folder, or no constraints.txt beside it.
    """
    if not folder.is_dir():
        raise MmstreamError(f"{folder}: no such folder; give the deploy/ of a checkout of mmstream")
    root = folder.resolve().parent
    constraints = root / "constraints.txt"
    if not constraints.is_file():
        raise MmstreamError(f"{folder}: there is no constraints.txt beside it to compare versions with")
    pins = {found["name"]: found["version"] for found in map(_PIN.fullmatch, constraints.read_text().split()) if found}
    texts = [file.read_text() for file in sorted(folder.glob("pipeline*.yaml"))]
    variables = frozenset(found["name"] for text in texts for found in _VARIABLE.finditer(text))
    return Facts(root, folder, pins, variables)


def image_fault(image: str) -> str | None:
    """What is wrong with the name of an image: no version, one that moves, or not this version of mmstream."""
    name, _, tag = image.rpartition(":")
    if not name or "/" in tag:
        return f"the image {image!r} names no version: add one, such as ':{__version__}'"
    if tag == "latest":
        return f"the image {image!r} moves: name a version instead of 'latest'"
    if name.rpartition("/")[2] == IMAGE and tag not in TAGS:
        return f"the image {image!r} is not of this version of mmstream: its tag must be {' or '.join(TAGS)}"
    return None


def pin_faults(words: list[str], pins: Mapping[str, str]) -> list[str]:
    """What is wrong with the requirements among the words of `pip install`."""
    found = []
    for word in words:
        pin = _PIN.fullmatch(word)
        if pin and pins.get(pin["name"], pin["version"]) != pin["version"]:
            found.append(f"{word}: constraints.txt has {pins[pin['name']]}")
    return found
