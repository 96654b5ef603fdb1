"""Renders a chart as Helm does, as far as our templates use its language.

Actions: ``define``, ``if``, ``with``, ``$name :=``, comments, and pipelines of the functions in
``Chart._functions``. What is not here raises, so that a template cannot pass unseen.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\(|\)|\||:=|[^\s()|]+')
_OPENING = ("define", "if", "with")


class HelmError(Exception):
    """What a template's ``fail`` says, or what Helm would refuse."""


@dataclass
class Node:
    """An action, with what is between it and its ``end``; or text."""

    text: str
    is_action: bool = False
    inside: list["Node"] = field(default_factory=list)


def parse(template: str) -> list[Node]:
    """Return the nodes of a template; ``-`` beside braces takes the white space away."""
    root = Node("")
    open_nodes = [root]
    position = 0
    is_trimmed = False
    for found in _ACTION.finditer(template):
        text = template[position : found.start()]
        text = text.lstrip() if is_trimmed else text
        text = text.rstrip() if found[1] else text
        open_nodes[-1].inside.append(Node(text))
        position, is_trimmed = found.end(), bool(found[3])
        if found[2].startswith("/*"):
            continue
        if found[2] == "end":
            open_nodes.pop()
            continue
        node = Node(found[2], is_action=True)
        open_nodes[-1].inside.append(node)
        if found[2].split()[0] in _OPENING:
            open_nodes.append(node)
    if open_nodes != [root]:
        raise HelmError(f"{open_nodes[-1].text} has no end")
    rest = template[position:]
    root.inside.append(Node(rest.lstrip() if is_trimmed else rest))
    return root.inside


class Chart:
    """A chart's files, and what they render to."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._defined: dict[str, list[Node]] = {}
        self._functions: dict[str, Callable[..., Any]] = {
            "include": lambda name, context: self._render(self._defined[name], context, {}),
            "default": lambda default, value: value or default,
            "fail": self._fail,
            "index": _index,
            "hasPrefix": lambda prefix, text: text.startswith(prefix),
            "not": lambda value: not value,
            "printf": lambda form, *values: form % values,
            "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
            "toJson": json.dumps,
            "trunc": lambda length, text: text[:length],
        }
        for name, text in files.items():
            if name.endswith(".tpl"):
                self._render(parse(text), {}, {})

    def render(self, **values: Any) -> list[dict[str, Any]]:
        """Return the documents for values that are laid over the chart's own."""
        context = {
            "Values": merged(yaml.safe_load(self._files["values.yaml"]), values),
            "Release": {"Namespace": "headrace"},
        }
        documents = []
        for name, text in self._files.items():
            if name.startswith("templates/") and name.endswith(".yaml"):
                rendered = self._render(parse(text), context, {})
                documents += [each for each in yaml.safe_load_all(rendered) if each]
        return documents

    def _render(self, nodes: list[Node], context: Any, variables: dict[str, Any]) -> str:
        return "".join(self._node(node, context, variables) for node in nodes)

    def _node(self, node: Node, context: Any, variables: dict[str, Any]) -> str:
        if not node.is_action:
            return node.text
        tokens = _TOKEN.findall(node.text)
        match tokens:
            case ["define", name]:
                self._defined[json.loads(name)] = node.inside
                return ""
            case ["if", *condition]:
                holds = self._pipeline(condition, context, variables)
                return self._render(node.inside, context, variables) if holds else ""
            case ["with", *condition]:
                value = self._pipeline(condition, context, variables)
                return self._render(node.inside, value, variables) if value else ""
            case [name, ":=", *rest]:
                variables[name] = self._pipeline(rest, context, variables)
                return ""
        value = self._pipeline(tokens, context, variables)
        return value if isinstance(value, str) else json.dumps(value)

    def _pipeline(self, tokens: list[str], context: Any, variables: dict[str, Any]) -> Any:
        """Evaluate calls; the outcome of each is the last argument of the next."""
        piped: list[Any] = []
        words: list[Any] = []
        stack: list[list[Any]] = []
        for token in [*tokens, "|"]:
            if token == "(":
                stack.append([piped, words])
                piped, words = [], []
            elif token == ")":
                value = self._call([*words, *piped])
                piped, words = stack.pop()
                words.append(value)
            elif token == "|":
                piped = [self._call([*words, *piped])]
                words = []
            else:
                words.append(self._word(token, context, variables))
        return piped[0]

    def _word(self, token: str, context: Any, variables: dict[str, Any]) -> Any:
        if token.startswith('"'):
            return json.loads(token)
        if token.isdigit():
            return int(token)
        if token.startswith("$"):
            return variables[token]
        if token == ".Files.Get":
            return self._files.__getitem__
        if token.startswith("."):
            value = context
            for name in filter(None, token.split(".")):
                value = value[name]
            return value
        return self._functions[token]

    @staticmethod
    def _call(words: list[Any]) -> Any:
        first, *arguments = words
        return first(*arguments) if callable(first) else first

    @staticmethod
    def _fail(message: str) -> None:
        raise HelmError(message)


def _index(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value[key]
    return value


def merged(base: Any, over: Mapping[str, Any]) -> Any:
    result = dict(base)
    for name, value in over.items():
        has_both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if has_both else value
    return result
