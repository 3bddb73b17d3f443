"""What one session is to be translated into, where a graph translates for many: its name says so."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "+"  # before each language; a server's own names, and BCP 47 codes, have none


def named(session: str, targets: Sequence[str]) -> str:
    """The name of a session that wants these languages: ``live-5ad0c1f2+de+fr``."""
    return "".join([session, *(MARK + target for target in targets)])


def wished(session: str, offered: Sequence[str]) -> list[str]:
    """Those of ``offered`` that the name of a session says, in the order of ``offered``."""
    said = session.split(MARK)[1:]
    return [target for target in offered if target in said]
