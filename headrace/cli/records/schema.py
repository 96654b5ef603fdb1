"""``headrace schema``: prints the wire format as JSON Schema and AsyncAPI."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from headrace.cli.options import ConfigOption, read_settings
from headrace.cli.output import print_json, print_note
from headrace.errors import UserError
from headrace.settings.problems import alternatives
from schemas.asyncapi import PUBLISHED, asyncapi_document, json_schema

ASYNCAPI = "asyncapi"
NAMES = [*PUBLISHED, ASYNCAPI]


def schema(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(NAMES)}.")] = ASYNCAPI,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A directory to write every schema to, instead."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print a JSON Schema, or the AsyncAPI 3.0 document of a settings file's routes."""
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for each in NAMES:
            suffix = "json" if each == ASYNCAPI else "schema.json"
            target = output / f"{each}.{suffix}"
            text = orjson.dumps(build(each, config), option=orjson.OPT_INDENT_2)
            target.write_bytes(text + b"\n")
            print_note(f"wrote {target}")
        return
    if name not in NAMES:
        raise UserError(f"no schema '{name}'{alternatives(name, NAMES)}")
    print_json(build(name, config))


def build(name: str, config: Path | None) -> dict[str, Any]:
    if name == ASYNCAPI:
        return asyncapi_document(read_settings(config), version("headrace"))
    return json_schema(name)
