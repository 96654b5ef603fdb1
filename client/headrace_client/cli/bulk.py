"""``headrace bulk embed`` and ``headrace bulk run``: files in, files out."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from headrace_client.bulk.job.options import (
    DEFAULT_BATCH_BYTES,
    DEFAULT_BATCH_ROWS,
    DEFAULT_WINDOW_REQUESTS,
    BulkOptions,
)
from headrace_client.bulk.rows.limits import DEFAULT_MAX_TEXT_BYTES
from headrace_client.cli.completion import complete_route
from headrace_client.wire.names import EMBEDDINGS_URL

bulk_app = typer.Typer(
    name="bulk",
    help="Files in, files out: embed a table, or run requests over it. Goes on where it stopped.",
    no_args_is_help=True,
)

_INPUT, _SERVICE, _OUTPUT = "What is sent", "Where to", "What is written"
_FLOW, _RUN = "How fast", "Start and stop"

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="IN... OUT",
        help="Input files, folders, globs or URLs, or - for standard input; last the output.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The settings file; $HEADRACE_CONFIG, then ./headrace.yaml, where unset.",
        show_default=False,
        rich_help_panel=_SERVICE,
    ),
]


def _option(name: str, text: str, panel: str, *more: str) -> Any:
    return typer.Option(name, *more, help=text, show_default=False, rich_help_panel=panel)


def _default(name: str, text: str, panel: str, **limits: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, **limits)


RouteName = Annotated[
    str | None,
    typer.Option(
        "--route",
        "-r",
        help="The route, by its name.",
        show_default=False,
        rich_help_panel=_SERVICE,
        autocompletion=complete_route,
    ),
]
Bootstrap = Annotated[str | None, _option("--bootstrap", "The brokers: HOST:PORT.", _SERVICE)]
RequestsTopic = Annotated[
    str | None, _option("--requests-topic", "The route's topics, without a file.", _SERVICE)
]
ResultsTopic = Annotated[str | None, _option("--results-topic", "See above.", _SERVICE)]
Group = Annotated[
    str | None, _option("--group", "The service's consumer group, to tell if it is up.", _SERVICE)
]
Model = Annotated[
    str | None, _option("--model", "The model, where a route serves several.", _SERVICE, "-m")
]
Local = Annotated[
    bool,
    _option("--local", "Start a broker, Ray and the model here, for this job.", _SERVICE),
]
Columns = Annotated[
    str | None,
    _option("--columns", "Columns to carry along, a,b,c; all where unset.", _OUTPUT),
]
Carry = Annotated[
    bool,
    _default("--carry/--no-carry", "Carry the input's columns along.", _OUTPUT),
]
InputFormat = Annotated[
    str | None,
    _option("--format", "jsonl, csv, parquet, arrow or lance; by the name where unset.", _INPUT),
]
OutFormat = Annotated[
    str | None,
    _option(
        "--out-format", "parquet, lance, jsonl, npy or arrow; by OUT's name where unset.", _OUTPUT
    ),
]
ColumnTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--column-type",
        metavar="NAME=TYPE",
        help="Type of a column of JSONL or CSV: bool, int64, double, string or json. May be "
        "repeated.",
        show_default=False,
        rich_help_panel=_INPUT,
    ),
]
MaxTextBytes = Annotated[
    int, _default("--max-text-bytes", "A longer text fails its row.", _INPUT, min=1)
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Take only so many rows.", show_default=False, rich_help_panel=_INPUT
    ),
]
Window = Annotated[
    int,
    _default(
        "--window-requests",
        "Requests on their way at a time; each may take 384 KiB of memory.",
        _FLOW,
        min=1,
        max=100_000,
    ),
]
Unordered = Annotated[
    bool,
    _default("--unordered", "Write rows as they are answered, not in the input's order.", _OUTPUT),
]
Dedupe = Annotated[
    bool | None,
    _option("--dedupe/--no-dedupe", "Compute identical inputs once.", _FLOW),
]
Deadline = Annotated[
    str | None,
    _option("--deadline", "When answers are of no use any more: 45m, 2h, a date.", _FLOW),
]
JobName = Annotated[str | None, _option("--job", "What the job's id begins with.", _RUN)]
Weight = Annotated[
    int | None,
    typer.Option(
        "--weight",
        min=1,
        max=100,
        help="The job's share beside other jobs.",
        show_default=False,
        rich_help_panel=_FLOW,
    ),
]
RetryFailed = Annotated[
    bool, _default("--retry-failed", "Try the failed rows of a finished job again.", _RUN)
]
Restart = Annotated[
    bool, _default("--restart", "Forget what is there of the job, and begin anew.", _RUN)
]
NoWait = Annotated[
    bool, _default("--no-wait", "End with status 2 if the service does not run.", _RUN)
]
Json = Annotated[bool, _default("--json", "Print one JSON object a second to stdout.", _RUN)]
StateDir = Annotated[
    Path | None,
    _option("--state-dir", "Where the job's state is kept; OUT.headrace where unset.", _RUN),
]


@bulk_app.command()
def embed(  # noqa: PLR0913, PLR0917 - options of a command
    paths: Paths,
    column: Annotated[
        str | None,
        _option("--column", "The column with the text; found by itself if clear.", _INPUT),
    ] = None,
    template: Annotated[
        str | None, _option("--template", "The text of several columns: '{title}: {body}'.", _INPUT)
    ] = None,
    max_text_bytes: MaxTextBytes = DEFAULT_MAX_TEXT_BYTES,
    truncate_text: Annotated[
        bool, _default("--truncate-text", "Cut a longer text instead.", _INPUT)
    ] = False,
    input_format: InputFormat = None,
    column_types: ColumnTypes = None,
    limit: Limit = None,
    config: ConfigFile = None,
    route: RouteName = None,
    bootstrap: Bootstrap = None,
    requests_topic: RequestsTopic = None,
    results_topic: ResultsTopic = None,
    group: Group = None,
    model: Model = None,
    local: Local = False,
    dtype: Annotated[
        str, _default("--dtype", "float32, float16, int8, binary or ubinary.", _OUTPUT)
    ] = "float32",
    dimensions: Annotated[
        int | None,
        typer.Option(
            "--dimensions",
            min=1,
            help="Keep so many leading components.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    prompt_name: Annotated[
        str | None, _option("--prompt-name", "The model's prompt before each text.", _OUTPUT)
    ] = None,
    columns: Columns = None,
    carry: Carry = True,
    out_format: OutFormat = None,
    unordered: Unordered = False,
    batch_rows: Annotated[
        int, _default("--batch-rows", "Rows in a request, at most.", _FLOW, min=1, max=2048)
    ] = DEFAULT_BATCH_ROWS,
    batch_bytes: Annotated[
        int, _default("--batch-bytes", "Bytes of a request, at most.", _FLOW, min=1)
    ] = DEFAULT_BATCH_BYTES,
    window_requests: Window = DEFAULT_WINDOW_REQUESTS,
    dedupe: Dedupe = None,
    deadline: Deadline = None,
    weight: Weight = None,
    job: JobName = None,
    retry_failed: RetryFailed = False,
    restart: Restart = False,
    no_wait: NoWait = False,
    json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Embed a column or a template of a table's rows, and write the vectors beside them.

    The same command goes on where it stopped. Ends with 0 (complete), 3 (some rows failed),
    2 (could not run), 4 (cancelled or expired) or 130 (interrupted; it goes on).
    """
    inputs, out = _inputs_and_out(paths)
    options = BulkOptions(
        kind="embed",
        inputs=inputs,
        out=out,
        url=EMBEDDINGS_URL,
        column=column,
        template=template,
        max_text_bytes=max_text_bytes,
        truncate_text=truncate_text,
        input_format=input_format,
        column_types=_types(column_types),
        limit=limit,
        config=config,
        route=route,
        bootstrap=bootstrap,
        requests_topic=requests_topic,
        results_topic=results_topic,
        group=group,
        model=model,
        local=local,
        dtype=dtype,
        dimensions=dimensions,
        prompt_name=prompt_name,
        columns=_names(columns),
        carry=carry,
        out_format=out_format,
        ordered=not unordered,
        batch_rows=batch_rows,
        batch_bytes=batch_bytes,
        window_requests=window_requests,
        dedupe=dedupe is not False,
        deadline=deadline,
        weight=weight,
        job=job,
        retry_failed=retry_failed,
        restart=restart,
        wait=not no_wait,
        state_dir=state_dir,
    )
    _run(options, as_json=json)


@bulk_app.command()
def run(  # noqa: PLR0913, PLR0917 - options of a command
    paths: Paths,
    url: Annotated[
        str, _default("--url", "The endpoint; lines of an OpenAI Batch file name theirs.", _INPUT)
    ] = "/v1/chat/completions",
    body: Annotated[
        str | None,
        _option(
            "--body",
            "The request's body for a row, as JSON with {column} in it; without it rows are lines "
            "of an OpenAI Batch file.",
            _INPUT,
        ),
    ] = None,
    max_text_bytes: MaxTextBytes = DEFAULT_MAX_TEXT_BYTES,
    input_format: InputFormat = None,
    column_types: ColumnTypes = None,
    limit: Limit = None,
    config: ConfigFile = None,
    route: RouteName = None,
    bootstrap: Bootstrap = None,
    requests_topic: RequestsTopic = None,
    results_topic: ResultsTopic = None,
    group: Group = None,
    model: Model = None,
    local: Local = False,
    columns: Columns = None,
    carry: Carry = True,
    out_format: OutFormat = None,
    unordered: Unordered = False,
    window_requests: Window = DEFAULT_WINDOW_REQUESTS,
    dedupe: Dedupe = None,
    deadline: Deadline = None,
    weight: Weight = None,
    job: JobName = None,
    retry_failed: RetryFailed = False,
    restart: Restart = False,
    no_wait: NoWait = False,
    json: Json = False,
    state_dir: StateDir = None,
) -> None:
    """Run a request for each row: an OpenAI Batch file, or any table with --body.

    The same command goes on where it stopped. Ends with 0 (complete), 3 (some rows failed),
    2 (could not run), 4 (cancelled or expired) or 130 (interrupted; it goes on).
    """
    inputs, out = _inputs_and_out(paths)
    options = BulkOptions(
        kind="run",
        inputs=inputs,
        out=out,
        url=url,
        body=body,
        max_text_bytes=max_text_bytes,
        input_format=input_format,
        column_types=_types(column_types),
        limit=limit,
        config=config,
        route=route,
        bootstrap=bootstrap,
        requests_topic=requests_topic,
        results_topic=results_topic,
        group=group,
        model=model,
        local=local,
        columns=_names(columns),
        carry=carry,
        out_format=out_format,
        ordered=not unordered,
        window_requests=window_requests,
        # Two equal prompts may want two answers.
        dedupe=dedupe is True,
        deadline=deadline,
        weight=weight,
        job=job,
        retry_failed=retry_failed,
        restart=restart,
        wait=not no_wait,
        state_dir=state_dir,
    )
    _run(options, as_json=json)


def _run(options: BulkOptions, *, as_json: bool) -> NoReturn:
    # What runs a job takes a second to import, and help and completion need none of it.
    logging_to = import_module("headrace_client.cli.job_logs")
    session = import_module("headrace_client.bulk.job.session")
    raise typer.Exit(session.run_bulk(options, logging_to.choose(options.config, as_json=as_json)))


def _inputs_and_out(paths: list[str]) -> tuple[tuple[str, ...], str]:
    if len(paths) < 2:
        raise typer.BadParameter("name the input first and the output last: IN... OUT")
    *inputs, out = paths
    return tuple(inputs), out


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(each.strip() for each in text.split(",") if each.strip())


def _types(options: list[str] | None) -> dict[str, str]:
    types = {}
    for option in options or ():
        name, equals, column_type = option.rpartition("=")
        if not (name and equals and column_type):
            raise typer.BadParameter(f"--column-type {option}: write NAME=TYPE, as in year=int64")
        types[name] = column_type
    return types
