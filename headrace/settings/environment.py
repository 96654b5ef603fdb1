"""Overrides of the settings file from the environment, ``HEADRACE_SECTION__KEY=value``.

Names of models and routes match with underscores instead of dashes: ``all-minilm`` is
``HEADRACE_MODELS__ALL_MINILM__DTYPE``. Lists and mappings are written as JSON.
"""

import os
from typing import Any

import orjson

from headrace.settings.outline import find_place
from headrace.settings.problems import Path, Problem, SettingsError, suggest
from schemas.settings.file import Settings

PREFIX = "HEADRACE_"
DELIMITER = "__"
NAMED_SECTIONS = {"models": "kind", "routes": "model"}
"""Sections whose keys are the user's names, and the key that makes an entry of a new name."""


def apply_environment(data: dict[str, Any]) -> tuple[dict[str, Any], dict[Path, str]]:
    """Merge the environment's overrides into the settings file's content.

    Returns the merged mapping, and the variable that set each overridden path. Raises
    ``SettingsError`` if a variable names no section or entry, or its value is not JSON.
    """
    merged = dict(data)
    where: dict[Path, str] = {}
    problems = []
    values = {name.upper(): value for name, value in sorted(os.environ.items())}
    variables = {
        name: tuple(name.removeprefix(PREFIX).lower().split(DELIMITER))
        for name in values
        if name.startswith(PREFIX)
    }
    for name, words in variables.items():
        try:
            path = _path_of(words, merged, set(variables.values()), name)
            value = _decode(values[name], path)
        except ValueError as error:
            problems.append(Problem("", str(error), name))
            continue
        if path:
            where[path] = name
            _lay(merged, path, value)
    if problems:
        raise SettingsError(problems)
    return merged, where


def _path_of(
    words: tuple[str, ...], data: dict[str, Any], all_words: set[tuple[str, ...]], name: str
) -> tuple[str, ...]:
    """Return the path that a variable sets; empty if it is no override.

    Raises ``ValueError``, which says what to write, if the file has no such section or entry.
    """
    section, *keys = words
    if section not in Settings.model_fields:
        if not keys:
            return ()
        known = suggest(section, Settings.model_fields)
        raise ValueError(f"there is no section '{section}'{known}")
    if not keys:
        raise ValueError(
            f"names a whole section; set its keys one by one, {name}{DELIMITER}KEY=value"
        )
    if section in NAMED_SECTIONS:
        dashed = keys[0].replace("_", "-")
        entries = data.get(section)
        names = [str(each) for each in entries] if isinstance(entries, dict) else []
        same = [each for each in names if each.lower().replace("_", "-") == dashed]
        if not same and (section, keys[0], NAMED_SECTIONS[section]) not in all_words:
            raise ValueError(f"the file has no {section}.{dashed}{suggest(dashed, names)}")
        keys[0] = same[0] if same else dashed
    return (section, *keys)


def _decode(value: str, path: Path) -> Any:
    """Read JSON if the field takes no text, else keep it; raises ``ValueError`` for bad JSON."""
    if not value.startswith(("[", "{")) or find_place(path).takes_text:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ValueError(f'is not JSON ({error}); write e.g. ["a", "b"]') from None


def _lay(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, last = path
    for key in parents:
        below = data.get(key)
        data[key] = dict(below) if isinstance(below, dict) else {}
        data = data[key]
    data[last] = value
