"""Variables of the environment that deploy/ may set: what each is for, which every node must have, which are secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from mmstream.spelling import did_you_mean

# Read by mmstream itself.
OURS = ("MMSTREAM_CLUSTER_GROWS", "MMSTREAM_HOME", "RAY_ADDRESS")
GROWS = OURS[0]  # where an autoscaler brings nodes: what no node can hold now is waited for
# Read by Ray. Those in lower case are entries of its own configuration with RAY_ before them.
RAYS = (
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_SERVE_ENABLE_HA_PROXY",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_health_check_failure_threshold",
    "RAY_health_check_initial_delay_ms",
    "RAY_health_check_period_ms",
    "RAY_health_check_timeout_ms",
    "RAY_worker_niceness",
)
# Read by libraries, by the shell, by the NVIDIA container toolkit, and by Grafana and its files in deploy/grafana.
OTHERS = (
    "GF_SECURITY_ADMIN_PASSWORD",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "MMSTREAM_DASHBOARDS",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "PATH",
    "PROMETHEUS_URL",
    "PYTHONUNBUFFERED",
)
KNOWN = (*OURS, *RAYS, *OTHERS)

# What every node of Ray must have, and the only value that is right; None: any.
ON_EVERY_NODE: Mapping[str, str | None] = {
    "RAY_worker_niceness": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_health_check_initial_delay_ms": None,
    "RAY_health_check_period_ms": None,
    "RAY_health_check_timeout_ms": None,
    "RAY_health_check_failure_threshold": None,
}

_SECRET = re.compile(r"TOKEN$|PASSWORD|SECRET|API_KEY|ACCESS_KEY")


def unknown(name: str, more: Collection[str] = ()) -> str | None:
    """The complaint about a variable that nothing reads, ``more`` being known beside the usual."""
    if name in KNOWN or name in more:
        return None
    return f"nothing reads the variable {name!r}{did_you_mean(name, (*KNOWN, *more))}"


def is_secret(name: str) -> bool:
    """Whether the value of a variable of that name must not stand in a file."""
    return bool(_SECRET.search(name))


def missing(given: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is wrong with the variables of a node of Ray: each a name and what to say of it."""
    found = []
    for name, value in ON_EVERY_NODE.items():
        if name not in given:
            found.append((name, f"a node of Ray needs the variable {name!r}"))
        elif value is not None and given[name] != value:
            found.append((name, f"{name} must be {value!r} on every node, not {given[name]!r}"))
    return found
