"""Options that the ``headrace dlq`` commands share, and what they stand for."""

import sys
from typing import Annotated

import typer

from headrace.cli.options import choose_route
from headrace.dead_letters.inbox import inbox_topics
from headrace.dead_letters.selection import Selection, parse_duration_ms
from headrace.errors import UserError
from headrace.settings.problems import suggest
from schemas.settings.file import Settings
from schemas.wire.results import ErrorCode

ErrorOption = Annotated[
    list[str] | None,
    typer.Option("--error", "-e", help="Only with this error code; may be given several times."),
]
OlderOption = Annotated[
    str | None, typer.Option("--older-than", help="Only what failed longer ago: 90s, 12h, 7d.")
]
NewerOption = Annotated[
    str | None, typer.Option("--newer-than", help="Only what failed since then: 90s, 12h, 7d.")
]
CustomIdOption = Annotated[
    str | None,
    typer.Option("--custom-id", help="Only this custom_id, or a pattern: 'job-7-*'."),
]
DlqRouteOption = Annotated[
    str | None, typer.Option("--route", "-r", help="Only this route's; all routes where unset.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, help="The most, the first ones.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def make_selection(
    settings: Settings,
    *,
    now_ms: int,
    error: list[str] | None,
    older_than: str | None,
    newer_than: str | None,
    custom_id: str | None,
    route: str | None,
) -> Selection:
    """Return the filters that the options stand for.

    Raises:
        UserError: One cannot be understood; names it.
    """
    known = [code.value for code in ErrorCode]
    for code in error or []:
        if code not in known:
            guess = suggest(code, known) or "; there are: " + ", ".join(known)
            raise UserError(f"--error: no error code '{code}'{guess}")
    if route is not None:
        choose_route(settings, route)
    failed_before_ms = _epoch_ms("--older-than", older_than, now_ms)
    failed_after_ms = _epoch_ms("--newer-than", newer_than, now_ms)
    if (
        failed_before_ms is not None
        and failed_after_ms is not None
        and failed_after_ms >= failed_before_ms
    ):
        raise UserError(
            f"--older-than {older_than} with --newer-than {newer_than} leaves nothing; the first "
            "must be the shorter one"
        )
    return Selection(
        error_codes=frozenset(error or ()),
        failed_before_ms=failed_before_ms,
        failed_after_ms=failed_after_ms,
        custom_id=custom_id,
        route=route,
    )


def choose_inboxes(settings: Settings, route: str | None) -> dict[str, tuple[str, ...]]:
    """Return the dead-letter topics that ``--route`` stands for, with the routes of each.

    Raises:
        UserError: There is no such route.
    """
    if route is not None:
        choose_route(settings, route)
    return inbox_topics(settings, route)


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on the terminal; end the command with 1 where the answer is no.

    Raises:
        UserError: There is nobody to ask.
    """
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
