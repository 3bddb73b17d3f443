"""pipeline.yaml -> checked graph.

``load`` does it in one go. Commands that change a file before it runs ``read`` a ``Document``, ask ``roles`` which
nodes it has, edit it, and ``check`` it. Nothing is built or started here, and every problem is told at once::

    document = read(Path("pipeline.yaml"))
    (source,) = roles(document).sources
    document.replace_node(source, use="operators.sources:MediaFile", arguments={"path": "talk.mp4"})
    graph = check(document)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import mmstream
from mmstream.graph import Graph
from mmstream.pipeline.check import Roles, check, roles
from mmstream.pipeline.document import Document, read, read_text
from mmstream.pipeline.draw import draw
from mmstream.pipeline.problems import PipelineError, Problem
from mmstream.pipeline.schema import schema

__all__ = [
    "Document",
    "PipelineError",
    "Problem",
    "Roles",
    "check",
    "default_path",
    "draw",
    "load",
    "read",
    "read_text",
    "roles",
    "schema",
]


def load(
    path: Path,
    *,
    sets: Sequence[str] = (),
    allow: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Graph:
    """Read a pipeline file, take ``sets`` (``node.argument=value``) over it, and check the whole.

    Raises:
        PipelineError: with every problem, one line each.
    """
    document = read(path, environment)
    for setting in sets:
        document.set(setting)
    return check(document, allow)


def default_path() -> Path:
    """The live pipeline that ships with mmstream: in the package, or in the checkout it was installed from."""
    package = Path(mmstream.__file__).parent
    installed = package / "pipeline.yaml"
    return installed if installed.exists() else package.parent / "pipeline.yaml"
