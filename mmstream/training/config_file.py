"""A training run's YAML file -> ``Config``; every mistake in it as ``file:line: message``, all at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmstream.pipeline.document import read
from mmstream.training.config import Config, DevSet, TrainingSet, check_net
from mmstream.training.sections import ConfigError, Sections


def read_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The run that the file describes; relative paths in it start at its folder, ``${NAME}`` is a variable.

    Raises:
        PipelineError: there is no such file, or it is not YAML.
        ConfigError: what is wrong with what it says.
    """
    document = read(path, environment)
    reader = _Reader(document, path.parent)
    config = reader.section(Config, document.content, ())
    if config is not None and not document.problems:
        reader.check(config)
    if document.problems:
        raise ConfigError(document.problems)
    assert config is not None
    return config


class _Reader(Sections):
    """Knows what a recogniser and its corpora must be."""

    def check(self, config: Config) -> None:
        """What no single section can know."""
        try:
            check_net(config.net)
        except ValueError as fault:
            net = self.document.content.get("net") or {}
            self.complain(self.field_of(str(fault), net, ("net",)), f"net: {fault}")
        sets: tuple[tuple[str, tuple[Any, ...]], ...] = (("train", config.data.train), ("dev", config.data.dev))
        for part, listed in sets:
            names = named(listed)
            for k, one in enumerate(listed):
                keys = ("data", part, k)
                if not one.manifest.is_file():
                    self.complain((*keys, "manifest"), f"there is no manifest {one.manifest}")
                if names.index(names[k]) < k:
                    self.complain((*keys, "name"), f"two sets are called {names[k]!r}: give one another name")
        if config.begin_with is not None and not config.begin_with.is_file():
            self.complain(("begin_with",), f"there is no checkpoint {config.begin_with}")
        noise = config.data.noise
        if noise is not None and not noise.folder.is_dir():
            self.complain(("data", "noise", "folder"), f"there is no folder {noise.folder}")


def named(sets: Sequence[TrainingSet | DevSet]) -> list[str]:
    """The name of each training or dev set: its own, or one after its manifest."""
    return [one.name or f"{one.manifest.parent.name}_{one.manifest.stem}" for one in sets]
