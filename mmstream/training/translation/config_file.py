"""A translation run's YAML file -> ``Config``; it is told from a recogniser's by ``kind: translation``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmstream.pipeline.document import read
from mmstream.training.sections import ConfigError, Sections
from mmstream.training.translation.config import Config, check_net


def is_translation(path: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the file describes a translation run.

    Raises:
        PipelineError: there is no such file, or it is not YAML.
    """
    return read(path, environment).content.get("kind") == "translation"


def read_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The run that the file describes; relative paths in it start at its folder, ``${NAME}`` is a variable.

    Raises:
        PipelineError: there is no such file, or it is not YAML.
        ConfigError: what is wrong with what it says.
    """
    document = read(path, environment)
    sections = Sections(document, path.parent)
    config = sections.section(Config, document.content, ())
    if config is not None and not document.problems:
        try:
            check_net(config.net)
        except ValueError as fault:
            net = document.content.get("net") or {}
            sections.complain(sections.field_of(str(fault), net, ("net",)), f"net: {fault}")
        for part, sets in (("train", config.data.train), ("dev", config.data.dev)):
            for k, one in enumerate(sets):
                if not one.file.is_file():
                    sections.complain(("data", part, k, "file"), f"there is no file {one.file}")
    if document.problems:
        raise ConfigError(document.problems)
    assert config is not None
    return config
