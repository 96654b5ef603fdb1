"""Which keys and types the settings classes have at a path; reflection over pydantic models."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of the file; pydantic adds the ``kind`` of a union."""


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that the section at ``path`` may have."""
    keys: dict[str, None] = {}
    for section in sections_at(model, path):
        keys.update(dict.fromkeys(section.model_fields))
    return list(keys)


def field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """Return the field that ``path`` names, or ``None`` for a list's or mapping's element."""
    if not path or not isinstance(path[-1], str):
        return None
    for section in sections_at(model, path[:-1]):
        if path[-1] in section.model_fields:
            return section.model_fields[path[-1]]
    return None


def takes_text(model: type[BaseModel], path: Path) -> bool:
    """Tell whether the field at ``path`` takes a string as it is, so that it is never JSON."""
    field = field_at(model, path)
    if field is None:
        return True
    types = set(flat_types(field.annotation))
    return bool(types & {str, SecretStr})


def sections_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """Return the section classes that may stand at ``path``: several where a union decides."""
    types: list[Any] = [model]
    for part in path:
        chosen = [kind for kind in types if part in kind_values(kind)]
        if chosen and len(types) > 1:
            types = chosen
            continue
        found: list[Any] = []
        for kind in types:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                field = kind.model_fields.get(str(part))
                found.extend(flat_types(field.annotation) if field else [])
            elif get_origin(kind) is dict:
                found.extend(flat_types(get_args(kind)[1]))
        types = found
    return [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]


def flat_types(annotation: Any) -> list[Any]:
    """Return the members of a type, unions and Annotated opened; ``None`` left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return flat_types(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        return [kind for member in get_args(annotation) for kind in flat_types(member)]
    return [] if annotation is type(None) else [annotation]


def literal_values(annotation: Any) -> list[Any]:
    """Return the values of a ``Literal``, alone or in a union."""
    schema = TypeAdapter(annotation).json_schema() if annotation is not None else {}
    values: list[Any] = []
    for part in [schema, *schema.get("anyOf", [])]:
        values.extend(part.get("enum", [part["const"]] if "const" in part else []))
    return values


def kind_values(section: Any) -> list[str]:
    """Return what ``kind`` may be in a section, if it has that key."""
    if not (isinstance(section, type) and issubclass(section, BaseModel)):
        return []
    field = section.model_fields.get("kind")
    return [str(value) for value in literal_values(field.annotation)] if field else []


def union_tags(model: type[BaseModel], path: Path) -> list[str]:
    """Return the values of ``kind`` where ``path`` is a union told apart by it."""
    sections = sections_at(model, path)
    return [value for section in sections for value in kind_values(section)]


def file_path(model: type[BaseModel], location: Path) -> Path:
    """Return pydantic's location without what is not in the file: kinds and ``[key]`` marks."""
    path: Path = ()
    for part in location:
        sections = sections_at(model, path)
        if part != "[key]" and (len(sections) < 2 or part not in union_tags(model, path)):
            path = (*path, part)
    return path
