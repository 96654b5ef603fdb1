"""A field of the settings in words: its type, its default and its bounds."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from schemas.settings.section import Section

_SCALARS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "whole number"),
    (float, "number"),
    (str, "text"),
    (SecretStr, "secret text"),
    (PurePath, "path"),
)
_ANY = "any value"
_MIB, _GIB = 2**20, 2**30


def type_text(annotation: Any) -> str:
    """Return a type as a reader of YAML knows it; ``None`` is left out, as that is no value."""
    annotation = _plain(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{each}`" for each in arguments)
    if origin in {Union, UnionType}:
        return _union_text([each for each in map(_plain, arguments) if each is not NoneType])
    if origin in {tuple, list, frozenset}:
        return f"list of {_plural(type_text(arguments[0]))}"
    if origin is dict:
        return f"mapping of names to {_plural(type_text(arguments[1]))}"
    return _class_text(annotation)


def _union_text(members: Sequence[Any]) -> str:
    if {list, dict} <= set(map(get_origin, members)):  # JSON
        return _ANY
    return " or ".join(dict.fromkeys(map(type_text, members)))


def _class_text(annotation: Any) -> str:
    if not isinstance(annotation, type):
        return _ANY
    if issubclass(annotation, Section):
        return "section"
    return next((text for kind, text in _SCALARS if issubclass(annotation, kind)), _ANY)


def sections_in(annotation: Any) -> list[tuple[str, Sequence[type[Section]]]]:
    """Return the sections that stand at a field, with what its path goes on with."""
    found: dict[str, list[type[Section]]] = {}
    for suffix, section in _sections(annotation, ""):
        found.setdefault(suffix, []).append(section)
    return list(found.items())


def _sections(annotation: Any, suffix: str) -> Iterator[tuple[str, type[Section]]]:
    annotation = _plain(annotation)
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield suffix, annotation
    elif origin in {Union, UnionType}:
        for each in get_args(annotation):
            yield from _sections(each, suffix)
    elif origin is dict:
        yield from _sections(get_args(annotation)[1], f"{suffix}.NAME")
    elif origin in {tuple, list}:
        yield from _sections(get_args(annotation)[0], f"{suffix}[]")


def default_text(name: str, field: FieldInfo) -> str:
    """Return a default as YAML has it; ``required``, or nothing where unset means something."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int):
        return _size_text(value) if name.endswith("_bytes") else f"`{value}`"
    if isinstance(value, frozenset | tuple | list):
        return f"`[{', '.join(sorted(map(str, value)))}]`"
    return f"`{value}`"


def _size_text(value: int) -> str:
    for size, unit in ((_GIB, "GiB"), (_MIB, "MiB")):
        if value >= size and value % size == 0:
            return f"`{value}` ({value // size} {unit})"
    return f"`{value}`"


def bounds_text(field: FieldInfo) -> str:
    """Return the bounds of a number, of a text's length or of a list's, in words."""
    least = most = length = None
    for each in _metadata(field):
        match each:
            case annotated_types.Ge(ge=value):
                least = f"from {value:,}"
            case annotated_types.Gt(gt=value):
                least = f"over {value:,}"
            case annotated_types.Le(le=value):
                most = f"to {value:,}"
            case annotated_types.Lt(lt=value):
                most = f"below {value:,}"
            case annotated_types.MinLen(min_length=value):
                least, length = f"from {value:,}", True
            case annotated_types.MaxLen(max_length=value):
                most, length = f"to {value:,}", True
    bounds = " ".join(each for each in (least, most) if each)
    if not length:
        return bounds
    return f"{bounds} {'characters' if type_text(field.annotation) == 'text' else 'entries'}"


def _metadata(field: FieldInfo) -> Iterator[Any]:
    yield from field.metadata
    if get_origin(field.annotation) in {Union, UnionType}:
        for each in get_args(field.annotation):
            if get_origin(each) is Annotated:
                yield from each.__metadata__


def _plain(annotation: Any) -> Any:
    while True:
        if isinstance(annotation, TypeAliasType):
            annotation = annotation.__value__
        elif get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _plural(text: str) -> str:
    return {
        "text": "texts",
        "whole number": "whole numbers",
        "number": "numbers",
        "section": "sections",
        _ANY: "values",
    }.get(text, text)
