"""``headrace models``: the models' weights."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.models.adapters import add_adapter, list_adapters, remove_adapter
from headrace.cli.models.backends import add_backends
from headrace.cli.models.choosing import Chosen, choose, plain_sources
from headrace.cli.models.converting import convert_each, show_conversions
from headrace.cli.models.pruning import prune_cache, show_pruned
from headrace.cli.models.pulling import (
    failure_lines,
    note_kept,
    pull_each,
    show_outcomes,
    what_is_wrong,
)
from headrace.cli.models.standing import look_at, show_standing
from headrace.cli.options import ConfigOption, JsonOption, read_settings
from headrace.cli.output import print_error, print_json, print_note
from headrace.errors import UserError
from headrace.settings.file import find_settings_file
from headrace_client.cli.completion import complete_model
from schemas.settings.weights import WeightsSettings

models_app = typer.Typer(
    help="The models' weights, and adapters of running ones.", no_args_is_help=True
)
models_app.command("add-adapter")(add_adapter)
models_app.command("remove-adapter")(remove_adapter)
models_app.command("list-adapters")(list_adapters)

NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Models of the settings, or sources such as hub:ORG/NAME; else all.",
        autocompletion=complete_model,
    ),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--worker-group",
        help="Only models that pods of this group of the rendered manifests may run: cpu, gpu.",
    ),
]


@models_app.callback()
def models() -> None:
    """The models' weights, and adapters of running ones."""


@models_app.command("pull")
def pull(
    names: NamesArgument = None,
    worker_group: GroupOption = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Ask no source for what is here already.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is here.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Fetch models' weights, so that the service starts without the network.

    What is here and unchanged stays, and an interrupted pull goes on where it stopped. Ends with 1
    if something could not be fetched, and with 2 if nothing could.
    """
    if missing and force:
        raise UserError("--missing, --force: choose one")
    chosen = _chosen(names, worker_group, config)
    outcomes = pull_each(
        chosen.sources,
        cache_dir=chosen.cache_dir,
        most_bytes=chosen.most_bytes,
        only_missing=missing,
        is_forced=force,
    )
    failures = failure_lines(outcomes)
    if json:
        print_json(outcomes)
    elif len(failures) < len(outcomes):
        show_outcomes(outcomes)
    note_kept(outcomes)
    for line in failures:
        print_error(line)
    raise typer.Exit(_status(len(failures), len(outcomes)))


@models_app.command("list")
def list_models(
    names: NamesArgument = None,
    worker_group: GroupOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List models' weights: what is on this machine, which revision, how large, and where.

    Of text models whose weights are here, also the backend that they would run on, and why.
    """
    chosen = _chosen(names, worker_group, config, by_model=True)
    found = look_at(chosen.sources, chosen.cache_dir)
    add_backends(found, chosen.models)
    if json:
        print_json(found)
    else:
        show_standing(found, shows_backends=True)


@models_app.command("check")
def check(
    names: NamesArgument = None,
    worker_group: GroupOption = None,
    checksums: Annotated[
        bool,
        typer.Option(
            "--checksums/--no-checksums",
            help="Whether to read every byte; else lengths and the list of shards are compared.",
        ),
    ] = True,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Check that all weights are on this machine, whole and as they arrived; ends with 1 if not."""
    chosen = _chosen(names, worker_group, config)
    found = look_at(chosen.sources, chosen.cache_dir, reads_all=checksums)
    if json:
        print_json(found)
    else:
        show_standing(found)
    wrong = [each for each in found if each["state"] != "here"]
    for each in wrong:
        print_error(what_is_wrong(each))
    raise typer.Exit(1 if wrong else 0)


@models_app.command("convert")
def convert(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models of the settings; else all.", autocompletion=complete_model),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Convert models for their backends (openvino, onnx), and print how they agree with float32.

    What is converted already is only compared with the setting least_agreement.
    """
    for name in names or ():
        if ":" in name:
            raise UserError(f"'{name}' is a source: name a model of the settings, which say how")
    chosen = choose(read_settings(config), names or [], None)
    found = convert_each(chosen.models, chosen.cache_dir)
    if json:
        print_json(found)
    else:
        show_conversions(found)


@models_app.command("prune")
def prune(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove them; else only list.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List revisions in the cache that later pulls have replaced; with --yes, remove them.

    Stop, or let restart, the replicas that still load from them first.
    """
    file = find_settings_file(config)
    weights = read_settings(config).weights if file.is_file() else WeightsSettings()
    found = prune_cache(weights.cache, removes=yes)
    if json:
        print_json(found)
        return
    show_pruned(found)
    if found and not yes:
        print_note("Nothing was removed: --yes removes them")


def _status(failures: int, sources: int) -> int:
    if not failures:
        return 0
    return 1 if failures < sources else 2


def _chosen(
    names: list[str] | None, group: str | None, config: Path | None, *, by_model: bool = False
) -> Chosen:
    """Read the settings where they are needed: sources alone stand for themselves."""
    names = names or []
    only_sources = bool(names) and group is None and all(":" in name for name in names)
    if only_sources and not find_settings_file(config).is_file():
        return Chosen(sources=plain_sources(names), weights=WeightsSettings())
    return choose(read_settings(config), names, group, by_model=by_model)
