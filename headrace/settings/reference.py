"""``docs/settings.md``, from the settings' models: ``python -m headrace.settings.reference``."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from headrace.settings.field_texts import bounds_text, default_text, sections_in, type_text
from schemas.settings.file import Settings
from schemas.settings.live import (
    LIVE_MODEL_KEYS,
    LIVE_ROUTE_KEYS,
    SERVE_MODEL_KEYS,
    SERVE_ROUTE_KEYS,
    TOPIC_ROUTE_KEYS,
)
from schemas.settings.section import Section

_INTRODUCTION = """\
# Settings

<!-- Written by `make docs` from schemas/settings/. -->

Every key of `headrace.yaml`. [Configuration](configuration.md) explains them, with examples;
[sizing](sizing.md) says how to choose numbers. `headrace check` finds what is wrong with a file,
and `headrace schema settings` prints its JSON Schema.

- `NAME` is a name of yours; `[]` stands for each entry of a list.
- A unit is the end of a key's name: `_ms`, `_s`, `_bytes`, `_gib`, `_tokens`, `_records`.
- **live**: running replicas go on with the new value. **restart**: they are replaced, some at a
  time. See [upgrades](upgrades.md#settings).
- Any value can come from [the environment](configuration.md#environment).
"""

_MODELS, _ROUTES = "models.NAME", "routes.NAME"
_UNITS = {
    "_ms": "ms",
    "_s": "s",
    "_bytes": "bytes",
    "_gib": "GiB",
    "_tokens": "tokens",
    "_records": "records",
    "_texts": "texts",
    "_pixels": "pixels",
    "_percent": "%",
    "_characters": "characters",
}
_RATE = "_per_s"


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the page: the keys at ``path`` that ``section`` itself declares.

    Attributes:
        classes: The sections whose keys they are; the docstring of the last is shown.
        kinds: The values of ``kind`` (or what else decides) for which they are there; empty: all.
        is_whole: Inherited keys are there too; else in a table of their own.
    """

    path: str
    classes: tuple[type[Section], ...]
    kinds: tuple[str, ...] = ()
    is_whole: bool = True

    @property
    def title(self) -> str:
        if not self.kinds:
            return self.path
        return f"{self.path}, {self._decider}: {', '.join(self.kinds)}"

    @property
    def fields(self) -> Mapping[str, FieldInfo]:
        return {
            name: field
            for each in self.classes
            for name, field in each.model_fields.items()
            if self.is_whole or name in each.__annotations__
        }

    @property
    def _decider(self) -> str:
        return "backend" if self.path.endswith(".gcs") else "kind"


def settings_page() -> str:
    parts = list(_parts("", (Settings,), set()))
    titles = {each: part.title for part in reversed(parts) for each in part.classes}
    return "\n\n".join([_INTRODUCTION.rstrip(), *(_text(part, titles) for part in parts)]) + "\n"


def _parts(path: str, classes: Sequence[type[Section]], seen: set[type[Section]]) -> Iterator[Part]:
    """Yield the tables of the sections that may stand at ``path``, then those below them."""
    found = list(_at(path, classes))
    if path:
        yield from found
    for part in found:
        for name, field in part.fields.items():
            for suffix, below in sections_in(field.annotation):
                if seen.issuperset(below):
                    continue
                seen.update(below)
                yield from _parts(f"{path}.{name}{suffix}".lstrip("."), below, seen)


def _at(path: str, classes: Sequence[type[Section]]) -> Iterator[Part]:
    if len(classes) == 1:
        yield Part(path, (classes[0],))
        return
    # What several kinds have in common has one table.
    groups: dict[tuple[type[Section], ...], list[type[Section]]] = {}
    for declaring in _declaring(classes):
        users = tuple(each for each in classes if issubclass(each, declaring))
        groups.setdefault(users, []).append(declaring)
    for users, declaring_classes in groups.items():
        kinds = () if len(users) == len(classes) else tuple(map(_kind_of, users))
        part = Part(path, tuple(declaring_classes), kinds, is_whole=False)
        if part.fields:
            yield part


def _declaring(classes: Sequence[type[Section]]) -> list[type[Section]]:
    """Return the classes that declare fields of ``classes``, bases first."""
    found: dict[type[Section], None] = {}
    for each in classes:
        for base in reversed(each.__mro__):
            if issubclass(base, Section) and base is not Section:
                found.setdefault(base)
    # A base of many before what few have.
    return sorted(found, key=lambda base: -sum(issubclass(each, base) for each in classes))


def _kind_of(section: type[Section]) -> str:
    for name in ("kind", "backend"):
        field = section.model_fields.get(name)
        if field is not None:
            return type_text(field.annotation).replace("`", "")
    return section.__name__


def _text(part: Part, titles: Mapping[type[Section], str]) -> str:
    is_top = part.path in {_MODELS, _ROUTES} or "." not in part.path
    level = "##" if is_top and not part.kinds else "###"
    words = (part.classes[-1].__doc__ or "").strip().split("\n\n")[0].replace("``", "`")
    changes = _changes(part)
    columns = ["key", "type", "default", "bounds", *(["change"] if changes else []), "meaning"]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, field in part.fields.items():
        cells = [
            f"`{name}`",
            _with_unit(name, type_text(field.annotation)),
            default_text(name, field),
            bounds_text(field),
            *([changes[name]] if changes else []),
            _meaning(field, titles),
        ]
        lines.append(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |")
    table = "\n".join(lines)
    return f"{level} {part.title}\n\n{' '.join(words.split())}\n\n{table}"


def _with_unit(name: str, text: str) -> str:
    if "number" not in text:
        return text
    if name.endswith(_RATE):
        return f"{text}, per s"
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), None)
    return text if unit is None else f"{text}, {unit}"


def _meaning(field: FieldInfo, titles: Mapping[type[Section], str]) -> str:
    text = " ".join((field.description or "").split())
    below = [each for _suffix, classes in sections_in(field.annotation) for each in classes]
    if not below:
        return text
    title = titles[below[0]]
    return f"{text} See [{title.partition(',')[0]}](#{_anchor(title)})."


def _anchor(title: str) -> str:
    kept = "".join(each for each in title.lower() if each.isalnum() or each in "_- ")
    return kept.replace(" ", "-")


def _changes(part: Part) -> dict[str, str]:
    """Return how each key changes, where that differs between keys."""
    for root, live, others in (
        (_ROUTES, LIVE_ROUTE_KEYS, SERVE_ROUTE_KEYS),
        (_MODELS, _live_model_keys(part), SERVE_MODEL_KEYS),
    ):
        if part.path == root or part.path.startswith(f"{root}."):
            prefix = part.path.removeprefix(root).removeprefix(".")
            known = (*live, *others)
            return {name: _change(f"{prefix}.{name}".lstrip("."), known) for name in part.fields}
    return {}


def _live_model_keys(part: Part) -> tuple[str, ...]:
    kinds = part.kinds or tuple(LIVE_MODEL_KEYS)
    return tuple(key for kind in kinds for key in LIVE_MODEL_KEYS.get(kind, ()))


def _change(key: str, live: Sequence[str]) -> str:
    if any(key == each or key.startswith(f"{each}.") for each in live):
        return "live"
    if any(key == each or key.startswith(f"{each}.") for each in TOPIC_ROUTE_KEYS):
        return "new topics"
    return "partly live" if any(each.startswith(f"{key}.") for each in live) else "restart"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
