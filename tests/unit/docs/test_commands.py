"""Each `headrace` command of the documentation is one that the command line takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from headrace.cli.main import app
from tests.snippets import blocks, commands

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "client" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMAND_LINE: Any = typer.main.get_command(app)

_INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*headrace [a-z][^`]*)`")
_ASSIGNMENT = re.compile(r"[A-Z_]\w*=.*")
_REDIRECTION = re.compile(r"\d?[<>]{1,2}&?\S*")
_SEPARATORS = frozenset({"|", "||", "&&", ";", "&"})
_PLACEHOLDERS = re.compile(r"…|\.\.\.|\[|\$\(")


def calls_in(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of `headrace` in a line of bash."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    call: list[str] = []
    for word in [*words, ";"]:
        if word in _SEPARATORS:
            while call and _ASSIGNMENT.fullmatch(call[0]):
                call.pop(0)
            if call and call[0].rpartition("/")[2] == "headrace":
                yield call[1:]
            call = []
        else:
            call.append(word)


def without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skips = False
    for word in words:
        if skips:
            skips = False
        elif word in {"<", ">", ">>", "<<", "2>"}:
            skips = True
        elif not _REDIRECTION.fullmatch(word):
            kept.append(word)
    return kept


def problem_of(arguments: list[str]) -> str | None:
    """Parse a command as the command line does, and run nothing."""
    try:
        context = COMMAND_LINE.make_context("headrace", list(arguments))
        while isinstance(context.command, TyperGroup):
            # Typer has no public way to what it would do next.
            rest = [*context._protected_args, *context.args]
            found: Any = context.command.resolve_command(context, rest)
            name, command, rest = found
            context = command.make_context(name, rest, parent=context)
    except Exception as error:  # noqa: BLE001 - whatever it is, the page is wrong
        if type(error).__name__ in {"Exit", "NoArgsIsHelpError"}:  # help
            return None
        text = getattr(error, "message", None) or str(error)
        return f"headrace {shlex.join(arguments)}: {type(error).__name__}: {text}"
    return None


def shown_in(page: Path) -> list[list[str]]:
    text = page.read_text(encoding="utf-8")
    found = []
    for block in blocks(text):
        if block.language == "console":
            for command in commands(block.text):
                first = command.text.split("<<")[0].replace("\\\n", " ")
                found += [without_redirections(each) for each in calls_in(_without_comment(first))]
    return found


def named_in(page: Path) -> list[list[str]]:
    """Return commands within sentences, those with placeholders left out."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = []
    for match in _INLINE.finditer(text):
        line = " ".join(match[1].split())
        if _PLACEHOLDERS.search(line):
            continue
        found += [without_redirections(each) for each in calls_in(line)]
    return found


def _without_comment(line: str) -> str:
    return re.sub(r"\s#\s.*", "", line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_that_a_page_shows_is_taken(page: Path) -> None:
    problems = [problem for each in shown_in(page) if (problem := problem_of(each)) is not None]

    assert problems == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_that_a_sentence_names_exists(page: Path) -> None:
    """A sentence may leave out what a command needs, so only its name and options count."""
    problems = [
        problem
        for each in named_in(page)
        if (problem := problem_of(each)) is not None
        and "MissingParameter" not in problem
        and "requires an argument" not in problem
    ]

    assert problems == []


def test_pages_show_commands() -> None:
    shown = [each for page in PAGES for each in shown_in(page)]

    assert len(shown) > 60
    assert len({each[0] for each in shown if each}) > 12


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("headrace status --json | jq .", [["status", "--json"]]),
        ("A=b .venv/bin/headrace up && headrace diff", [["up"], ["diff"]]),
        ("kubectl exec pod -- headrace status", []),
        ("headrace schema request >file.json", [["schema", "request"]]),
        ("headrace results > out.jsonl", [["results"]]),
    ],
)
def test_calls_are_found_in_lines_of_bash(line: str, calls: list[list[str]]) -> None:
    assert [without_redirections(each) for each in calls_in(line)] == calls


@pytest.mark.parametrize(
    "arguments",
    [["stats"], ["status", "--jsn"], ["dlq", "lst"], ["submit"], ["dlq", "list", "--limit", "x"]],
)
def test_a_wrong_command_is_noticed(arguments: list[str]) -> None:
    assert problem_of(arguments) is not None


@pytest.mark.parametrize("arguments", [["status", "--json"], ["dlq", "list"], ["--help"]])
def test_a_right_command_is_taken(arguments: list[str]) -> None:
    assert problem_of(arguments) is None
