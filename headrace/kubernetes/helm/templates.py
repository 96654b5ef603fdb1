"""Manifests as templates: values that people change are taken out of them, and named."""

import json
import re
from typing import Any

_MARKER = "__helm_{}__"
_MARKED = re.compile(r"__helm_(\d+)__")
_OPTIONAL_LINE = re.compile(r"^( *)([\w.-]+): __helm_optional_(\d+)__$", re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENING = "{{"


class Lifted:
    """Takes values out of manifests, and writes the templates that put them back.

    ``values`` has what was taken, in nested mappings: the chart's defaults. So with its defaults a
    chart renders to the manifests that it was made from.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._expressions: list[str] = []

    def take(self, holder: dict[str, Any], key: str, *path: str) -> None:
        """Move ``holder[key]`` to the value at ``path``, such as ``"head", "resources"``.

        Several places may share one; the last one's value is the default of all.
        """
        self._set(path, holder[key])
        self.put(holder, key, f"toJson {_value_at(path)}")

    def take_optional(self, holder: dict[str, Any], key: str, *path: str, default: Any) -> None:
        """Move a value that may be missing, as it is while the chart's is ``default``, empty."""
        self._set(path, holder.pop(key, default))
        # Last, so that it begins no item of a list.
        holder[key] = f"__helm_optional_{self._add(_value_at(path))}__"

    def put(self, holder: dict[str, Any], key: str, expression: str) -> None:
        """Put the outcome of an expression, which must be JSON, in a value's place."""
        holder[key] = _MARKER.format(self._add(expression))

    def template(self, text: str) -> str:
        """Return the YAML of manifests, from which values were taken, as a template."""
        escaped = text.replace(_OPENING, '{{ "{{" }}')
        optional = _OPTIONAL_LINE.sub(self._optional, escaped)
        return _MARKED.sub(lambda found: f"{{{{ {self._expressions[int(found[1])]} }}}}", optional)

    def _optional(self, found: re.Match[str]) -> str:
        expression = self._expressions[int(found[3])]
        line = f"{found[1]}{found[2]}: {{{{ toJson . }}}}"
        return f"{{{{- with {expression} }}}}\n{line}\n{{{{- end }}}}"

    def _add(self, expression: str) -> int:
        self._expressions.append(expression)
        return len(self._expressions) - 1

    def _set(self, path: tuple[str, ...], value: Any) -> None:
        *parents, last = path
        section = self.values
        for name in parents:
            section = section.setdefault(name, {})
        section[last] = value


def _value_at(path: tuple[str, ...]) -> str:
    if all(_IDENTIFIER.fullmatch(name) for name in path):
        return f".Values.{'.'.join(path)}"
    # Worker groups of a placement have dashes in their names.
    return f"(index .Values {' '.join(map(json.dumps, path))})"
