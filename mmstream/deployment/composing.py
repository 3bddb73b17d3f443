"""Compose files: their schema, what runs in each service, and what it may do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmstream.deployment import schemas, settings
from mmstream.deployment.facts import IMAGE, Facts, image_fault
from mmstream.deployment.parts import Part, read_parts
from mmstream.deployment.programs import command_faults, shell_faults
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem
from mmstream.spelling import did_you_mean

BASE = "compose.yaml"  # which files such as compose.gpu.yaml change


def compose_faults(part: Part, facts: Facts) -> list[Problem]:
    """What is wrong with a Compose file, or with what it and ``compose.yaml`` make together."""
    found = schemas.faults(part, "compose")
    if found:
        return found
    whole = part.content
    if Path(part.path).name != BASE and (facts.folder / BASE).is_file():
        parts, _ = read_parts(facts.folder / BASE, BASE)
        whole = merged(parts[0].content, whole) if parts and isinstance(parts[0].content, dict) else whole
    for name in part.content["services"]:
        found += _service_faults(part, name, whole, facts)
    return found


def merged(under: Any, over: Any) -> Any:
    """Two Compose files as one: mappings join, everything else is replaced."""
    if isinstance(under, dict) and isinstance(over, dict):
        both = {key: merged(under[key], over[key]) for key in under if key in over}
        return {**under, **over, **both}
    return over


def _service_faults(part: Part, name: str, whole: dict[str, Any], facts: Facts) -> Iterator[Problem]:
    service, keys = whole["services"][name], ("services", name)
    faults = [
        *_rights(service),
        *_image(service, facts),
        *_limits(service),
        *_health(service),
        *_command(service, facts),
    ]
    faults += [*_environment(service, facts), *_dependencies(service, whole), *_volumes(service, whole, facts)]
    for place, message in faults:
        yield part.problem((*keys, *place), message)


def _image(service: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    if "image" not in service:
        yield (), "the service needs an image with a version"
        return
    fault = image_fault(service["image"])
    if fault is not None:
        yield ("image",), fault
    build = service.get("build", {})
    file = facts.folder / build.get("context", ".") / build.get("dockerfile", "Dockerfile")
    if build and not file.is_file():
        yield ("build",), f"there is no {build.get('dockerfile', 'Dockerfile')!r} in {build['context']!r}"
    if build.get("target") and build["target"] not in facts.targets:
        near = did_you_mean(build["target"], facts.targets, "it has")
        yield ("build",), f"the Dockerfile has no stage {build['target']!r}{near}"


def _rights(service: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
        yield ("cap_drop",), "the service needs 'cap_drop: [ALL]'"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield ("security_opt",), "the service needs 'security_opt: [\"no-new-privileges:true\"]'"
    if service.get("user", "1").partition(":")[0] in ("0", "root"):
        yield ("user",), "the service must not run as root"
    for number, port in enumerate(service.get("ports", ())):
        if not port.startswith("127.0.0.1:"):
            yield ("ports", number), f"{port!r} is open to everybody: begin it with '127.0.0.1:'"


def _limits(service: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    missing = [name for name in ("cpus", "memory") if name not in limits]
    if missing:
        yield ("deploy", "resources", "limits"), f"the service needs deploy.resources.limits of {' and '.join(missing)}"


def _health(service: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    health = service.get("healthcheck", {})
    if "test" not in health and not health.get("disable"):
        yield ("healthcheck",), "the service needs a healthcheck with a 'test', or 'disable: true' if it ends by itself"


def _command(service: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    """Commands in our own image; what others run, nobody here can tell."""
    if service.get("image", "").rpartition(":")[0].rpartition("/")[2] != IMAGE:
        return
    command = service.get("command", [])
    words = command if isinstance(command, list) else shlex.split(command)
    for fault in command_faults(words, facts) if words else []:
        yield ("command",), fault
    if words[:2] == ["ray", "start"]:
        for name, fault in settings.missing(service.get("environment", {})):
            yield ("environment", name), fault
        if service.get("environment", {}).get("RAY_AUTH_MODE") != "token":
            place = ("environment", "RAY_AUTH_MODE")
            yield place, "without 'RAY_AUTH_MODE: token' whoever reaches the cluster can run code on it"
    test = service.get("healthcheck", {}).get("test", [])
    if test[:1] == ["CMD"]:
        for fault in command_faults(test[1:], facts):
            yield ("healthcheck", "test"), fault
    elif isinstance(test, str) or test[:1] == ["CMD-SHELL"]:
        for fault in shell_faults(test if isinstance(test, str) else test[1], facts):
            yield ("healthcheck", "test"), fault


def _environment(service: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    for name, value in service.get("environment", {}).items():
        fault = settings.unknown(name, facts.variables)
        if fault is not None:
            yield ("environment", name), fault
        if settings.is_secret(name) and not str(value or "").startswith("${"):
            yield ("environment", name), f"{name} is a secret: take it from the environment, as '${{{name}}}'"


def _dependencies(service: dict[str, Any], whole: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    for other, how in service.get("depends_on", {}).items():
        needed = whole["services"].get(other)
        if needed is None:
            near = did_you_mean(other, whole["services"])
            yield ("depends_on", other), f"there is no service {other!r}{near}"
        elif how["condition"] == "service_healthy" and needed.get("healthcheck", {}).get("disable"):
            yield ("depends_on", other), f"the service {other!r} has its health check disabled: it never gets healthy"


def _volumes(service: dict[str, Any], whole: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    for number, volume in enumerate(service.get("volumes", ())):
        source = volume.partition(":")[0]
        if source.startswith("./") and not (facts.folder / source).exists():
            yield ("volumes", number), f"there is no {source!r} beside the file"
        elif source[:1] not in (".", "/", "~") and source not in (whole.get("volumes") or {}):
            near = did_you_mean(source, whole.get("volumes") or {})
            yield ("volumes", number), f"'volumes' names no {source!r}{near}"
