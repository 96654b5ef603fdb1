"""Reads a person's YAML file: bounded, no duplicate keys, with the line of every value."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from headrace.settings.problems import Path, Problem, SettingsError, show_path

MAX_FILE_BYTES = 256 * 1024
MAX_NODES = 100_000
"""Each use of an alias counts, so that a small file cannot expand into a huge one."""
MAX_DEPTH = 50


class _Loader(yaml.SafeLoader):
    # A dependency of vLLM turns timestamps into text, for all loaders of a process that imports it.
    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_timestamp,
    }


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file's top-level mapping, and the place of each path in it, ``FILE:LINE``."""

    data: dict[str, Any]
    where: dict[Path, str]


def read_document(content: bytes, name: str) -> Document:
    """Read one YAML mapping in UTF-8; ``name`` is the file's, for messages.

    Raises ``SettingsError``, with the line: too large, no YAML, no mapping, or a duplicate key.
    """
    if len(content) > MAX_FILE_BYTES:
        raise _refusal(f"over {MAX_FILE_BYTES:,} bytes: this is no settings file", name)
    try:
        text = content.decode("utf-8")
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise _refusal("must be a mapping with models and routes", name)
        lines = _Lines(name, loader)
        lines.read(node, ())
        data = loader.construct_document(node)
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise _refusal(message, name) from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_refusal(error, name) from None
    except yaml.YAMLError:
        # The message of a ReaderError quotes what it read.
        message = "has a character that YAML does not allow; retype that part"
        raise _refusal(message, name) from None
    except RecursionError:
        raise _refusal(_TOO_DEEP, name) from None
    if lines.duplicates:
        raise SettingsError(lines.duplicates)
    return Document(data, lines.where)


_TOO_DEEP = f"is nested or aliased past {MAX_DEPTH} levels or {MAX_NODES:,} values"


class _Lines:
    def __init__(self, name: str, loader: yaml.SafeLoader) -> None:
        self.where: dict[Path, str] = {}
        self.duplicates: list[Problem] = []
        self._name = name
        self._loader = loader
        self._left_nodes = MAX_NODES

    def read(self, node: yaml.Node, path: Path) -> None:
        self._left_nodes -= 1
        if self._left_nodes < 0 or len(path) > MAX_DEPTH:
            raise _refusal(_TOO_DEEP, self._name)
        if path:
            self._note(path, node)
        if isinstance(node, yaml.ScalarNode):
            self._check_value(node, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.read(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            self._read_mapping(node, path)

    def _check_value(self, node: yaml.ScalarNode, path: Path) -> None:
        try:
            self._loader.construct_object(node)
        except ValueError:
            # The 99th of a month, or a number of thousands of digits. The message may quote it.
            message = "looks like a number or a date, and is none; put it in quotes"
            line = node.start_mark.line + 1
            problem = Problem(show_path(path), message, f"{self._name}:{line}")
            raise SettingsError([problem]) from None

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> None:
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                # Merged values stand elsewhere, and may be overridden here.
                self.read(value_node, (*path, "<<"))
                continue
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
            if key_node.tag == "tag:yaml.org,2002:bool" and key == "on":
                # `retry.on`: YAML 1.1 would read true.
                key_node.tag = "tag:yaml.org,2002:str"
            if isinstance(key_node, yaml.ScalarNode):
                self._check_value(key_node, (*path, key))
            if key in first_lines:
                message = f"stands twice, first on line {first_lines[key]}; remove one"
                problem = Problem(show_path((*path, key)), message, f"{self._name}:{line}")
                self.duplicates.append(problem)
            first_lines.setdefault(key, line)
            self._note((*path, key), key_node)
            self.read(value_node, (*path, key))

    def _note(self, path: Path, node: yaml.Node) -> None:
        self.where.setdefault(path, f"{self._name}:{node.start_mark.line + 1}")


def _refusal(message: str, where: str) -> SettingsError:
    return SettingsError([Problem("", message, where)])


def _syntax_refusal(error: yaml.MarkedYAMLError, name: str) -> SettingsError:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = error.problem or "cannot be read"
    if re.search(r"alias|anchor|tag", problem):
        # These quote a value, and an unquoted password that begins with * or ! is one of them.
        problem = "a value that begins with * & or ! must stand in quotes"
    return _refusal(f"not YAML: {problem}", where)
