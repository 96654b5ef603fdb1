"""A problem with the settings, and the error that lists them all."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of the settings file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings.

    Attributes:
        field: The path in the file, ``models.minilm.dtype``; empty for the file as a whole.
        message: What is wrong, and the fix.
        where: ``FILE:LINE`` or the environment variable that set the value; empty if unknown.
    """

    field: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.field, self.message) if part)


class SettingsError(ValueError):
    """The settings cannot be used; ``problems`` has everything that is wrong, at least one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["SettingsError"], tuple[tuple[Problem, ...]]]:
        # An exception pickles by its message otherwise.
        return type(self), (self.problems,)


def show_path(path: Path) -> str:
    """Return ``path`` as a dotted name, ``models.minilm.served_names[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or nothing."""
    match = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean '{match[0]}'?" if match else ""


def alternatives(word: str, known: Iterable[str]) -> str:
    known = list(known)
    return suggest(word, known) or f"; there are: {', '.join(known)}"
