"""Options that the ``headrace dlq`` commands share."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import typer

from headrace.cli.options import choose_route
from headrace.dead_letters.inbox import inbox_topics
from headrace.dead_letters.selection import Selection, parse_duration_ms
from headrace.errors import UserError
from headrace.settings.problems import alternatives
from schemas.settings.file import Settings
from schemas.wire.results import ErrorCode

DlqRouteOption = Annotated[
    str | None, typer.Option("--route", "-r", help="Only this route's; all routes where unset.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="The most, the first ones.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, kw_only=True)
class Filters:
    error: Annotated[
        list[str] | None,
        typer.Option(
            "--error", "-e", help="Only with this error code; may be given several times."
        ),
    ] = None
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Only what failed longer ago: 90s, 12h, 7d.")
    ] = None
    newer_than: Annotated[
        str | None, typer.Option("--newer-than", help="Only what failed since then: 90s, 12h, 7d.")
    ] = None
    custom_id: Annotated[
        str | None,
        typer.Option("--custom-id", help="Only this custom_id, or a pattern: 'job-7-*'."),
    ] = None
    route: DlqRouteOption = None

    def selection(self, settings: Settings, now_ms: int) -> Selection:
        """Return the filters; raises ``UserError``, which names the option, if one is illegal."""
        known = [code.value for code in ErrorCode]
        for code in self.error or []:
            if code not in known:
                raise UserError(f"--error: no error code '{code}'{alternatives(code, known)}")
        if self.route is not None:
            choose_route(settings, self.route)
        before_ms = _epoch_ms("--older-than", self.older_than, now_ms)
        after_ms = _epoch_ms("--newer-than", self.newer_than, now_ms)
        if before_ms is not None and after_ms is not None and after_ms >= before_ms:
            raise UserError(
                f"--older-than {self.older_than} with --newer-than {self.newer_than} leaves "
                "nothing; the first must be the shorter one"
            )
        return Selection(
            error_codes=frozenset(self.error or ()),
            failed_before_ms=before_ms,
            failed_after_ms=after_ms,
            custom_id=self.custom_id,
            route=self.route,
        )


def with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``Filters`` in place of its first parameter."""
    filters = inspect.signature(Filters).parameters
    _, *own = inspect.signature(command).parameters.values()

    @wraps(command)
    def taking_filters(**options: Any) -> None:
        command(Filters(**{name: options.pop(name) for name in filters}), **options)

    parameters = [*filters.values(), *(each.replace(kind=each.KEYWORD_ONLY) for each in own)]
    # Typer reads the options from the signature.
    vars(taking_filters)["__signature__"] = inspect.Signature(parameters)
    return taking_filters


def choose_inboxes(settings: Settings, route: str | None) -> dict[str, tuple[str, ...]]:
    if route is not None:
        choose_route(settings, route)
    return inbox_topics(settings, route)


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on the terminal, or raise ``UserError`` if there is none; end with 1 on a no."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{question} There is no terminal to ask at: pass --yes, or --dry-run")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _epoch_ms(option: str, duration: str | None, now_ms: int) -> int | None:
    if duration is None:
        return None
    try:
        return max(0, now_ms - round(parse_duration_ms(duration)))
    except ValueError as error:
        raise UserError(f"{option}: {error}") from None
