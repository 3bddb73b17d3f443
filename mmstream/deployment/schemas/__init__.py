"""Schemas of what deploy/ is made of, and what is wrong with a document by them, in words."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry, Resource

from mmstream.deployment.parts import Part
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem, listed, shown
from mmstream.spelling import did_you_mean

NAMES = ("kubernetes", "kuberay", "compose")
_TYPES = {"object": "a mapping", "array": "a list", "string": "text", "null": "null", "boolean": "true or false"}


@functools.cache
def registry() -> Registry[Any]:
    """Every schema by its name."""
    folder = Path(__file__).parent
    texts = {name: (folder / f"{name}.yaml").read_text() for name in NAMES}
    return Registry().with_resources(
        (name, Resource.from_contents(yaml.safe_load(text))) for name, text in texts.items()
    )


def kinds(name: str) -> list[str]:
    """The objects that a schema knows: those of its definitions that begin with a capital."""
    return [kind for kind in registry().contents(name)["$defs"] if kind[0].isupper()]


def faults(part: Part, reference: str) -> list[Problem]:
    """What is wrong with a document by the schema at ``reference``, such as ``kuberay#/$defs/RayJob``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": reference}
    validator = jsonschema.Draft202012Validator(schema, registry=registry())
    found: dict[tuple[int, str], Problem] = {}
    for error in validator.iter_errors(part.content):
        for keys, message in _in_words(error):
            problem = part.problem(keys, message)
            found.setdefault((problem.line, message), problem)
    return list(found.values())


def _in_words(error: jsonschema.ValidationError) -> Iterator[tuple[Keys, str]]:
    keys: Keys = tuple(error.absolute_path)
    name, rule, given, schema = _name(keys), _any(error.validator_value), _any(error.instance), _any(error.schema)
    match error.validator:
        case "additionalProperties":
            known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
            for key in given:
                if key not in known and not any(key.startswith(pattern.strip("^")) for pattern in patterns):
                    yield (*keys, key), f"{name} has no {key!r}{did_you_mean(str(key), known, 'it has')}"
        case "required":
            missing = [key for key in rule if key not in given]
            yield keys, f"{name} needs {listed([repr(key) for key in missing])}"
        case "type":
            wanted = [rule] if isinstance(rule, str) else rule
            said = listed([_TYPES.get(one, f"a {one}" if one != "integer" else "an integer") for one in wanted], "or")
            yield keys, f"{name} must be {said}, not {shown(given)}"
        case "enum":
            near = did_you_mean(given, rule) if isinstance(given, str) else ""
            yield keys, f"{name} must be {listed([repr(one) for one in rule], 'or')}, not {shown(given)}{near}"
        case "const":
            yield keys, f"{name} must be {shown(rule)}, not {shown(given)}"
        case "minimum":
            yield keys, f"{name} must be at least {rule}, not {shown(given)}"
        case "oneOf" | "anyOf" if all(set(choice) == {"required"} for choice in rule):
            choices = [repr(choice["required"][0]) for choice in rule]
            yield keys, f"{name} needs {'one' if error.validator == 'oneOf' else 'any'} of {listed(choices, 'or')}"
        case _:
            yield keys, f"{name} cannot be {shown(given)}"


def _any(value: Any) -> Any:
    """What jsonschema's types say may be missing, and in an error of validation is not."""
    return value


def _name(keys: Keys) -> str:
    """The place, from the last name on: ``ports[0]``."""
    names = [number for number, key in enumerate(keys) if isinstance(key, str)]
    if not names:
        return "the document"
    start = names[-1]
    return repr(str(keys[start])) + "".join(f"[{key}]" for key in keys[start + 1 :])
