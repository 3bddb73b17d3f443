"""Applications of Ray Serve in manifests, and the Services that lead to pods."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmstream.core import MmstreamError
from mmstream.deployment.facts import Facts
from mmstream.deployment.parts import Part
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem

OURS = "mmstream.server.deployment:app"
PORT = 8000  # of Serve, where its configuration names no other


def application_faults(part: Part, groups: Sequence[dict[str, Any]], facts: Facts) -> Iterator[Problem]:
    """What is wrong with the applications of a RayService, whose pods are of these ``groups``."""
    keys: Keys = ("spec", "serveConfigV2")
    try:
        config = yaml.safe_load(part.content["spec"]["serveConfigV2"])
        paths = [application["import_path"] for application in config["applications"]]
    except (yaml.YAMLError, KeyError, TypeError):
        yield part.problem(keys, "serveConfigV2 must be YAML with a list 'applications', each with an 'import_path'")
        return
    refused = _refused(config)
    if refused:
        yield part.problem(keys, f"Ray Serve refuses this: {refused}")
        return
    for path, application in zip(paths, config["applications"], strict=True):
        module, _, name = str(path).partition(":")
        if not _defines(module, name):
            yield part.problem(keys, f"there is no {path!r} to import")
        elif path == OURS:
            for fault in _ours(application, config, groups, facts):
                yield part.problem(keys, fault)


def service_faults(part: Part, facts: Facts) -> Iterator[Problem]:
    """What is wrong with a Service: nobody to lead to, or nobody who listens there."""
    wanted = part.content["spec"]["selector"]
    found = [pods for pods in facts.pods if pods.have(wanted)]
    if not found:
        text = ", ".join(f"{name}={value}" for name, value in wanted.items())
        yield part.problem(("spec", "selector"), f"no pod of a cluster here has the labels {text}")
    for number, port in enumerate(part.content["spec"]["ports"] if found else ()):
        target = port.get("targetPort", port["port"])
        if not any(target in pods.ports for pods in found):
            yield part.problem(("spec", "ports", number), f"no container of its pods opens the port {target!r}")


def _refused(config: Any) -> str:
    """What Ray Serve itself says of its configuration; empty: nothing."""
    from pydantic import ValidationError
    from ray.serve.schema import ServeDeploySchema  # seconds to import

    try:
        ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ""


def _ours(application: Any, config: Any, groups: Sequence[dict[str, Any]], facts: Facts) -> Iterator[str]:
    from mmstream.server.deployment import NAME, app

    arguments = application.get("args", {})
    try:
        app(arguments)
    except MmstreamError as error:
        yield f"args of {OURS}: {error}"
        return
    pipeline = arguments.get("pipeline")
    if pipeline is not None and str(pipeline) not in facts.copied:
        yield f"args of {OURS}: the image has no file {str(pipeline)!r}"
    for deployment in application.get("deployments", ()):
        if deployment["name"] != NAME:
            yield f"the application has no deployment {deployment['name']!r}; it has {NAME!r}"
    containers = [container for group in groups for container in group["template"]["spec"]["containers"]]
    port = config.get("http_options", {}).get("port", PORT)
    if not any(port == one["containerPort"] for container in containers for one in container.get("ports", ())):
        yield f"no container opens the port {port}, on which Serve listens"
    token_file = Path(arguments["token_file"])
    mounts = [Path(mount["mountPath"]) for container in containers for mount in container.get("volumeMounts", ())]
    if not any(token_file.is_relative_to(mount) for mount in mounts):
        yield f"args of {OURS}: no container mounts a volume where the token_file {str(token_file)!r} could be"


def _defines(module: str, name: str) -> bool:
    """Whether a module is there and has that name at its top, as far as reading it tells."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    if found is None or found.origin is None:
        return False
    names: set[str] = set()
    for statement in ast.parse(Path(found.origin).read_text()).body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in statement.names}
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return name in names
