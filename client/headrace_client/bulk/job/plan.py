"""What a job is made of, from the command's options: input, requests, OUT, and the fingerprint."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from headrace_client.bulk.job.options import BulkOptions
from headrace_client.bulk.output.destination import Destination
from headrace_client.bulk.output.layout import (
    BodyAnswers,
    Layout,
    OutFormat,
    VectorAnswers,
    VectorDtype,
    format_of,
)
from headrace_client.bulk.rows.batch_lines import BatchLines
from headrace_client.bulk.rows.bodies import BodyTemplate
from headrace_client.bulk.rows.rendering import Renderer
from headrace_client.bulk.rows.source import Source
from headrace_client.bulk.rows.texts import TextColumn, TextTemplate
from headrace_client.errors import ClientError

_ROW_GROUP_BYTES = 16 * 1024 * 1024
"""What a row group's vectors take is the largest part of a job's memory."""
_OPERATIONAL = frozenset(
    {
        "replicas", "autoscaling", "num_cpus", "num_gpus", "threads", "served_names", "device",
        "health_check_period_s", "graceful_shutdown_timeout_s", "max_inputs_per_request",
    }
)  # fmt: skip
"""Settings of a model that change how it runs, and not what it answers."""


class OptionsError(ClientError):
    """Options do not go together; the message names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job, ready to be compared with what lies beside OUT.

    Attributes:
        source: The input, with the columns that are needed.
        renderer: Makes JSON of rows.
        destination: OUT.
        url: The endpoint.
        parameters: The body's fields beside the texts, for ``embed``.
        is_grouped: Several rows go in one request.
        dtype: Of vectors in OUT; ``None`` where answers are bodies.
        carries: Whether OUT carries columns along.
        out_format: Of OUT.
        fingerprint: All that changes results.
    """

    source: Source
    renderer: Renderer
    destination: Destination
    url: str
    parameters: Mapping[str, Any]
    is_grouped: bool
    dtype: VectorDtype | None
    out_format: OutFormat
    ordered: bool
    fingerprint: Mapping[str, Any]

    @property
    def inputs_digest(self) -> str:
        """Of all that is known of the input files: another one says that they have changed."""
        return blake2b(orjson.dumps(self.source.fingerprints), digest_size=16).hexdigest()

    def layout(self, job: str) -> Layout:
        answers = VectorAnswers(dtype=self.dtype) if self.dtype else BodyAnswers(job=job)
        return Layout(
            format=self.out_format,
            answers=answers,
            carried=self.source.schema,
            ordered=self.ordered,
            row_group_bytes=_ROW_GROUP_BYTES,
        )


def make_plan(
    options: BulkOptions,
    destination: Destination,
    *,
    service: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]] | None,
) -> Plan:
    """Open the input, and check that everything goes together.

    Args:
        options: The command's.
        destination: OUT.
        before: The input's fingerprints when the job began; ``None`` for a new one.
        service: What of the service changes results: topics, and the model's settings.

    Raises:
        ClientError: ``InputError``, ``OutputUsageError`` or ``OptionsError``.
    """
    dtype = _dtype(options.dtype) if options.kind == "embed" else None
    out_format = _out_format(options)
    source = Source.open(
        options.inputs,
        format=options.input_format,
        stdin=sys.stdin.buffer,
        column_types=options.column_types,
        before=None if before is None else [dict(each) for each in before],
    )
    renderer = _renderer(options, source)
    is_lines = isinstance(renderer, BatchLines)
    carried = _carried(options, is_lines)
    source = source.select(needed=renderer.columns, carried=carried)
    parameters = {} if dtype is None else _parameters(options, dtype)
    return Plan(
        source=source,
        renderer=renderer,
        destination=destination,
        url=options.url,
        parameters=parameters,
        is_grouped=options.kind == "embed",
        dtype=dtype,
        out_format=out_format,
        ordered=options.ordered,
        fingerprint={
            "command": options.kind,
            "endpoint": options.url,
            "model": options.model,
            "parameters": parameters,
            "rows": renderer.fingerprint,
            "columns": None if carried is None else list(carried),
            "column_types": dict(options.column_types),
            "dedupe": options.dedupe,
            "order": "input" if options.ordered else "as answered",
            "out_format": str(out_format),
            "dtype": None if dtype is None else str(dtype),
            "service": service,
        },
    )


def model_settings(document: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """Return what of a model's settings changes its answers; empty if they are not known."""
    section = (document.get("models") or {}).get(model) or {}
    kept = {key: value for key, value in section.items() if key not in _OPERATIONAL}
    # As JSON has it: YAML knows dates, for instance.
    plain: dict[str, Any] = orjson.loads(orjson.dumps(kept, default=str))
    return plain


def _renderer(options: BulkOptions, source: Source) -> Renderer:
    schema = source.schema
    if options.kind == "embed":
        if options.template is not None:
            if options.column is not None:
                raise OptionsError("--column and --template: give one of them")
            return TextTemplate(
                options.template,
                schema,
                max_text_bytes=options.max_text_bytes,
                truncate_text=options.truncate_text,
            )
        return TextColumn(
            schema,
            column=options.column,
            max_text_bytes=options.max_text_bytes,
            truncate_text=options.truncate_text,
        )
    if options.body is not None:
        return BodyTemplate(_body(options), schema, max_text_bytes=options.max_text_bytes)
    return BatchLines(model=options.model, max_text_bytes=options.max_text_bytes)


def _body(options: BulkOptions) -> Any:
    try:
        body = orjson.loads(options.body or "")
    except orjson.JSONDecodeError as error:
        raise OptionsError(
            f"--body is not JSON ({error}); write an object with {{column}} where a row's value "
            'goes: \'{"messages": [{"role": "user", "content": "{question}"}]}\''
        ) from None
    if isinstance(body, dict) and options.model is not None:
        body.setdefault("model", options.model)
    return body


def _carried(options: BulkOptions, is_lines: bool) -> Sequence[str] | None:
    if is_lines or not options.carry:
        return ()
    return options.columns


def _parameters(options: BulkOptions, dtype: VectorDtype) -> dict[str, Any]:
    values = {
        "model": options.model,
        "encoding_format": "base64",
        "output_dtype": None if dtype.is_float else dtype.output_dtype,
        "dimensions": options.dimensions,
        "prompt_name": options.prompt_name,
    }
    return {name: value for name, value in values.items() if value is not None}


def _dtype(name: str) -> VectorDtype:
    try:
        return VectorDtype(name)
    except ValueError:
        raise OptionsError(f"--dtype: '{name}' is none of {', '.join(VectorDtype)}") from None


def _out_format(options: BulkOptions) -> OutFormat:
    if options.out_format is None:
        return format_of(options.out)
    try:
        return OutFormat(options.out_format)
    except ValueError:
        raise OptionsError(
            f"--out-format: '{options.out_format}' is none of {', '.join(OutFormat)}"
        ) from None
