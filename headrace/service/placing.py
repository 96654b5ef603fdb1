"""Turns placements into Serve's options, and compares them with a cluster's nodes. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import ServiceError
from schemas.settings.autoscaling import most_replicas
from schemas.settings.file import Settings
from schemas.settings.placement import PlacementSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a Ray cluster; ``resources`` are all that it has, free or not."""

    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """What is placed: ``where`` names its place in the settings."""

    where: str
    placement: PlacementSettings
    most_replicas: int


def with_placement(options: Mapping[str, Any], placement: PlacementSettings) -> dict[str, Any]:
    """Return a deployment's options with those of a placement.

    A replica of several GPUs is a placement group: its first bundle reserves the custom resources,
    and all bundles must meet the labels.
    """
    placed = dict(options)
    actor = dict(placed.get("ray_actor_options", {}))
    bundles = placed.get("placement_group_bundles")
    if placement.resources and bundles:
        placed["placement_group_bundles"] = [{**bundles[0], **placement.resources}, *bundles[1:]]
    elif placement.resources:
        actor["resources"] = dict(placement.resources)
    if placement.labels and bundles:
        placed["placement_group_bundle_label_selector"] = [dict(placement.labels)] * len(bundles)
    elif placement.labels:
        actor["label_selector"] = dict(placement.labels)
    if placement.max_replicas_per_node is not None:
        placed["max_replicas_per_node"] = placement.max_replicas_per_node
    if actor:
        placed["ray_actor_options"] = actor
    return placed


def placed_of(settings: Settings) -> list[Placed]:
    """Return what of the settings has a placement; models that no route needs are left out."""
    found = [
        Placed(
            f"models.{name}.placement",
            model.placement,
            most_replicas(model.replicas, model.autoscaling),
        )
        for name, model in settings.called_models.items()
    ]
    found += [
        Placed(
            f"routes.{name}.placement",
            route.placement,
            most_replicas(route.consumers, route.autoscaling),
        )
        for name, route in settings.routes.items()
    ]
    return [each for each in found if each.placement != PlacementSettings()]


def unplaced_lines(settings: Settings, nodes: Sequence[Node]) -> list[str]:
    """Return a line on each placement that none of the nodes meets."""
    return [
        f"{each.where}: none of the cluster's {len(nodes)} nodes has {each.placement.describe()}; "
        "its replicas wait until one joins that has"
        for each in placed_of(settings)
        if not any(each.placement.is_met_by(node.labels, node.resources) for node in nodes)
    ]


def one_node_for(settings: Settings) -> Node:
    """Return the labels and custom resources of one node that can run everything.

    Raises ``ServiceError`` if the placements contradict each other.
    """
    wanted: dict[str, list[str]] = {}
    resources: dict[str, float] = {}
    placed = placed_of(settings)
    for each in placed:
        for key, values in each.placement.wanted_values.items():
            wanted[key] = [value for value in wanted.get(key, values) if value in values]
        for name, amount in each.placement.resources.items():
            resources[name] = resources.get(name, 0.0) + amount * each.most_replicas
    labels = {key: values[0] for key, values in wanted.items() if values}
    # Ray takes whole numbers above 1.
    resources = {name: float(math.ceil(amount)) for name, amount in resources.items()}
    for each in placed:
        if not each.placement.is_met_by(labels, resources):
            raise ServiceError(
                f"{each.where}: {each.placement.describe()} contradicts the labels of other "
                "placements, and a Ray of one node cannot have both; join a cluster of several "
                "nodes, or leave the placements out of the settings for this machine"
            )
        limit = each.placement.max_replicas_per_node
        if limit is not None and limit < each.most_replicas:
            raise ServiceError(
                f"{each.where}.max_replicas_per_node: {limit} of up to {each.most_replicas} "
                "replicas may share a node, and a Ray of one node has no other; join a cluster of "
                "several nodes, or leave it out of the settings for this machine"
            )
    return Node(labels=labels, resources=resources)
