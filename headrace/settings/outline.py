"""The keys, values and descriptions of the settings at a path, from their JSON Schema."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from headrace.settings.problems import Path
from schemas.settings.file import Settings

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """What may stand at a path of the file.

    Attributes:
        path: The path in the file; pydantic's locations also have the ``kind`` of a union.
        options: The JSON Schema of each type that may stand there.
        kinds: The same by ``kind``, where that key decides.
    """

    path: Path = ()
    description: str = ""
    options: list[Node] = field(default_factory=list)
    kinds: dict[str, Node] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        keys = (key for option in self.options for key in option.get("properties", ()))
        return list(dict.fromkeys(keys))

    @property
    def values(self) -> list[str]:
        return [str(value) for option in self.options for value in _listed(option)]

    @property
    def takes_text(self) -> bool:
        """Whether any text is legal there, so that it is never JSON."""
        types = [option.get("type", "string") for option in self.options]
        return not types or "string" in types


def find_place(location: Path) -> Place:
    """Return what may stand at a path of the file, or at a location of pydantic's."""
    place = Place(options=[_schema()])
    for part in location:
        if part in place.kinds:
            place = Place(place.path, place.description, [place.kinds[str(part)]])
        elif part != "[key]":
            place = _below(place, part)
    return place


def _below(place: Place, part: str | int) -> Place:
    fields = [child for each in place.options if (child := _child(each, part)) is not None]
    options = [option for child in fields for option in _options(child)]
    kinds = {
        _listed(option["properties"]["kind"])[0]: option
        for option in options
        if "kind" in option.get("properties", ())
    }
    description = fields[0].get("description", "") if fields else ""
    return Place((*place.path, part), description, options, kinds)


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(part, int):
        child = node.get("items")
    elif (child := node.get("properties", {}).get(part)) is None:
        # A name of the user's own: of a model, a route, a step, a prompt.
        patterns = node.get("patternProperties", {})
        child = next(iter(patterns.values()), node.get("additionalProperties"))
    return child if isinstance(child, dict) else None


def _options(node: Node) -> list[Node]:
    if "$ref" in node:
        node = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
    union = node.get("anyOf") or node.get("oneOf")
    if union:
        return [option for member in union for option in _options(member)]
    return [] if node.get("type") == "null" else [node]


def _listed(node: Node) -> list[Any]:
    values: list[Any] = node.get("enum", [node["const"]] if "const" in node else [])
    return values


@cache
def _schema() -> Node:
    return Settings.model_json_schema()
