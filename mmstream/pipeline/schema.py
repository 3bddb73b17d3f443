"""A JSON Schema (draft 2020-12) of pipeline files, for editors: ``mmstream check --schema > pipeline.schema.json``.

It knows every operator and its arguments. What lies between nodes (names, payload types, cycles) is for ``check``.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from mmstream.core import Source
from mmstream.pipeline.arguments import Parameters
from mmstream.pipeline.classes import Kind, every_operator
from mmstream.pipeline.document import DRIVER
from mmstream.pipeline.limits import RECOVERY_KEYS, SESSION_KEYS
from mmstream.pipeline.nodes import EDGE_KEYS, NODE_KEYS, OVERFLOWS
from mmstream.pipeline.report import NAME
from mmstream.pipeline.workers import BATCH_KEYS, DRIVER_KEYS, SCALE_KEYS, WORKER_KEYS

Schema = dict[str, Any]

_NODE_NAME = f"^{NAME.pattern}$"
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}  # its value is known only when the file is read
_TYPES: Mapping[Any, str] = {str: "string", Path: "string", int: "integer", float: "number", bool: "boolean"}


def schema(allow: Sequence[str] = ()) -> Schema:
    """The schema, with the operators of ``operators.*`` and of the modules in ``allow``.

    Raises:
        UnusableError: one of the modules cannot be imported.
    """
    operators = every_operator(allow)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmstream pipeline",
        "type": "object",
        "required": ["nodes"],
        "additionalProperties": False,
        "properties": {
            "capacity": {
                **_or_variable({"type": "integer", "minimum": 1}),
                "description": "Packets that may wait on an edge, for each session, where the edge says nothing else",
            },
            "nodes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": _NODE_NAME},
                "additionalProperties": {"$ref": "#/$defs/node"},
            },
            "workers": {
                "description": "Which nodes share a thread (local) or an actor (Ray); left out: main and driver",
                "type": ["object", "null"],
                "propertyNames": {"pattern": _NODE_NAME},
                "properties": {DRIVER: {"$ref": "#/$defs/driver"}},
                "additionalProperties": {"$ref": "#/$defs/worker"},
            },
            **_limits(),
        },
        "$defs": {
            "node": _node(operators),
            "inputs": _inputs(),
            "edge": _edge(),
            "worker": _worker(WORKER_KEYS),
            "driver": _worker(DRIVER_KEYS),
            **{f"with.{use}": _arguments(kind) for use, kind in operators.items()},
        },
    }


def _limits() -> Schema:
    """What holds for every session."""
    whole, above_zero = {"type": "integer", "minimum": 1}, {"type": "number", "exclusiveMinimum": 0}
    nullable = {"anyOf": [above_zero, {"type": "null"}, _VARIABLE]}
    sessions: Schema = {
        "limit": {
            "anyOf": [whole, {"type": "null"}, _VARIABLE],
            "description": "Sessions open at a time; null: any number",
        },
        "idle_s": {
            **nullable,
            "description": "A session whose sources give nothing for so long is ended; null: never",
        },
    }
    said = {
        "snapshot_s": "Between two snapshots of a session",
        "replay_s": "Media that a live source keeps at most for a replay",
        "deadline_s": "A worker that has not answered for so long is lost",
        "hung_s": "An operator that has not returned for so long is hung, and its worker lost",
    }
    assert set(sessions) == set(SESSION_KEYS)
    assert set(said) == set(RECOVERY_KEYS)
    recovery = {name: {**_or_variable(above_zero), "description": text} for name, text in said.items()}
    return {
        "sessions": {"type": "object", "properties": sessions, "additionalProperties": False},
        "recovery": {"type": "object", "properties": recovery, "additionalProperties": False},
        "max_lag_ms": {**nullable, "description": "Live media later than this is given up, with a gap; null: never"},
    }


def _node(operators: Mapping[str, Kind]) -> Schema:
    uses: Schema = {
        "anyOf": [{"enum": list(operators)}, {"pattern": "^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"}]
    }
    properties: Schema = {
        "use": {"type": "string", **uses, "description": "The operator, as MODULE:Class"},
        "with": {"type": ["object", "null"], "description": "The arguments of its constructor"},
        "from": {"$ref": "#/$defs/inputs"},
        "optional": {
            **_or_variable({"type": "boolean"}),
            "description": "A source that may be missing: the session goes on without it",
        },
        "max_skew_ms": {
            **_or_variable({"type": "number", "minimum": 0}),
            "description": "How long one of several inputs may wait for another, in media time",
        },
    }
    assert set(properties) == set(NODE_KEYS)
    return {
        "type": "object",
        "required": ["use"],
        "additionalProperties": False,
        "properties": properties,
        "allOf": [_only_for(use, kind) for use, kind in operators.items()],
    }


def _only_for(use: str, kind: Kind) -> Schema:
    """What holds for the nodes of one operator."""
    then: Schema = {"properties": {"with": {"$ref": f"#/$defs/with.{use}"}}}
    required = ["with"] if Parameters(kind).required else []
    if issubclass(kind, Source):
        then["properties"] |= {"from": False, "max_skew_ms": False}
    else:
        then["properties"]["optional"] = False
        required.append("from")
    return {
        "if": {"properties": {"use": {"const": use}}, "required": ["use"]},
        "then": {**then, "required": required},
    }


def _arguments(kind: Kind) -> Schema:
    parameters = Parameters(kind)
    properties = {}
    for name, parameter in parameters.by_name.items():
        properties[name] = _or_variable(_typed(parameters.hints[name]))
        if parameter.default is not inspect.Parameter.empty and _is_plain(parameter.default):
            properties[name]["default"] = parameter.default
    return {
        "description": (inspect.getdoc(kind) or kind.__name__).partition("\n")[0],
        "type": "object" if parameters.required else ["object", "null"],
        "properties": properties,
        "required": list(parameters.required),
        "additionalProperties": parameters.takes_any,
    }


def _typed(hint: Any) -> Schema:
    """The schema of the values that an annotation takes: the same that ``arguments.fit`` takes."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _typed(inner[0])
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_typed(one) for one in inner]}
    if (origin or hint) in (list, tuple, set, frozenset, Sequence):
        if origin is tuple and inner[-1] is not Ellipsis:
            return {
                "type": "array",
                "prefixItems": [_typed(one) for one in inner],
                "minItems": len(inner),
                "items": False,
            }
        return {"type": "array", **({"items": _typed(inner[0])} if inner else {})}
    if (origin or hint) in (dict, Mapping):
        return {"type": "object", **({"additionalProperties": _typed(inner[1])} if inner else {})}
    if hint in (None, type(None)):
        return {"type": "null"}
    return {"type": _TYPES[hint]} if hint in _TYPES else {}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _or_variable(value: Schema) -> Schema:
    return {"anyOf": [value, _VARIABLE]} if value else {}


def _inputs() -> Schema:
    name = {"type": "string", "minLength": 1}
    return {
        "description": "The nodes it takes from: a name, a list of names, or names with capacity and overflow",
        "anyOf": [
            name,
            {"type": "array", "items": name, "minItems": 1, "uniqueItems": True},
            {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/edge"}},
        ],
    }


def _edge() -> Schema:
    properties = {
        "capacity": _or_variable({"type": "integer", "minimum": 1}),
        "overflow": _or_variable({"enum": list(OVERFLOWS)}),
    }
    assert set(properties) == set(EDGE_KEYS)
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}


def _worker(keys: Sequence[str]) -> Schema:
    amount = _or_variable({"type": "number", "minimum": 0})
    batch: Schema = {
        "type": "object",
        "required": ["max_size"],
        "additionalProperties": False,
        "properties": {
            "max_size": _or_variable({"type": "integer", "minimum": 1}),
            "max_wait_ms": _or_variable({"type": "number", "minimum": 0}),
        },
    }
    names = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    whole = {"type": "integer", "minimum": 1}
    properties: Schema = {
        "nodes": {"anyOf": [{"type": "string"}, names]},
        "resources": {"type": "object", "additionalProperties": amount, "description": "CPU, GPU, memory or your own"},
        "replicas": {"anyOf": [whole, _scale(), _VARIABLE]},
        "standby": {
            **_or_variable({"type": "integer", "minimum": 0}),
            "description": "Further replicas, loaded, that wait for one to be lost",
        },
        "limit": {**_or_variable(whole), "description": "Sessions that a replica takes"},
        "near": {"type": "string", "description": "The worker on whose machine its replicas are to be"},
        "batch": batch,
    }
    assert set(batch["properties"]) == set(BATCH_KEYS)
    assert set(properties) == set(WORKER_KEYS)
    return {"type": "object", "additionalProperties": False, "properties": {key: properties[key] for key in keys}}


def _scale() -> Schema:
    """How many replicas there may be, and what calls for more."""
    whole = _or_variable({"type": "integer", "minimum": 1})
    properties: Schema = {
        "min": whole,
        "max": whole,
        "sessions": {**whole, "description": "Per replica: more of them call for another replica"},
        "queue_ms": {
            **_or_variable({"type": "number", "exclusiveMinimum": 0}),
            "description": "A packet that has waited for longer calls for another replica",
        },
    }
    assert set(properties) == set(SCALE_KEYS)
    return {
        "type": "object",
        "required": ["max"],
        "anyOf": [{"required": ["sessions"]}, {"required": ["queue_ms"]}],
        "additionalProperties": False,
        "properties": properties,
    }
