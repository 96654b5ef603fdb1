"""What the command was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from headrace_client.bulk.rows.limits import DEFAULT_MAX_TEXT_BYTES

DEFAULT_BATCH_ROWS = 64
DEFAULT_BATCH_BYTES = 256 * 1024
DEFAULT_WINDOW_REQUESTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """The options of ``headrace bulk embed`` and ``headrace bulk run``.

    Attributes:
        kind: Which of them.
        inputs: Files, directories, globs, URLs, or ``-``.
        out: OUT.
        url: The endpoint.
        config, route, bootstrap, requests_topic, results_topic, group: Where the service is.
        model: The model's name; unset: the route's own.
        column, template, body: What of a row is sent.
        max_text_bytes, truncate_text: A longer text fails its row, or is cut.
        columns: Which columns OUT carries along; unset: all.
        carry: Whether OUT carries any along.
        input_format, out_format: By the files' names where unset.
        column_types: Of columns of JSONL and CSV, by name; what the files show where unset.
        limit: Rows of the input at most.
        dtype: Of the vectors' components in OUT.
        dimensions, prompt_name: As in requests.
        batch_rows, batch_bytes, window_requests: How rows become requests, and how many are out.
        ordered: Rows of OUT are in the input's order.
        dedupe: Identical inputs are computed once.
        deadline: As people write it.
        job: A name that the job's id begins with.
        weight: The job's share among those that wait on a route.
        retry_failed, restart, wait, local, state_dir: As the command's help says.
    """

    kind: Literal["embed", "run"]
    inputs: tuple[str, ...]
    out: str
    url: str
    config: Path | None = None
    route: str | None = None
    bootstrap: str | None = None
    requests_topic: str | None = None
    results_topic: str | None = None
    group: str | None = None
    model: str | None = None
    column: str | None = None
    template: str | None = None
    body: str | None = None
    max_text_bytes: int = DEFAULT_MAX_TEXT_BYTES
    truncate_text: bool = False
    columns: tuple[str, ...] | None = None
    carry: bool = True
    input_format: str | None = None
    column_types: Mapping[str, str] = field(default_factory=dict)
    out_format: str | None = None
    limit: int | None = None
    dtype: str = "float32"
    dimensions: int | None = None
    prompt_name: str | None = None
    batch_rows: int = DEFAULT_BATCH_ROWS
    batch_bytes: int = DEFAULT_BATCH_BYTES
    window_requests: int = DEFAULT_WINDOW_REQUESTS
    ordered: bool = True
    dedupe: bool = True
    deadline: str | None = None
    job: str | None = None
    weight: int | None = None
    retry_failed: bool = False
    restart: bool = False
    wait: bool = True
    local: bool = False
    state_dir: Path | None = None
