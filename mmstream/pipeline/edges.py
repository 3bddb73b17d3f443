"""How nodes hang together: known names, payload types that meet, one source for each input, no cycle, no orphan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmstream.core import Source
from mmstream.graph import Edge, Overflow
from mmstream.media import Gap
from mmstream.pipeline.classes import every_operator
from mmstream.pipeline.nodes import Draft, Input, unknown_node
from mmstream.pipeline.problems import listed
from mmstream.pipeline.report import Report
from mmstream.spelling import nearest

Drafts = Mapping[str, Draft]

_SUGGESTED = 8  # nodes that an operator without input is offered


def carried(emits: Sequence[type], accepts: Sequence[type]) -> tuple[type, ...]:
    """The payload types on an edge. Gaps are not named: they travel every edge of their medium."""
    return tuple(given for given in emits if given is not Gap and issubclass(given, tuple(accepts)))


def check_edges(report: Report, drafts: Drafts, allow: Sequence[str]) -> None:
    """Report what is wrong between nodes, but for cycles."""
    taken: set[str] = set()  # nodes whose output somebody takes, or means to take
    for draft in drafts.values():
        for given in draft.inputs:
            if given.source in drafts:
                taken.add(given.source)
                _check_types(report, drafts[given.source], draft, given, allow)
            else:
                report.add(given.keys, unknown_node(given.source, list(drafts)))
                taken.add(nearest(given.source, drafts) or "")
        _check_rivals(report, drafts, draft)
    _check_ends(report, drafts, taken)


def check_cycles(report: Report, drafts: Drafts) -> bool:
    """Report every cycle; whether there is one."""
    cycles = _cycles(drafts)
    for cycle in cycles:
        first = drafts[cycle[0]]
        back = next(given for given in first.inputs if given.source == cycle[-1])
        report.add(back.keys, f"a cycle: {' -> '.join([*cycle, cycle[0]])}")
    return bool(cycles)


def _check_types(report: Report, source: Draft, target: Draft, given: Input, allow: Sequence[str]) -> None:
    if source.kind is None or target.kind is None or target.is_source:
        return
    if not carried(source.emits, target.accepts):
        message = f"{target.title} takes {_types(target.accepts)}, but {source.title} gives {_types(source.emits)}"
        report.add(given.keys, message + _bridge(source.emits, target.accepts, allow))


def _check_rivals(report: Report, drafts: Drafts, target: Draft) -> None:
    """Two edges into one node that carry the same payload type: nothing would tell their packets apart."""
    seen: list[tuple[type, Draft]] = []
    for given in target.inputs:
        source = drafts.get(given.source)
        if source is None:
            continue
        types = carried(source.emits, target.accepts)
        for payload in types:
            rival = next((one for other, one in seen if issubclass(payload, other) or issubclass(other, payload)), None)
            if rival is not None:
                both = f"{rival.title} and {source.title}"
                message = f"two sources for one input: {target.title} gets {payload.__name__} from {both}"
                report.add(given.keys, message)
                break
        seen.extend((payload, source) for payload in types)


def _check_ends(report: Report, drafts: Drafts, taken: set[str]) -> None:
    """Orphans: what takes but is given nothing, and what gives but nobody takes."""
    for draft in drafts.values():
        if draft.kind is None:
            continue
        entry = report.document.nodes[draft.name]
        if draft.is_source and "from" in entry:
            report.add((*draft.keys, "from"), f"{draft.title} is a source: it takes no input, so 'from' must go")
        if not draft.is_source and entry.get("from") in (None, [], {}):
            report.add(
                draft.keys, f"{draft.title} has no 'from'; it takes {_types(draft.accepts)}{_givers(drafts, draft)}"
            )
        if draft.emits and draft.name not in taken:
            report.add(draft.keys, f"nobody takes what {draft.title} gives: {_types(draft.emits)}")


def _givers(drafts: Drafts, draft: Draft) -> str:
    """The nodes that an operator without ``from`` could take from."""
    fitting = [other for other in drafts.values() if other is not draft and carried(other.emits, draft.accepts)]
    names = [repr(other.name) for other in fitting[:_SUGGESTED] if not _leads_to(drafts, draft, other)]
    return f", which {listed(names, 'or')} gives" if names else ""


def _leads_to(drafts: Drafts, start: Draft, goal: Draft) -> bool:
    """Whether ``goal`` lies downstream of ``start``."""
    seen: set[str] = set()
    waiting = [goal.name]
    while waiting:
        name = waiting.pop()
        if name == start.name:
            return True
        if name in drafts and name not in seen:
            seen.add(name)
            waiting.extend(given.source for given in drafts[name].inputs)
    return False


def _types(types: Sequence[type]) -> str:
    return listed([payload.__name__ for payload in types if payload is not Gap], "or") or "nothing"


def _bridge(emits: Sequence[type], accepts: Sequence[type], allow: Sequence[str]) -> str:
    """A hint at the operators that would turn the one into the other."""
    found = [
        use
        for use, kind in every_operator(allow, skip_broken=True).items()
        if not issubclass(kind, Source) and carried(emits, kind.accepts) and carried(kind.emits, accepts)
    ]
    return f"; in between goes {listed(found, 'or')}" if found else ""


def _cycles(drafts: Drafts) -> list[list[str]]:
    """One path round each cycle that a walk against the edges meets, in the direction of the edges."""
    cycles: list[list[str]] = []
    done: set[str] = set()
    for start in drafts:
        path: list[str] = []
        ahead = [iter([start])]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                ahead.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                cycles.append(_from_first(path[path.index(name) :][::-1], drafts))
            elif name in drafts and name not in done:
                path.append(name)
                ahead.append(iter([given.source for given in drafts[name].inputs]))
    return cycles


def _from_first(cycle: list[str], drafts: Drafts) -> list[str]:
    """The same cycle, told from the node that stands first in the file."""
    start = cycle.index(next(name for name in drafts if name in cycle))
    return cycle[start:] + cycle[:start]


def in_order(drafts: Drafts) -> list[str]:
    """Names so that every node comes after those it takes from, else in the order of the file; without cycles."""
    order: dict[str, None] = {}
    while len(order) < len(drafts):
        for name, draft in drafts.items():
            if name not in order and all(given.source in order for given in draft.inputs):
                order[name] = None
                break
    return list(order)


def finished_edge(source: Draft, target: Draft, given: Input, capacity: int | None) -> Edge:
    """The edge of the graph; for drafts without problems. An edge that never queues has a capacity of 1."""
    live = source.kind is not None and issubclass(source.kind, Source) and source.kind.live
    usual: Overflow = "drop_oldest" if live else "block"
    return Edge(
        source.name,
        target.name,
        carried(source.emits, target.accepts),
        given.capacity or capacity or 1,
        given.overflow or usual,
    )
