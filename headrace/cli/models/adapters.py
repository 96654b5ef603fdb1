"""``headrace models add-adapter``, ``remove-adapter``, ``list-adapters``: adapters at run time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from headrace.cli.options import ConfigOption, JsonOption
from headrace.cli.output import err, print_json, print_note, print_table
from headrace.errors import ServiceError, UserError
from headrace.settings.file import find_settings_file, load_settings
from headrace.settings.problems import SettingsError
from headrace_client.cli.completion import complete_model
from schemas.settings.models import GeneratorSettings
from schemas.settings.sources import Source

if TYPE_CHECKING:
    from headrace.service.adapters import RunningAdapters

_SOURCE: TypeAdapter[str] = TypeAdapter(Source)
ModelArgument = Annotated[
    str,
    typer.Argument(help="A generator that runs here.", autocompletion=complete_model),
]
NameArgument = Annotated[str, typer.Argument(help="The name that body.model carries.")]


def add_adapter(
    model: ModelArgument,
    name: NameArgument,
    source: Annotated[
        str, typer.Argument(help="path:/DIR, hub:ORG/NAME[@REVISION], …; safetensors only.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one of this name.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Load a LoRA adapter into every replica of a running generator, without a restart.

    Replicas that start later load it too. Requests of other models and adapters notice nothing.
    """
    source = _checked(name, source)
    with _adapters_of(model) as adapters, err.status(f"loading {name} into every replica"):
        adapters.add(name, source, replaces=replace)
        replicas = len(adapters.replicas())
    print_note(f"{name}: loaded by {replicas} replica{'s' if replicas > 1 else ''} of {model}")
    if _kept_in_settings(model, config).get(name) != source:
        print_note(
            "Keep it in the settings, or the next `headrace up` removes it:\n"
            f"  models:\n    {model}:\n      adapters:\n        {name}: {source}"
        )


def remove_adapter(model: ModelArgument, name: NameArgument, config: ConfigOption = None) -> None:
    """Remove a LoRA adapter from every replica; requests under way finish with it."""
    with _adapters_of(model) as adapters, err.status(f"removing {name} from every replica"):
        adapters.remove(name)
    print_note(f"{name}: removed from {model}; requests that name it are refused with 404")
    if name in _kept_in_settings(model, config):
        print_note(
            f"Remove it from the settings too (models.{model}.adapters.{name}), or the next "
            "`headrace up` brings it back"
        )


def list_adapters(model: ModelArgument, json: JsonOption = False) -> None:
    """Show the LoRA adapters of a running generator, and replicas that could not load one.

    Exits 1 where a replica could not.
    """
    with _adapters_of(model) as adapters:
        sources, replicas = adapters.sources, adapters.replicas()
    problems = [
        {"name": name, "replica": each["replica"], "message": problem}
        for each in replicas
        for name, problem in each["problems"].items()
    ]
    listed: list[dict[str, Any]] = [
        {
            "name": name,
            "source": source,
            "replicas": sum(each["loaded"].get(name) == source for each in replicas),
        }
        for name, source in sources.items()
    ]
    if json:
        print_json({"model": model, "adapters": listed, "problems": problems})
    else:
        rows = [
            (each["name"], each["source"], f"{each['replicas']} of {len(replicas)}")
            for each in listed
        ]
        print_table("adapter", "source", "loaded by replicas", rows=rows)
        for problem in problems:
            print_note(f"{problem['name']}, replica {problem['replica']}: {problem['message']}")
    if problems:
        raise typer.Exit(1)


@contextmanager
def _adapters_of(model: str) -> Iterator["RunningAdapters"]:
    # Ray takes a second or two to import, and the other commands do not need it.
    import ray  # noqa: PLC0415 - see above

    from headrace.service.adapters import RunningAdapters  # noqa: PLC0415 - see above
    from headrace.service.joining import NO_CLUSTER, join_ray  # noqa: PLC0415 - see above
    from headrace.service.running import close_handles  # noqa: PLC0415 - see above

    if not join_ray():
        raise ServiceError(NO_CLUSTER)
    try:
        yield RunningAdapters(model)
    except ray.exceptions.RayError as error:
        raise ServiceError(f"Serve does not answer: {error}") from error
    finally:
        close_handles()
        ray.shutdown()


def _checked(name: str, source: str) -> str:
    """Return the source as replicas find it, wherever they run."""
    try:
        _SOURCE.validate_python(source)
    except ValidationError:
        raise UserError(
            f"SOURCE: '{source}' must be path:/DIR, hub:ORG/NAME[@REVISION] or another source of "
            "weights"
        ) from None
    if not name.strip():
        raise UserError("NAME: must not be empty")
    if source.startswith("path:"):
        return f"path:{Path(source.removeprefix('path:')).expanduser().absolute()}"
    return source


def _kept_in_settings(model: str, config: Path | None) -> dict[str, str]:
    """Return the adapters of the settings file, if one is there and can be read."""
    try:
        found = load_settings(find_settings_file(config)).models.get(model)
    except (SettingsError, UserError):
        return {}
    return dict(found.adapters) if isinstance(found, GeneratorSettings) else {}
