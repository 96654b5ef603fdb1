"""Where the replicas of a model, or a route's consumers, may run."""

import re
from collections.abc import Mapping

from pydantic import Field, field_validator

from schemas.settings.section import Section

_WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_KEY = re.compile(rf"(?:[a-zA-Z0-9.-]{{1,253}}/)?{_WORD}")
_SELECTOR = re.compile(
    rf"(?P<not>!?)(?:(?P<value>{_WORD})|in\((?P<values>{_WORD}(?:, ?{_WORD})*)\))"
)
_RESOURCE = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]*")
_NODE_ID = "ray.io/node-id"
_IN_PLACE_OF_RESOURCE = {
    "CPU": "num_cpus (of a route: consumer_num_cpus)",
    "GPU": "num_gpus",
    "memory": "the size of the nodes",
    "object_store_memory": "the size of the nodes",
}


class PlacementSettings(Section):
    """What a node must have to run a replica."""

    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the node, by key, as Ray's label selectors: VALUE, !VALUE, "
        "in(A, B) or !in(A, B). A node without the label meets the last and the second.",
    )
    resources: dict[str, float] = Field(
        default_factory=dict,
        description="Custom resources that Ray reserves for each replica, by name.",
    )
    max_replicas_per_node: int | None = Field(
        default=None, ge=1, le=100, description="Unset: as many as there is room for."
    )

    @field_validator("labels")
    @classmethod
    def _legal_selectors(cls, labels: dict[str, str]) -> dict[str, str]:
        for key, selector in labels.items():
            if not _KEY.fullmatch(key):
                raise ValueError(f"'{key}' is no key of a label, as in zone or example.com/zone")
            if key == _NODE_ID:
                raise ValueError(
                    f"{key} names one node, and its replicas would never start after it is gone; "
                    "give the node a label of your own"
                )
            if not _SELECTOR.fullmatch(selector):
                raise ValueError(
                    f"{key}: '{selector}' is no label selector; write VALUE, !VALUE, in(A, B) or "
                    "!in(A, B)"
                )
        # Ray would take the space for a part of the value, and find no node that has it.
        return {key: selector.replace(" ", "") for key, selector in labels.items()}

    @field_validator("resources")
    @classmethod
    def _custom_resources(cls, resources: dict[str, float]) -> dict[str, float]:
        for name, amount in resources.items():
            if name in _IN_PLACE_OF_RESOURCE:
                raise ValueError(f"{name} is set by {_IN_PLACE_OF_RESOURCE[name]}; remove it")
            if not _RESOURCE.fullmatch(name):
                raise ValueError(f"'{name}' is no name of a resource: letters, digits and -_. only")
            if amount <= 0 or (amount > 1 and amount != int(amount)):
                raise ValueError(f"{name}: must be a part of 1, or a whole number from 1")
        return resources

    def is_met_by(self, labels: Mapping[str, str], resources: Mapping[str, float]) -> bool:
        """Tell whether a node with these labels and resources, all free, can run a replica."""
        return all(
            _accepts(selector, labels.get(key)) for key, selector in self.labels.items()
        ) and all(resources.get(name, 0.0) >= amount for name, amount in self.resources.items())

    @property
    def wanted_values(self) -> dict[str, list[str]]:
        """The values of which a node must have one, by label; negations want none."""
        return {
            key: values
            for key, selector in self.labels.items()
            for is_negation, values in [_parse(selector)]
            if not is_negation
        }

    def describe(self) -> str:
        """Return what it asks for on one line."""
        parts = [f"{key}={selector}" for key, selector in self.labels.items()]
        parts += [f"{amount:g} {name}" for name, amount in self.resources.items()]
        return ", ".join(parts)


def _parse(selector: str) -> tuple[bool, list[str]]:
    """Return whether a selector is a negation, and the values that it names."""
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise ValueError(f"'{selector}' is no label selector")
    values = [match["value"]] if match["value"] else match["values"].replace(" ", "").split(",")
    return bool(match["not"]), values


def _accepts(selector: str, value: str | None) -> bool:
    is_negation, values = _parse(selector)
    return (value in values) is not is_negation
