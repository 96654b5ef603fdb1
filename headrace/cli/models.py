"""``headrace models``: fetches weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.models_convert import convert, list_backends
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import print_json, print_table, step_progress
from headrace.errors import UserError
from headrace.settings.problems import alternatives
from headrace_client.cli.completion import complete_model
from schemas.settings.models import weight_sources

models_app = typer.Typer(help="The models' weights.", no_args_is_help=True)


@models_app.callback()
def models() -> None:
    """The models' weights."""


models_app.command("convert")(convert)
models_app.command("list")(list_backends)


@models_app.command("pull")
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models of the settings, or sources such as hub:ORG/NAME; else all.",
            autocompletion=complete_model,
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch models' weights, so that the service starts without the network."""
    pulled = pull_all(named_sources(names, config))
    if json:
        print_json(pulled)
        return
    rows = [(each["model"], each["source"], each["path"]) for each in pulled]
    print_table("model", "source", "where", rows=rows)


def pull_all(sources: Mapping[str, str]) -> list[dict[str, str]]:
    """Fetch each named source, and show that; raises ``UserError``, which names it."""
    # The hub's client is slow to import, and the other commands do not need it.
    from serve_models.weights.pulling import pull as pull_source  # noqa: PLC0415 - see above
    from serve_models.weights.sources import ModelSourceError  # noqa: PLC0415 - see above

    pulled = []
    with step_progress() as progress:
        bar = progress.add_task("models", total=len(sources))
        for name, source in sources.items():
            progress.update(bar, description=f"{name}: {source}")
            try:
                path = pull_source(source)
            except ModelSourceError as error:
                raise UserError(f"{name}: {error}") from None
            pulled.append({"model": name, "source": source, "path": str(path)})
            progress.advance(bar)
    return pulled


def named_sources(names: list[str] | None, config: Path | None) -> dict[str, str]:
    """Return the sources that the command line names; a custom model has none."""
    if names and all(":" in name for name in names):
        return {name: name for name in names}
    models = read_settings(config).models
    sources = {}
    for name in names or list(models):
        if ":" in name:
            sources[name] = name
        elif name not in models:
            raise UserError(f"no model '{name}' in the settings{alternatives(name, models)}")
        else:
            for number, source in enumerate(weight_sources(models[name])):
                sources[name if number == 0 else f"{name}, adapter {number}"] = source
    return sources
