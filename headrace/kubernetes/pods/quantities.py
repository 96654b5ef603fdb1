"""Numbers as Kubernetes' quantities."""

import math
from collections.abc import Mapping
from types import MappingProxyType

MIB_PER_GIB = 1024


def cpu_quantity(cpus: float) -> str:
    """Return whole CPUs as they are, fractions in thousandths, rounded up."""
    return str(int(cpus)) if cpus == int(cpus) else f"{math.ceil(cpus * 1000)}m"


def gib_quantity(gib: float) -> str:
    """Return whole GiB as ``Gi``, fractions as ``Mi``, rounded up."""
    return f"{int(gib)}Gi" if gib == int(gib) else f"{math.ceil(gib * MIB_PER_GIB)}Mi"


def resources(
    cpus: float,
    memory_gib: float,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    limits_cpus: bool = True,
) -> dict[str, dict[str, str]]:
    """Return a container's requests and limits, which are the same.

    ``more`` is other resources by name. Without ``limits_cpus`` the container may use CPUs that
    others leave.
    """
    size = {"cpu": cpu_quantity(cpus), "memory": gib_quantity(memory_gib), **more}
    limits = {name: amount for name, amount in size.items() if limits_cpus or name != "cpu"}
    return {"requests": dict(size), "limits": limits}
