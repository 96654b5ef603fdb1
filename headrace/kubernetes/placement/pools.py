"""Which worker pods a placement asks for: the names and labels of their groups. Pure."""

import hashlib
import re
from collections.abc import Iterable

from schemas.settings.placement import PlacementSettings

GROUP = "ray.io/node-group"
"""KubeRay gives it to the nodes of a group, with the group's name."""
ACCELERATOR = "ray.io/accelerator-type"
"""Ray finds it on the node."""
NODE_SELECTOR_KEYS = {
    "ray.io/availability-zone": "topology.kubernetes.io/zone",
    "ray.io/region": "topology.kubernetes.io/region",
}
"""Ray's labels that Kubernetes' nodes have under another name."""
_MOST_WORDS_CHARACTERS = 36
"""A pod's name has the cluster's before it."""


def group_name(placement: PlacementSettings, *, has_gpus: bool) -> str:
    """Return the name of the worker group that runs a placement's replicas.

    ``cpu`` and ``gpu`` ask for nothing more. Placements with one name share the group.
    """
    wanted = placement.wanted_values
    if GROUP in wanted:
        return wanted[GROUP][0]
    kind = "gpu" if has_gpus else "cpu"
    words = [_word(key, values[0]) for key, values in sorted(wanted.items())]
    words += sorted(placement.resources)
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")
    if len(text) > _MOST_WORDS_CHARACTERS:
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        text = f"{text[:_MOST_WORDS_CHARACTERS].strip('-')}-{digest}"
    return f"{kind}-{text}" if text else kind


def _word(key: str, value: str) -> str:
    # What Ray's own labels mean, their values say.
    return value if key.startswith("ray.io/") else f"{key.rpartition('/')[2]}-{value}"


def group_labels(placements: Iterable[PlacementSettings], *, has_gpus: bool) -> dict[str, str]:
    """Return the labels of a group's nodes, besides its name; the first placement wins."""
    labels: dict[str, str] = {}
    for placement in placements:
        for key, values in placement.wanted_values.items():
            labels.setdefault(key, values[0])
    labels.pop(GROUP, None)
    if not has_gpus:
        labels.pop(ACCELERATOR, None)
    return labels
