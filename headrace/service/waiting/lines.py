"""Describes what an application that starts waits for, in one line. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.service.applications import title_of
from headrace.service.deployment_lines import failure_line

_UNITS = {"CPU": "CPUs", "GPU": "GPUs"}
_FEW = 1e-6
"""Sums of fractions come out slightly off."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a Ray cluster has.

    Attributes:
        total: Resources of the nodes.
        free: What of them is not reserved.
        pending: What tasks, actors and placement groups wait for room with, one mapping for each
            kind; ``None`` where that is not known.
    """

    total: Mapping[str, float]
    free: Mapping[str, float]
    pending: Sequence[Mapping[str, float]] | None = None

    def waits_for(self, needs: Mapping[str, float]) -> bool:
        """Whether something with these needs has no room, as far as it is known."""
        return self.pending is None or any(_are_equal(needs, each) for each in self.pending)


def waiting_line(application: str, details: Mapping[str, Any], room: Room) -> str | None:
    """Return what keeps an application from running, of Serve's details; ``None`` if nothing.

    The line has no time in it: it stays the same while nothing changes.
    """
    if details["status"] == "RUNNING":
        return None
    title = title_of(application)
    deployments = list(details["deployments"].values())
    if not deployments:
        return f"{title}: Serve is about to deploy it"
    return f"{title}: {_of_deployment(deployments[0], room)}"


def _of_deployment(deployment: Mapping[str, Any], room: Room) -> str:
    replicas = [each for each in deployment.get("replicas", ()) if each["state"] != "STOPPING"]
    running = sum(each["state"] == "RUNNING" for each in replicas)
    wanted = max(deployment.get("target_num_replicas", len(replicas)), len(replicas), 1)
    start = f"{running} of {wanted} replicas run"
    # Without a node to tell of: Ray has none for it, or its process is just starting.
    unplaced = sum(each["state"] != "RUNNING" and not each.get("node_id") for each in replicas)
    needs = needs_of(deployment)
    if unplaced and room.waits_for(needs):
        return f"{start}; {unplaced} {_wait(unplaced)} for {_missing(needs, room)}"
    if len(replicas) - running:
        # Serve says something where a start failed, and tries again.
        why = failure_line(str(deployment.get("message", "")))
        return f"{start}; {len(replicas) - running} starting" + (f" ({why})" if why else "")
    return f"{start}; Serve has not started the others yet"


def needs_of(deployment: Mapping[str, Any]) -> dict[str, float]:
    """Return what one replica reserves, over all of its bundles, by Ray's names."""
    config = deployment.get("deployment_config", {})
    options = config.get("ray_actor_options") or {}
    bundles = config.get("placement_group_bundles") or [
        {
            "CPU": options.get("num_cpus") or 0.0,
            "GPU": options.get("num_gpus") or 0.0,
            **(options.get("resources") or {}),
        }
    ]
    needs: dict[str, float] = {}
    for bundle in bundles:
        for name, number in bundle.items():
            needs[name] = needs.get(name, 0.0) + number
    return {name: number for name, number in needs.items() if number}


def _are_equal(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    names = {*one, *other}
    return all(abs(one.get(name, 0.0) - other.get(name, 0.0)) < _FEW for name in names)


def _missing(needs: Mapping[str, float], room: Room) -> str:
    lacks = [
        f"{number:g} {_unit(name, number)} each ({room.free.get(name, 0.0):g} of "
        f"{room.total.get(name, 0.0):g} free)"
        for name, number in needs.items()
        if number > room.free.get(name, 0.0) + _FEW
    ]
    if lacks:
        return " and ".join(lacks)
    # In sum there is enough.
    each = " and ".join(f"{number:g} {_unit(name, number)}" for name, number in needs.items())
    return f"a node with {each or 'room'}"


def _unit(name: str, number: float) -> str:
    return name if number == 1 else _UNITS.get(name, name)


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"
