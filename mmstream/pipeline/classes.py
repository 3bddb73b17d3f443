"""``use: MODULE:Class`` -> the class. Imports modules of ``operators`` and those that ``--allow`` names; no others."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmstream.core import MmstreamError, Operator, Source
from mmstream.pipeline.problems import listed, shown
from mmstream.spelling import did_you_mean, nearest

Kind = type[Operator[Any]] | type[Source]

BUILT_IN = "operators"

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_USE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)", re.ASCII)


class UnusableError(MmstreamError):
    """What ``use`` names cannot be a node; the message says why, without file and line."""


def find(use: str, allow: Sequence[str] = ()) -> Kind:
    """The class that ``use`` names.

    Raises:
        UnusableError: its module is not allowed or cannot be imported, or holds no such operator.
    """
    found = _USE.fullmatch(use)
    if found is None or not _MODULE.fullmatch(found["module"]):
        raise UnusableError(f"{shown(use)} is not of the form MODULE:Class{_looked_for(use, allow)}")
    module_name, name = found["module"], found["name"]
    if not is_allowed(module_name, allow):
        raise UnusableError(
            f"the module {module_name!r} is not allowed: 'use' names operators.* and what --allow names; "
            f"if you trust its code, add --allow {module_name}{_looked_for(name, allow)}"
        )
    module = import_module(module_name)
    kind = getattr(module, name, None)
    if kind is None:
        there = did_you_mean(name, operators_in(module), "it has")
        raise UnusableError(f"{module_name} has no operator {name!r}{there or _looked_for(name, allow)}")
    fault = _fault(kind)
    if fault:
        raise UnusableError(f"{use} {fault}")
    return kind  # type: ignore[no-any-return]  # _fault has seen that it is one


def is_allowed(module: str, allow: Sequence[str]) -> bool:
    """Whether ``module`` is one of ``operators`` or ``allow``, or lies inside one."""
    return any(module == name or module.startswith(f"{name}.") for name in (BUILT_IN, *allow))


def check_allowed(allow: Iterable[str], folder: Path) -> list[str]:
    """The entries of ``allow`` that are no module names; makes modules in ``folder`` and here importable.

    They come last on the path, so that no file there can take the place of an installed module.
    """
    names = list(allow)
    if names:
        for place in (folder.resolve(), Path.cwd()):
            if str(place) not in sys.path:
                sys.path.append(str(place))
    return [name for name in names if not _MODULE.fullmatch(name)]


def import_module(name: str) -> ModuleType:
    """The module ``name``, which the caller has found to be allowed.

    Raises:
        UnusableError: there is no such module, or importing it fails.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name is None or not (name == fault.name or name.startswith(f"{fault.name}.")):
            raise UnusableError(f"the module {name!r} cannot be imported: it needs {fault.name!r}") from fault
        there = did_you_mean(name, built_in_modules(), "there are")
        raise UnusableError(f"there is no module {name!r}{there}") from fault
    except Exception as fault:
        # Importing a module runs code that may raise anything; whoever wrote `use` needs to know what and where.
        last = traceback.extract_tb(fault.__traceback__)[-1]
        place = f" ({last.filename}:{last.lineno})" if Path(last.filename).is_file() else ""
        said = " ".join(str(fault).split())
        raise UnusableError(f"the module {name!r} cannot be imported: {type(fault).__name__}: {said}{place}") from fault


def operators_in(module: ModuleType) -> dict[str, Kind]:
    """The operators and sources that a module holds and does not merely import from elsewhere, by name."""
    inside = f"{module.__name__}."
    return {
        name: kind
        for name, kind in vars(module).items()
        if not name.startswith("_")
        and not _fault(kind)
        and (kind.__module__ == module.__name__ or kind.__module__.startswith(inside))
    }


def built_in_modules() -> list[str]:
    """The modules of operators that ship with mmstream."""
    package = importlib.import_module(BUILT_IN)
    found = pkgutil.iter_modules(package.__path__, f"{BUILT_IN}.")
    return sorted(module.name for module in found if not module.name.rpartition(".")[2].startswith("_"))


def every_operator(allow: Sequence[str] = (), *, skip_broken: bool = False) -> dict[str, Kind]:
    """All operators that a file may use, by what ``use`` calls them; for hints, without modules that do not import.

    Raises:
        UnusableError: one of the modules cannot be imported, and ``skip_broken`` is not set.
    """
    found: dict[str, Kind] = {}
    for name in (*built_in_modules(), *allow):
        try:
            module = import_module(name)
        except UnusableError:
            if skip_broken:
                continue
            raise
        found |= {f"{name}:{kind_name}": kind for kind_name, kind in operators_in(module).items()}
    return found


def _looked_for(name: str, allow: Sequence[str]) -> str:
    """A suggestion for a class named without its module, or with the wrong one."""
    known = {use.rpartition(":")[2]: use for use in every_operator(allow, skip_broken=True)}
    near = nearest(name.rpartition(":")[2].rpartition(".")[2], known)
    return f"; did you mean {known[near]!r}?" if near else ""


def _fault(kind: object) -> str:
    """Why ``kind`` cannot be a node; empty where it can."""
    if not inspect.isclass(kind) or not issubclass(kind, (Operator, Source)):
        return "is not an operator: it does not derive from Operator or Source of mmstream.core"
    if inspect.isabstract(kind):
        return f"is abstract: it lacks {listed(sorted(kind.__abstractmethods__))}"
    for attribute in ("emits",) if issubclass(kind, Source) else ("accepts", "emits"):
        types = getattr(kind, attribute, None)
        if not isinstance(types, tuple) or not all(inspect.isclass(payload) for payload in types):
            return f"does not say what it {attribute}: {attribute} = (Payload, ...) is missing from the class"
    return ""
