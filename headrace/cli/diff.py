"""``headrace diff``: shows what `headrace up` would change."""

from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import out, print_json
from headrace.errors import ServiceError
from headrace.service.applications import specs_of
from headrace.service.changes import Action, Change, plan
from schemas.settings.file import Settings

_STYLES = {
    Action.ADD: "green",
    Action.LIVE: "green",
    Action.RESTART: "yellow",
    Action.REMOVE: "red",
    Action.UNCHANGED: "dim",
}


def diff(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show what `headrace up` would change on the Ray cluster; change nothing.

    Exits 1 where something would change, 0 where nothing would.
    """
    changes = _changes(read_settings(config))
    if json:
        print_json({"changes": [each.to_dict() for each in changes]})
    else:
        out.print(changes_table(changes))
    if any(each.action is not Action.UNCHANGED for each in changes):
        raise typer.Exit(1)


def changes_table(changes: Sequence[Change]) -> Table:
    table = Table("application", "action", "what changes")
    for change in changes:
        table.add_row(
            Text(change.title),
            Text(change.action.value, style=_STYLES[change.action]),
            Text("\n".join(change.reasons)),
        )
    return table


def _changes(settings: Settings) -> list[Change]:
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above
    from headrace.service.running import running_applications  # noqa: PLC0415 - see above

    if not join_ray():
        raise ServiceError(NO_CLUSTER)
    try:
        return plan(running_applications(), specs_of(settings))
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Serve does not answer: {error}") from error
    finally:
        ray.shutdown()
