"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.errors import UserError
from headrace.settings.file import find_settings_file, load_settings
from headrace.settings.problems import alternatives
from headrace_client.cli.completion import complete_job, complete_route
from headrace_client.cli.options import ConfigOption, JsonOption
from schemas.settings.file import RouteSettings, Settings

__all__ = [
    "ConfigOption",
    "JobOption",
    "JsonOption",
    "RouteOption",
    "choose_route",
    "read_settings",
]

JobOption = Annotated[
    str | None,
    typer.Option(
        "--job", help="Only what has this headrace-job header.", autocompletion=complete_job
    ),
]
RouteOption = Annotated[
    str | None,
    typer.Option(
        "--route",
        "-r",
        help="The route; may be left out where there is one only.",
        autocompletion=complete_route,
    ),
]


def read_settings(config: Path | None) -> Settings:
    return load_settings(find_settings_file(config))


def choose_route(settings: Settings, name: str | None) -> tuple[str, RouteSettings]:
    """Return the route of ``--route``, or the only one; raises ``UserError`` if none fits."""
    routes = settings.routes
    if name is None:
        if len(routes) > 1:
            raise UserError(f"name a route with --route; the settings have: {', '.join(routes)}")
        return next(iter(routes.items()))
    if name not in routes:
        raise UserError(f"--route: no route '{name}'{alternatives(name, routes)}")
    return name, routes[name]
