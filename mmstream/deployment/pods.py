"""Pods of Ray nodes: image, rights, resources, probes, variables and volumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmstream.deployment import settings
from mmstream.deployment.facts import Facts, image_fault
from mmstream.deployment.parts import Part
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem
from mmstream.spelling import did_you_mean

GPU = "nvidia.com/gpu"
PROBES = ("readinessProbe", "livenessProbe")
PATHS = {  # what Ray answers without a token, by port
    8265: ("/api/gcs_healthz",),
    52365: ("/api/healthz", "/api/local_raylet_healthz"),
}
SERVED = {8000: ("/-/healthz", "/-/routes")}  # and what Serve's proxies do, where an application is served


def pod_faults(part: Part, keys: Keys, template: dict[str, Any], facts: Facts) -> Iterator[Problem]:
    """What is wrong with a pod template that the schema has let pass."""
    spec, place = template["spec"], (*keys, "spec")
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        wrong = "runAsUser" if security.get("runAsNonRoot") is True else "runAsNonRoot"
        message = "the pod must not run as root: securityContext needs 'runAsNonRoot: true' and 'runAsUser' above 0"
        yield part.problem((*place, "securityContext", wrong), message)
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        message = "securityContext needs 'seccompProfile: {type: RuntimeDefault}'"
        yield part.problem((*place, "securityContext"), message)
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    for number, volume in enumerate(spec.get("volumes", ())):
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in facts.claims:
            near = did_you_mean(claim, facts.claims, "there are")
            yield part.problem((*place, "volumes", number), f"nothing here makes the claim {claim!r}{near}")
    for number, container in enumerate(spec["containers"]):
        yield from _container_faults(part, (*place, "containers", number), container, set(volumes), facts)


def _container_faults(
    part: Part, keys: Keys, container: dict[str, Any], volumes: set[str], facts: Facts
) -> Iterator[Problem]:
    fault = image_fault(container["image"])
    if fault is not None:
        yield part.problem((*keys, "image"), fault)
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        place = (*keys, "securityContext", "allowPrivilegeEscalation")
        yield part.problem(place, "the container needs 'allowPrivilegeEscalation: false'")
    if security.get("capabilities", {}).get("drop") != ["ALL"] or security.get("capabilities", {}).get("add"):
        place = (*keys, "securityContext", "capabilities")
        yield part.problem(place, "the container needs 'capabilities: {drop: [ALL]}'")
    for number, mount in enumerate(container.get("volumeMounts", ())):
        if mount["name"] not in volumes:
            near = did_you_mean(mount["name"], volumes, "it has")
            yield part.problem((*keys, "volumeMounts", number), f"the pod has no volume {mount['name']!r}{near}")
    yield from _resource_faults(part, keys, container)
    yield from _probe_faults(part, keys, container)
    yield from _variable_faults(part, keys, container, facts)


def _resource_faults(part: Part, keys: Keys, container: dict[str, Any]) -> Iterator[Problem]:
    resources = container.get("resources", {})
    for side in ("requests", "limits"):
        missing = [name for name in ("cpu", "memory") if name not in resources.get(side, {})]
        if missing:
            yield part.problem((*keys, "resources", side), f"the container needs {side} of {' and '.join(missing)}")
    wanted, most = resources.get("requests", {}).get(GPU), resources.get("limits", {}).get(GPU)
    if wanted != most:
        yield part.problem((*keys, "resources"), f"{GPU} must be the same in requests ({wanted}) and limits ({most})")
    if most is not None and not container["image"].endswith("-cuda"):
        yield part.problem((*keys, "image"), f"a container with a GPU needs the image with CUDA: {container['image']}")


def _probe_faults(part: Part, keys: Keys, container: dict[str, Any]) -> Iterator[Problem]:
    for name in PROBES:
        if name not in container:
            yield part.problem(keys, f"the container needs a {name}")
    for name in ("startupProbe", *PROBES):
        asked = container.get(name, {}).get("httpGet")
        if asked is None:
            continue
        answered = {**PATHS, **(SERVED if part.content["kind"] == "RayService" else {})}
        known = answered.get(asked["port"], ())
        if asked.get("path") not in known:
            there = "; ".join(f"{port}: {' and '.join(paths)}" for port, paths in answered.items())
            message = f"a node of Ray does not answer {asked.get('path')} on port {asked['port']}; it does on {there}"
            yield part.problem((*keys, name, "httpGet"), message)


def _variable_faults(part: Part, keys: Keys, container: dict[str, Any], facts: Facts) -> Iterator[Problem]:
    entries = container.get("env", [])
    for number, entry in enumerate(entries):
        place = (*keys, "env", number)
        fault = settings.unknown(entry["name"], facts.variables)
        if fault is not None:
            yield part.problem(place, fault)
        if settings.is_secret(entry["name"]) and "secretKeyRef" not in entry.get("valueFrom", {}):
            yield part.problem(place, f"{entry['name']} is a secret: take it by 'valueFrom: {{secretKeyRef: ...}}'")
    given = {entry["name"]: entry.get("value") for entry in entries}
    places = {entry["name"]: (*keys, "env", number) for number, entry in enumerate(entries)}
    for name, message in settings.missing(given):
        yield part.problem(places.get(name, (*keys, "env")), message)
