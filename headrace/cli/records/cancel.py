"""``headrace cancel``: stops requests of a route, queued or running."""

import asyncio
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from headrace.cli.options import ConfigOption, JsonOption, RouteOption, choose_route, read_settings
from headrace.cli.output import print_json, print_line
from headrace.errors import UserError
from headrace.records.cancelling import publish_controls
from headrace_client.cli.completion import complete_job
from schemas.wire.control import ControlRecord
from schemas.wire.requests import describe_validation_error


def cancel(
    custom_id: Annotated[
        list[str] | None,
        typer.Option("--custom-id", help="Requests of this custom_id; may be given repeatedly."),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            "--job", help="Requests with this headrace-job header.", autocompletion=complete_job
        ),
    ] = None,
    whole_route: Annotated[
        bool, typer.Option("--all", help="Every request of the route, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    route: RouteOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel requests that were published until now; later ones of the same name run.

    What waits is not computed, and generations that run are ended. Each gets a result with the
    error request_cancelled.
    """
    settings = read_settings(config)
    name, chosen = choose_route(settings, route)
    if chosen.control_topic is None:
        raise UserError(
            f"routes.{name}.control_topic is not set: name a topic there, run `headrace topics "
            "create`, and start the service again"
        )
    controls = _controls(name, custom_id or [], job, whole_route)
    if whole_route and not yes:
        typer.confirm(f"cancel every request of route {name} until now?", abort=True, err=True)
    published = asyncio.run(publish_controls(settings.kafka, chosen.control_topic, controls))
    if json:
        print_json({"route": name, "controls": [each.to_dict() for each in published]})
        return
    for each in published:
        place = f"{each.topic}/{each.partition}/{each.offset}"
        print_line(f"route {name}: cancelling {each.target} ({place})")


def _controls(
    route: str, custom_ids: list[str], job: str | None, whole_route: bool
) -> list[ControlRecord]:
    targets: list[dict[str, Any]] = [{"custom_id": each} for each in custom_ids]
    if job is not None:
        targets.append({"job": job})
    if whole_route:
        targets.append({"whole_route": True})
    kinds = bool(custom_ids) + (job is not None) + whole_route
    if kinds != 1:
        raise UserError("say what to cancel by one of --custom-id, --job and --all")
    try:
        return [
            ControlRecord.model_validate({"action": "cancel", "route": route, **target})
            for target in targets
        ]
    except ValidationError as error:
        raise UserError(describe_validation_error(error)) from None
