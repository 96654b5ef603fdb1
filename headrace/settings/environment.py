"""Overrides of the settings file from the environment, ``HEADRACE_SECTION__KEY=value``.

Names of models and routes are matched with dashes for underscores: ``all-minilm`` is
``HEADRACE_MODELS__ALL_MINILM__DTYPE``. Lists and mappings are written as JSON.
"""

from typing import Any

import orjson
from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from headrace.settings.outline import Path, takes_text
from headrace.settings.problems import Problem, suggest
from schemas.settings.file import Settings

PREFIX = "HEADRACE_"
DELIMITER = "__"
NAMED_SECTIONS = {"models": "kind", "routes": "model"}
"""Sections whose keys are names of the user's, and the key without which an entry is no entry."""


class _Overrides(BaseSettings):
    """The sections that the environment may set keys of."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="ignore"
    )

    kafka: dict[str, Any] = Field(default_factory=dict)
    models: dict[str, Any] = Field(default_factory=dict)
    routes: dict[str, Any] = Field(default_factory=dict)


class _TextSource(EnvSettingsSource):
    """Leaves values as text: by default ``PASSWORD=0123`` would be read as a JSON number."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        del field, value
        raise ValueError(f"{field_name} is kept as text")


def apply_environment(
    data: dict[str, Any],
) -> tuple[dict[str, Any], dict[Path, str], list[Problem]]:
    """Lay the environment's overrides over the settings file's content.

    Args:
        data: The file's top-level mapping; not changed.

    Returns:
        The merged mapping, the variable that set each overridden path, and what was wrong with
        variables themselves.
    """
    source = _TextSource(_Overrides)
    sections = list(_Overrides.model_fields)
    problems = []
    for variable in sorted(source.env_vars):
        name = variable.upper()
        if not name.startswith(PREFIX):
            continue
        section, delimiter, _ = name.removeprefix(PREFIX).lower().partition(DELIMITER)
        if section in sections and not delimiter:
            fix = f"names a whole section; set its keys one by one, {name}{DELIMITER}KEY=value"
            problems.append(Problem("", fix, name))
        elif delimiter and section not in sections:
            fix = f"there is no section '{section}'{suggest(section, sections)}"
            problems.append(Problem("", fix, name))
    if problems:
        return data, {}, problems

    overrides = _Laying()
    merged = dict(data)
    for section, values in source().items():
        overrides.lay(merged, section, values, (), PREFIX + section.upper())
    return merged, overrides.where, overrides.problems


class _Laying:
    """One pass that lays overrides over a mapping.

    Attributes:
        where: The variable that set each overridden path.
        problems: What is wrong with variables.
    """

    def __init__(self) -> None:
        self.where: dict[Path, str] = {}
        self.problems: list[Problem] = []

    def lay(
        self, target: dict[str, Any], key: str, value: Any, parent: Path, variable: str
    ) -> None:
        """Set ``target[key]``, copying mappings on the way down."""
        path = (*parent, key)
        if not isinstance(value, dict):
            self.where[path] = variable
            target[key] = self._decode(value, path, variable)
            return
        existing = target.get(key)
        target[key] = dict(existing) if isinstance(existing, dict) else {}
        for child, child_value in value.items():
            child_variable = f"{variable}{DELIMITER}{child.upper()}"
            name: str | None = child
            if not parent and key in NAMED_SECTIONS:
                name = self._entry(key, child, child_value, list(target[key]), child_variable)
            if name is not None:
                self.lay(target[key], name, child_value, path, child_variable)

    def _entry(
        self, section: str, word: str, value: Any, names: list[Any], variable: str
    ) -> str | None:
        """Return the model or route that a variable's part stands for, if there is one."""
        dashed = word.replace("_", "-")
        for name in names:
            if str(name).lower().replace("_", "-") == dashed:
                return str(name)
        if isinstance(value, dict) and NAMED_SECTIONS[section] in value:
            return dashed
        while isinstance(value, dict):
            child, value = next(iter(value.items()))
            variable += f"{DELIMITER}{child.upper()}"
        fix = f"the file has no {section}.{dashed}{suggest(dashed, map(str, names))}"
        self.problems.append(Problem("", fix, variable))
        return None

    def _decode(self, value: Any, path: Path, variable: str) -> Any:
        """Read a list or mapping from JSON where the field takes no text; else leave it."""
        is_json = isinstance(value, str) and value.startswith(("[", "{"))
        if not is_json or takes_text(Settings, path):
            return value
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            fix = f'is not JSON ({error}); write e.g. ["a", "b"]'
            self.problems.append(Problem("", fix, variable))
            return value
