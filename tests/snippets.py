"""Runs the code of a documentation page, block by block, in a folder of its own.

What a block is, says its language, and a comment before it that readers of the page do not see:

- ``console``: each command after ``$`` is run by bash; it goes on in the next line if it ends in a
  backslash or opens a ``<<``. The other lines up to the next ``$`` are what it prints: each must
  come, in this order, among others. A ``…`` stands for any text.
- Any other language with ``<!-- file: NAME -->`` is put into that file.
- ``python`` without a file is run.
- ``<!-- in: FOLDER -->``: its commands run in this folder of the page's.
- ``<!-- exit: 3 -->``: the last command of the block ends with this status, not with 0.
- ``<!-- shown: REASON -->``: is not run; the reason says why it cannot be.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 300.0
"""Only a hung command reaches this."""

_FENCE = re.compile(
    r"(?P<comments>(?:^[ ]*<!-- [a-z]+: [^\n]* -->\n)*)"
    r"^(?P<indent>[ ]*)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!-- ([a-z]+): ([^\n]*) -->")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_MARKS = ("exit", "file", "in", "shown")


@dataclass(frozen=True)
class Block:
    """A block of code, and what the comments before it say of it."""

    line: int
    language: str
    text: str
    marks: Mapping[str, str]

    @property
    def is_run(self) -> bool:
        return "shown" not in self.marks

    def problem(self) -> str | None:
        """Return why the block could not be run, and nothing says so."""
        if unknown := self.marks.keys() - set(_MARKS):
            return f"unknown comment {', '.join(sorted(unknown))}"
        if "shown" in self.marks:
            return None if self.marks["shown"] else "shown: says no reason"
        if self.language == "console" and not commands(self.text):
            return "no command: none begins with $"
        if self.language in {"console", "python"} or "file" in self.marks:
            return None
        return f"a block of {self.language or 'no language'} that is not run says no reason"


class SnippetError(AssertionError):
    """A block of a page does not do what the page says."""


def blocks(page: str) -> list[Block]:
    found = []
    for match in _FENCE.finditer(page):
        indent = len(match["indent"])
        found.append(
            Block(
                line=page.count("\n", 0, match.start("language")) + 1,
                language=match["language"],
                text="".join(line[indent:] for line in match["text"].splitlines(keepends=True)),
                marks=dict(_COMMENT.findall(match["comments"])),
            )
        )
    return found


@dataclass
class Command:
    """A command of a console block, and lines of its output that the page shows."""

    text: str
    shown: list[str]

    def missing(self, printed: str) -> str | None:
        """Return the first shown line that was not printed in its place."""
        lines = iter(printed.splitlines())
        for shown in self.shown:
            pattern = re.compile(".*".join(map(re.escape, shown.split("…"))))
            if not any(pattern.fullmatch(line.strip()) for line in lines):
                return shown
        return None


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    is_open, terminator = False, None
    for line in text.splitlines():
        if terminator is not None or is_open:
            found[-1].text += "\n" + line
        elif line.startswith("$ "):
            found.append(Command(line[2:], []))
        else:
            if found and line.strip():
                found[-1].shown.append(line.strip())
            continue
        if terminator is None:
            heredoc = _HEREDOC.search(line)
            terminator = heredoc[1] if heredoc else None
            is_open = line.endswith("\\")
        elif line == terminator:
            terminator = None
    return found


def run_page(page: Path, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run a page's blocks in ``folder``, in order; return what the commands printed.

    Raises ``SnippetError``, with the page's line, at the first that does not do what it should.
    """
    printed: list[str] = []
    for block in blocks(page.read_text(encoding="utf-8")):
        place = f"{page.name}:{block.line}"
        if (problem := block.problem()) is not None:
            raise SnippetError(f"{place}: {problem}")
        if block.is_run:
            printed += _run_block(block, place, folder, environment)
    return printed


def _run_block(
    block: Block, place: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    if "file" in block.marks:
        file = folder / block.marks["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
        return
    folder /= block.marks.get("in", ".")
    if block.language == "python":
        yield _run([sys.executable, "-c", block.text], 0, place, folder, environment)
        return
    listed = commands(block.text)
    for command in listed:
        status = int(block.marks.get("exit", "0")) if command is listed[-1] else 0
        bash = ["bash", "-o", "pipefail", "-c", command.text]
        said = _run(bash, status, place, folder, environment)
        if (missing := command.missing(said)) is not None:
            raise SnippetError(f"{place}: {command.text} does not print '{missing}', but\n{said}")
        yield said


def _run(
    command: list[str], status: int, place: str, folder: Path, environment: Mapping[str, str]
) -> str:
    ended = subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if ended.returncode != status:
        raise SnippetError(
            f"{place}: exit status {ended.returncode}, not {status}: {command[-1]}\n"
            f"{ended.stdout}\n{ended.stderr}"
        )
    return ended.stdout + ended.stderr
