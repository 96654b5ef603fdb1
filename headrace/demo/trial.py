"""Lets a person try the running service with lines of their own after the demo."""

import contextlib
import os
import sys
import threading
from pathlib import Path

import yaml

from headrace.cli.output import out
from schemas.settings.file import Settings

_HEADRACE = os.path.relpath(Path(sys.executable).with_name("headrace"))
LINE = '{"custom_id": "mine", "url": "/v1/embeddings", "body": {"input": "Mills need rivers."}}'
PROMPT = (
    '{"custom_id": "ask", "url": "/v1/chat/completions", '
    '"body": {"messages": [{"role": "user", "content": "What do bees make?"}], "max_tokens": 40}}'
)


def is_watched() -> bool:
    """Whether a person sits at this terminal; a script would wait forever."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def settings_text(settings: Settings) -> str:
    values = settings.model_dump(mode="json", exclude_unset=True)
    values["kafka"] = {"broker": "external", "bootstrap": settings.kafka.bootstrap}
    return yaml.safe_dump(values, sort_keys=False)


def commands(config: Path | None = None) -> list[str]:
    """Return commands for another terminal; ``config`` is unset for the file of the directory."""
    if config is None:
        return [
            f"echo '{LINE}' | {_HEADRACE} submit -",
            f"{_HEADRACE} results --from-beginning",
            f"{_HEADRACE} status",
        ]
    return [
        f"export HEADRACE_CONFIG={config}",
        f"echo '{LINE}' | {_HEADRACE} submit - --route embeddings",
        f"echo '{PROMPT}' | {_HEADRACE} submit - --route chat",
        f"{_HEADRACE} results --route embeddings --from-beginning",
        f"{_HEADRACE} status",
    ]


def let_try(settings: Settings, directory: Path) -> None:
    config = directory / "headrace.yaml"
    config.write_text(settings_text(settings))
    out.print("\n[bold]The service still runs.[/] Try it, in another terminal:\n")
    _print_commands(commands(config))
    out.print("\nCtrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def say_how_to_go_on() -> None:
    out.print("\nTo go on, start the service with the settings of this directory:\n")
    _print_commands([f"{_HEADRACE} up"])
    out.print("\nand in another terminal:\n")
    _print_commands(commands())


def _print_commands(lines: list[str]) -> None:
    for line in lines:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
