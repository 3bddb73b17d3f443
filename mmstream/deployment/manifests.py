"""Manifests for Kubernetes and KubeRay: their schemas, and what schemas cannot say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from mmstream.deployment import schemas
from mmstream.deployment.facts import Facts, Pods
from mmstream.deployment.parts import Part
from mmstream.deployment.pods import pod_faults
from mmstream.deployment.programs import shell_faults, start_options
from mmstream.deployment.serving import application_faults, service_faults
from mmstream.deployment.settings import GROWS
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem
from mmstream.spelling import did_you_mean

CLUSTERS: Mapping[str, tuple[str, ...]] = {  # where a cluster's spec stands in each kind
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
}
OWN_KEYS = {"num-cpus", "num-gpus", "memory", "object-store-memory"}  # of rayStartParams, that must be numbers


def is_manifest(part: Part) -> bool:
    """Whether a document is for Kubernetes: nothing else has both of these."""
    return isinstance(part.content, dict) and {"apiVersion", "kind"} <= set(part.content)


def manifest_faults(part: Part, facts: Facts) -> list[Problem]:
    """What is wrong with one manifest. What the schema complains of is looked into no further."""
    kind = part.content["kind"]
    owner = next((name for name in ("kuberay", "kubernetes") if kind in schemas.kinds(name)), None)
    if owner is None:
        known = [name for owner in ("kuberay", "kubernetes") for name in schemas.kinds(owner)]
        return [part.problem(("kind",), f"no schema here knows {kind!r}{did_you_mean(str(kind), known, 'they know')}")]
    found = schemas.faults(part, f"{owner}#/$defs/{kind}")
    if found:
        return found
    if kind in CLUSTERS and _cluster(part) is not None:
        found += _cluster_faults(part, CLUSTERS[kind], facts)
    if kind == "RayJob":
        keys: Keys = ("spec", "entrypoint")
        found += [part.problem(keys, fault) for fault in shell_faults(part.content["spec"]["entrypoint"], facts)]
    if kind == "RayService":
        found += list(application_faults(part, _groups(_cluster(part)), facts))
    if kind == "Service":
        found += list(service_faults(part, facts))
    if kind == "PodDisruptionBudget":
        found += list(_budget_faults(part, facts))
    return found


def claims(part: Part) -> set[str]:
    """The PersistentVolumeClaim that a document makes."""
    named = part.content["kind"] == "PersistentVolumeClaim" and part.content.get("metadata", {}).get("name")
    return {named} if named else set()


def pods_of(part: Part) -> list[Pods]:
    """The pods of a cluster that has a name: labels of their templates, and those that the operator adds."""
    found: list[Pods] = []
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # the schema says what is amiss
        spec, name = _cluster(part), part.content["metadata"]["name"]
        groups = [("head", "headgroup", spec["headGroupSpec"])] if spec else []
        groups += [("worker", group["groupName"], group) for group in (spec or {}).get("workerGroupSpecs", ())]
        for role, group_name, group in groups:
            labels = dict((group["template"].get("metadata") or {}).get("labels") or {})
            added = {"ray.io/node-type": role, "ray.io/group": group_name}
            if part.content["kind"] == "RayCluster":  # the others make clusters with names of their own
                added["ray.io/cluster"] = name
            ports = [port for one in group["template"]["spec"]["containers"] for port in one.get("ports", ())]
            opened = {port[key] for port in ports for key in ("name", "containerPort") if key in port}
            found.append(Pods({**labels, **added}, frozenset(opened)))
    return found


def _groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec.get("workerGroupSpecs", ())]


def _cluster(part: Part) -> Any:
    value = part.content
    for key in CLUSTERS.get(part.content["kind"], ("",)):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _cluster_faults(part: Part, place: Keys, facts: Facts) -> list[Problem]:
    spec = _cluster(part)
    found = []
    pinned = facts.pins.get("ray")
    if spec["rayVersion"] != pinned:
        message = f"rayVersion is {spec['rayVersion']!r}, but constraints.txt has {pinned}"
        found.append(part.problem((*place, "rayVersion"), message))
    if spec.get("authOptions", {}).get("mode") != "token":
        message = "without 'authOptions: {mode: token}' whoever reaches the cluster can run code on it"
        found.append(part.problem((*place, "authOptions"), message))
    container = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    if spec.get("enableInTreeAutoscaling") and all(entry["name"] != GROWS for entry in container.get("env", ())):
        message = f"the head of a cluster that grows needs the variable {GROWS!r}: else mmstream waits for no node"
        found.append(part.problem((*place, "enableInTreeAutoscaling"), message))
    groups: list[tuple[Keys, dict[str, Any]]] = [((*place, "headGroupSpec"), spec["headGroupSpec"])]
    groups += [((*place, "workerGroupSpecs", n), group) for n, group in enumerate(spec.get("workerGroupSpecs", ()))]
    for keys, group in groups:
        found += _group_faults(part, keys, group)
        found += pod_faults(part, (*keys, "template"), group["template"], facts)
    return found or _autoscaler_faults(part, place, spec)


def _group_faults(part: Part, keys: Keys, group: dict[str, Any]) -> Iterator[Problem]:
    least, most = group.get("minReplicas", 0), group.get("maxReplicas", 0)
    if not least <= group.get("replicas", least) <= most:
        message = f"replicas must be from minReplicas ({least}) to maxReplicas ({most}), not {group.get('replicas')}"
        yield part.problem((*keys, "replicas"), message)
    known = start_options()
    for name, value in group.get("rayStartParams", {}).items():
        place = (*keys, "rayStartParams", name)
        if name not in known:
            yield part.problem(place, f"`ray start` has no --{name}{did_you_mean(name, known)}")
        elif name in OWN_KEYS and not value.isdigit():
            yield part.problem(place, f"--{name} of `ray start` must be a whole number, not {value!r}")


def _autoscaler_faults(part: Part, place: Keys, spec: dict[str, Any]) -> list[Problem]:
    """What Ray's own autoscaler says of a cluster that it is to scale."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    metadata = {"name": part.content["metadata"].get("name", "made-by-a-job"), "namespace": "default"}
    try:
        _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": {"workerGroupSpecs": [], **spec}})
    except (ValueError, KeyError, TypeError, AssertionError, RuntimeError, jsonschema.ValidationError) as error:
        said = str(getattr(error, "message", error)).splitlines()[0]
        return [part.problem(place, f"Ray's autoscaler refuses the cluster: {said}")]
    return []


def _budget_faults(part: Part, facts: Facts) -> Iterator[Problem]:
    wanted = part.content["spec"]["selector"]["matchLabels"]
    if not any(pods.have(wanted) for pods in facts.pods):
        text = ", ".join(f"{name}={value}" for name, value in wanted.items())
        yield part.problem(("spec", "selector", "matchLabels"), f"no pod of a cluster here has the labels {text}")
