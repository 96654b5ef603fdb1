"""``headrace check``: validates a settings file and shows what it says."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, assert_never

import typer

from consumer.ports import SourceError
from headrace.cli.options import JsonOption
from headrace.cli.output import (
    err,
    out,
    print_error,
    print_json,
    print_line,
    print_note,
    print_table,
)
from headrace.kubernetes.placement.hosting import unhosted
from headrace.preflight.findings import errors_of
from headrace.preflight.gpus import uncounted_gpus
from headrace.preflight.looking import look
from headrace.preflight.table import findings_table
from headrace.records.result_sizes import describe_oversized
from headrace.settings.file import find_settings_file, load_settings
from headrace.settings.generator_notices import describe_generators
from headrace.settings.problems import SettingsError
from headrace.topics import find_unfit_topics
from schemas.settings.file import RouteSettings, Settings
from schemas.settings.models import (
    CustomModelSettings,
    GeneratorSettings,
    ModelSettings,
    TextModelSettings,
    missing_template,
)
from schemas.settings.pipelines import PipelineSettings

FileArgument = Annotated[
    Path | None,
    typer.Argument(help="$HEADRACE_CONFIG, then ./headrace.yaml, where unset.", show_default=False),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The same as FILE.", show_default=False)
]


def check(
    file: FileArgument = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also look at GPUs, weights, vLLM's arguments, topics and rights."
        ),
    ] = False,
) -> None:
    """Check a settings file, and show its models and routes or everything wrong with it.

    Where the brokers can be reached, also whether the topics can take what the routes publish.
    Exits with 1 if the worker groups that the settings render to cannot run all replicas, and with
    --deep also if something would keep the service from starting here.
    """
    path = find_settings_file(file or config)
    try:
        settings = load_settings(path)
    except SettingsError as error:
        if not json:
            raise
        problems = [
            {"where": one.where, "field": one.field, "message": one.message}
            for one in error.problems
        ]
        print_json({"file": str(path), "valid": False, "problems": problems})
        raise typer.Exit(2) from None
    homeless = unhosted(settings)
    if deep:
        _check_deeply(path, settings, homeless, as_json=json)
        return
    unfit, unseen = look_at_topics(settings)
    if json:
        # Secrets print as asterisks: pydantic masks them in JSON mode.
        summary: dict[str, Any] = settings.model_dump(mode="json")
        topics = {"looked_at": unseen is None, "warnings": unfit, "reason": unseen}
        notices = list(_generator_notices(settings))
        print_json(
            {
                "file": str(path),
                "valid": True,
                "settings": summary,
                "topics": topics,
                "placement": homeless,
                "notices": notices,
            }
        )
        if homeless:
            raise typer.Exit(1)
        return
    print_summary(path, settings)
    for finding in uncounted_gpus(settings):
        print_note(f"Warning: {finding}")
    for warning in unfit:
        print_note(f"Warning: {warning}")
    if unseen is not None:
        print_note(f"The topics were not looked at: {unseen}")
    for line in homeless:
        print_error(line)
    if homeless:
        raise typer.Exit(1)


def _check_deeply(
    path: Path, settings: Settings, homeless: Sequence[str], *, as_json: bool
) -> None:
    with err.status("looking at what the service needs"):
        findings = look(settings)
    if as_json:
        values = settings.model_dump(mode="json")
        found = [each.to_dict() for each in findings]
        print_json(
            {
                "file": str(path),
                "valid": True,
                "settings": values,
                "findings": found,
                "placement": homeless,
            }
        )
    else:
        print_summary(path, settings)
        out.print(findings_table(findings))
        for line in homeless:
            print_error(line)
    if homeless or errors_of(findings):
        raise typer.Exit(1)


def look_at_topics(settings: Settings) -> tuple[list[str], str | None]:
    """Return the topics that cannot take what is published, and why they could not be checked."""
    try:
        return find_unfit_topics(settings), None
    except SourceError as error:
        return [], str(error)


def _generator_notices(settings: Settings) -> Iterator[str]:
    return describe_generators(settings, partial(find_source, cache=settings.weights.cache))


def find_source(source: str, cache: Path | None = None) -> Path | None:
    """Return where weights are on this machine; ``None`` if they are not, or not usable."""
    if source.startswith("path:"):
        # As it is, whatever its format.
        directory = Path(source.removeprefix("path:")).expanduser()
        return directory if directory.is_dir() else None
    from serve_models.weights.sources import (  # noqa: PLC0415 - imports the hub's client
        ModelSourceError,
        resolve,
    )

    try:
        return resolve(source, cache, converts=False)
    except ModelSourceError:
        return None


def print_summary(path: Path, settings: Settings) -> None:
    kafka = settings.kafka
    print_line(
        f"{path} is valid. Kafka: {kafka.broker}, {kafka.bootstrap}, {kafka.security_protocol}"
    )
    if (results := settings.results_kafka) is not None:
        print_line(f"Results: another Kafka, {results.bootstrap}, {results.security_protocol}")
    for name, model in settings.models.items():
        if (template := missing_template(model)) is not None:
            # Not an error in itself: replicas may run on another machine that has it.
            print_line(
                f"models.{name}.chat_template: there is no file {template} on this machine; its "
                "replicas need it where they run"
            )
    for notice in (
        *describe_oversized(settings),
        *_generator_notices(settings),
    ):
        print_line(notice)
    print_table(
        *("model", "kind", "what", "replicas", "CPUs each", "GPUs each"),
        rows=[
            (
                name,
                model.kind,
                describe_model(model),
                str(model.replicas),
                f"{model.num_cpus:g}",
                f"{model.num_gpus:g}",
            )
            for name, model in settings.models.items()
        ],
        title="Models",
    )
    print_table(
        *("route", "model", "topics: in, out, dead letters", "group", "consumers"),
        rows=[
            (
                name,
                route.model,
                "\n".join(_topics_of(route)),
                route.group,
                f"{route.consumers}, {route.delivery}",
            )
            for name, route in settings.routes.items()
        ],
        title="Routes",
    )


def _topics_of(route: RouteSettings) -> list[str]:
    topics = [route.requests_topic, route.results_topic, route.dead_letters_topic]
    if route.reply_topics:
        topics.append(f"replies: {', '.join(route.reply_topics)}")
    return topics


def describe_model(model: ModelSettings) -> str:
    return f"{_source_of(model)}\n{', '.join(sorted(model.endpoints))}"


def _source_of(model: ModelSettings) -> str:
    match model:
        case TextModelSettings():
            return f"{model.source}, {model.dtype}"
        case GeneratorSettings():
            adapters = f", adapters: {', '.join(model.adapters)}" if model.adapters else ""
            return f"{model.source}{adapters}"
        case PipelineSettings():
            return ", ".join(f"{name}: {step.model}" for name, step in model.steps.items())
        case CustomModelSettings():
            return model.import_path
        case _:
            assert_never(model)
