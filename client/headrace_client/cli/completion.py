"""Completes names that the settings file and this directory know; asks no broker."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import typer
import yaml

from headrace_client.settings import MAX_FILE_BYTES, find_settings_file

SOURCES = ("wheel:", "hub:", "path:", "s3://", "gs://", "oci:")


def complete_route(context: typer.Context, incomplete: str) -> list[str]:
    return list(_matching(_names(context, "routes"), incomplete))


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    return list(_matching([*_names(context, "models"), *SOURCES], incomplete))


def complete_job(incomplete: str) -> list[str]:
    """Return the jobs whose state lies in this directory: ``OUT.headrace/manifest.json``."""
    names = {_job_name(manifest) for manifest in sorted(Path().glob("*.headrace/manifest.json"))}
    return list(_matching(names - {""}, incomplete))


def _matching(names: Any, incomplete: str) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete))


def _names(context: typer.Context, section: str) -> list[str]:
    try:
        with find_settings_file(context.params.get("config")).open("rb") as file:
            document = yaml.safe_load(file.read(MAX_FILE_BYTES))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        # The command itself says what is wrong with the file.
        return []
    entries = document.get(section) if isinstance(document, dict) else None
    return [str(name) for name in entries] if isinstance(entries, dict) else []


def _job_name(manifest: Path) -> str:
    try:
        document = orjson.loads(manifest.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return ""
    job = document.get("job") if isinstance(document, dict) else None
    return job if isinstance(job, str) else ""
