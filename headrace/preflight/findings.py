"""What a look at the surroundings of a service found. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]
About = Literal[
    "broker",
    "topics",
    "rights",
    "Ray",
    "GPUs",
    "weights",
    "vLLM",
    "clocks",
    "versions",
    "machine",
    "disk",
    "ports",
    "service",
    "traces",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: An ``error`` keeps the service, or one of its models or routes, from running.
        where: The setting, or the topic.
        says: What was found.
        fix: What to do; empty where nothing is to be done.
    """

    level: Level
    about: About
    where: str
    says: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.where}: {self.says}" + (f"; {self.fix}" if self.fix else "")


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.level == "error"]


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings that say the same of several topics or settings as one each."""
    found: dict[Finding, list[str]] = {}
    for each in findings:
        found.setdefault(replace(each, where=""), []).append(each.where)
    return [replace(each, where=", ".join(dict.fromkeys(where))) for each, where in found.items()]
