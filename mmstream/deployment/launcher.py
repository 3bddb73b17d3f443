"""Cluster files of `ray up`: Ray's own validation, and what it does not look at."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import click
import jsonschema

from mmstream.deployment import settings
from mmstream.deployment.facts import CUDA, Facts, image_fault
from mmstream.deployment.parts import Part
from mmstream.deployment.programs import shell_faults
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem
from mmstream.spelling import did_you_mean

COMMANDS = ("setup_commands", "head_setup_commands", "worker_setup_commands")
STARTS = {"head_start_ray_commands": "--head", "worker_start_ray_commands": "--address=$RAY_HEAD_IP"}
_VARIABLE = re.compile(r"(?:--env=|-e )(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:=(?P<value>.*))?")


def is_cluster(part: Part) -> bool:
    """Whether a document is for `ray up`."""
    return isinstance(part.content, dict) and {"cluster_name", "provider"} <= set(part.content)


def cluster_faults(part: Part, facts: Facts) -> list[Problem]:
    """What is wrong with a cluster file. What Ray refuses is looked into no further."""
    found = list(_refused(part))
    if found:
        return found
    for keys, message in [*_docker(part.content, facts), *_commands(part.content, facts), *_types(part.content)]:
        found.append(part.problem(keys, message))
    return found


def _refused(part: Part) -> Iterator[Problem]:
    """What Ray's own preparation and schema say, as `ray up` does before it does anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), _silence():
            validate_config(prepare_config(copy.deepcopy(part.content)))
    except jsonschema.ValidationError as error:
        keys: Keys = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            schema: Any = error.schema
            instance: Any = error.instance
            known = schema.get("properties", {})
            for key in instance:
                if key not in known:
                    yield part.problem((*keys, key), f"Ray knows no {key!r} here{did_you_mean(str(key), known)}")
        else:
            yield part.problem(keys, f"Ray refuses this: {error.message}")
    except (click.ClickException, ValueError, KeyError, AssertionError, RuntimeError, NotImplementedError) as error:
        text = str(error) or " ".join(said.getvalue().split())
        named = [name for name in re.findall(r"`(\w+)`", text) if name in part.content]
        yield part.problem(tuple(named[:1]), f"Ray refuses the file: {text.splitlines()[0]}")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No logging below errors: Ray tells what it fills in."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _docker(content: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    docker = content.get("docker", {})
    images: list[tuple[Keys, str]] = [(("docker", key), docker[key]) for key in docker if key.endswith("image")]
    for name, kind in content.get("available_node_types", {}).items():
        own = kind.get("docker", {})
        images += [(("available_node_types", name, "docker", key), own[key]) for key in own if key.endswith("image")]
    if not images:
        yield ("docker",), "without an image every machine runs what happens to be on it: name one under 'docker'"
    for keys, image in images:
        fault = image_fault(image)
        if fault is not None:
            yield keys, fault
    given: dict[str, str | None] = {}
    for number, option in enumerate(docker.get("run_options", ())):
        found = _VARIABLE.fullmatch(option)
        if found is None:
            continue
        given[found["name"]] = found["value"]
        complaint = settings.unknown(found["name"], facts.variables)
        if complaint is not None:
            yield ("docker", "run_options", number), complaint
        if settings.is_secret(found["name"]) and found["value"]:
            yield ("docker", "run_options", number), f"{found['name']} is a secret: it must not stand in a file"
    for _, complaint in settings.missing(given):
        yield ("docker", "run_options"), complaint
    if len(content.get("available_node_types", ())) > 1 and settings.GROWS not in given:
        yield ("docker", "run_options"), f"a cluster that grows needs '--env={settings.GROWS}=1'"
    if given.get("RAY_AUTH_MODE") != "token":
        message = "without '--env=RAY_AUTH_MODE=token' whoever reaches the cluster can run code on it"
        yield ("docker", "run_options"), message


def _commands(content: dict[str, Any], facts: Facts) -> Iterator[tuple[Keys, str]]:
    for name in (*COMMANDS, *STARTS):
        for number, command in enumerate(content.get(name, ())):
            for fault in shell_faults(command, facts):
                yield (name, number), fault
    for name, option in STARTS.items():
        if not any("ray start" in command and option in command for command in content.get(name, ())):
            yield (name,), f"{name} needs a `ray start` with {option}"


def _types(content: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    for name, kind in content.get("available_node_types", {}).items():
        image = kind.get("docker", {}).get("worker_image", "")
        if kind.get("resources", {}).get("GPU") and not image.endswith(CUDA):
            place = ("available_node_types", name, "docker", "worker_image")
            yield place, f"machines with a GPU need the image with CUDA, ':{CUDA}'"
