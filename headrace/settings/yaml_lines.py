"""Reads YAML from a person's file: bounded, no duplicate keys, the line of every value kept."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from headrace.settings.outline import Path
from headrace.settings.problems import Problem, SettingsError, show_path

MAX_FILE_BYTES = 256 * 1024
MAX_NODES = 100_000
"""Aliases counted as often as they are used, so that a small file cannot unfold into a huge one."""
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file's content.

    Attributes:
        data: The top-level mapping.
        lines: Line numbers, counted from 1, by path.
    """

    data: dict[str, Any]
    lines: dict[Path, int]


def read_document(content: bytes, name: str) -> Document:
    """Read one YAML mapping.

    Args:
        content: The file's bytes, UTF-8.
        name: The file's name, for messages.

    Raises:
        SettingsError: Too large, no YAML, no mapping, or a key stands twice; each with its line.
    """
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(
            [Problem("", f"over {MAX_FILE_BYTES:,} bytes: this is no settings file", name)]
        )
    try:
        text = content.decode("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError([Problem("", "must be a mapping with models and routes", name)])
        lines: dict[Path, int] = {}
        duplicates = list(_walk(node, (), lines, _Budget(), name))
        if duplicates:
            raise SettingsError(duplicates)
        data = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SettingsError(
            [Problem("", f"byte {error.start} is not UTF-8; save the file as UTF-8", name)]
        ) from None
    except yaml.MarkedYAMLError as error:
        raise SettingsError([_syntax_problem(error, name)]) from None
    except yaml.YAMLError:
        # The message of a ReaderError quotes what it read.
        raise SettingsError(
            [Problem("", "has a character that YAML does not allow; retype that part", name)]
        ) from None
    except RecursionError:
        raise SettingsError([_unfolds_too_far(name)]) from None
    return Document(data, lines)


class _Budget:
    """Counts nodes down, across one walk."""

    def __init__(self) -> None:
        self.left_nodes = MAX_NODES

    def take(self, depth: int, name: str) -> None:
        self.left_nodes -= 1
        if self.left_nodes < 0 or depth > MAX_DEPTH:
            raise SettingsError([_unfolds_too_far(name)])


def _unfolds_too_far(name: str) -> Problem:
    return Problem(
        "", f"is nested or aliased past {MAX_DEPTH} levels or {MAX_NODES:,} values", name
    )


def _walk(
    node: yaml.Node, path: Path, lines: dict[Path, int], budget: _Budget, name: str
) -> Iterator[Problem]:
    """Note every value's line, and yield a problem for each key that stands twice."""
    budget.take(len(path), name)
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), lines, budget, name)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                # What a merge brings in stands at another place, and may be overridden here.
                yield from _walk(value_node, (*path, "<<"), lines, budget, name)
                continue
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
            if key in seen:
                message = f"stands twice, first on line {seen[key]}; remove one"
                yield Problem(show_path((*path, key)), message, f"{name}:{line}")
            seen.setdefault(key, line)
            lines.setdefault((*path, key), line)
            yield from _walk(value_node, (*path, key), lines, budget, name)


def _syntax_problem(error: yaml.MarkedYAMLError, name: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = error.problem or "cannot be read"
    if re.search(r"alias|anchor|tag", problem):
        # These quote a value, and an unquoted password that begins with * or ! is one of them.
        problem = "a value that begins with * & or ! must stand in quotes"
    return Problem("", f"not YAML: {problem}", where)
