"""Plans, application by application, how to turn what runs into what the settings say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from headrace.service.applications import ApplicationSpec, Kind, kind_of, title_of
from headrace.service.deployment_lines import failure_line

_MOST_VALUE_CHARACTERS = 40
_ABSENT = "default"
_Path = tuple[str, ...]


class Action(StrEnum):
    ADD = "add"
    RESTART = "restart"
    """Its replicas are replaced, some at a time."""
    LIVE = "live"
    """Its replicas go on with the new values."""
    REMOVE = "remove"
    """It is deleted after it has drained."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningApplication:
    """An application as Serve has it; the first three as in ``ApplicationSpec``.

    Attributes:
        error: Why it does not run, or ``None``.
        version: Serve's identifier for what its replicas are built from.
        is_declared: A config file that Serve has taken (a RayService's) declares it.
    """

    built: Mapping[str, Any]
    live: Mapping[str, Any]
    options: Mapping[str, Any]
    error: str | None = None
    version: str = ""
    is_declared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one application, and why.

    Attributes:
        reasons: ``KEY: OLD -> NEW``, keys as in the settings below the model or route.
        version: Serve's identifier for what its replicas are built from: another one restarts them.
    """

    application: str
    action: Action
    reasons: tuple[str, ...] = ()
    version: str = ""

    @property
    def title(self) -> str:
        return title_of(self.application)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.title,
            "application": self.application,
            "action": self.action.value,
            "reasons": list(self.reasons),
        }


def plan(
    running: Mapping[str, RunningApplication], wanted: Sequence[ApplicationSpec]
) -> list[Change]:
    """Return what to do, in order; ``wanted`` is in the order of deployment."""
    changes = [_change(running.get(spec.name), spec) for spec in wanted]
    gone = set(running) - {spec.name for spec in wanted}
    order: Sequence[Kind] = ("route", "model", "status", "console")
    removed = sorted(gone, key=lambda name: (order.index(kind_of(name) or "status"), name))
    return [*changes, *(Change(application=name, action=Action.REMOVE) for name in removed)]


def _change(now: RunningApplication | None, spec: ApplicationSpec) -> Change:
    if now is None:
        return Change(application=spec.name, action=Action.ADD, version=spec.version)
    version = now.version or spec.version
    rebuilt = _differences(now.built, spec.built)
    taken_over = [
        *_differences(now.live, spec.live),
        *_differences(now.options, spec.options),
    ]
    if rebuilt:
        action, reasons, version = Action.RESTART, [*rebuilt, *taken_over], spec.version
    elif now.error is not None:
        action, reasons = (
            Action.RESTART,
            [f"it does not run: {failure_line(now.error)}", *taken_over],
        )
        # Serve does not start the same version again.
        version = f"{spec.version}.{int(version.partition('.')[2] or 0) + 1}"
    elif taken_over:
        action, reasons = Action.LIVE, taken_over
    else:
        action, reasons = Action.UNCHANGED, []
    return Change(application=spec.name, action=action, reasons=tuple(reasons), version=version)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    old_values, new_values = dict(_values((), old)), dict(_values((), new))
    return [
        f"{_key(path)}: {_text(path, old_values)} -> {_text(path, new_values)}"
        for path in sorted(old_values.keys() | new_values.keys())
        if path[-1:] != ("policy",) and _differ(path, old_values, new_values)
    ]


def _differ(path: _Path, old: Mapping[_Path, Any], new: Mapping[_Path, Any]) -> bool:
    if old.get(path) == new.get(path):
        return False
    # A section that was, or becomes, empty: where it is filled its keys say so.
    is_empty = {} in (old.get(path), new.get(path))
    return not (is_empty and any(_is_below(each, path) for each in (*old, *new)))


def _is_below(path: _Path, section: _Path) -> bool:
    return len(path) > len(section) and path[: len(section)] == section


def _values(path: _Path, value: Any) -> Iterable[tuple[_Path, Any]]:
    if not isinstance(value, Mapping) or path[-1:] == ("policy",) or (path and not value):
        yield path, value
        return
    for key, each in value.items():
        yield from _values((*path, str(key)), each)


def _key(path: _Path) -> str:
    names = {
        "num_replicas": "replicas",
        "autoscaling_config": "autoscaling",
        "logging_config": "logging",
        "encoding": "format",
        "log_level": "level",
    }
    # The reader knows the settings of a model or route.
    parts = path[1:] if path[0] == "settings" else path
    return ".".join(names.get(part, part) for part in parts)


def _text(path: _Path, values: Mapping[_Path, Any]) -> str:
    if path not in values:
        return _ABSENT
    text = orjson.dumps(values[path]).decode()
    if len(text) <= _MOST_VALUE_CHARACTERS:
        return text
    return f"{text[: _MOST_VALUE_CHARACTERS - 1]}…"


def plan_lines(changes: Sequence[Change]) -> list[str]:
    """Return a plan as lines for a person: what changes, then what stays."""
    lines = []
    for change in changes:
        if change.action is not Action.UNCHANGED:
            reasons = f" ({'; '.join(change.reasons)})" if change.reasons else ""
            lines.append(f"{change.action.value}: {change.title}{reasons}")
    unchanged = [each.title for each in changes if each.action is Action.UNCHANGED]
    return [*lines, *([f"unchanged: {', '.join(unchanged)}"] if unchanged else [])]
