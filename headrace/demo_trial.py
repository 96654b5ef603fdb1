"""What a person can do once the demo is over: try the running service with lines of their own."""

import contextlib
import sys
import threading
from pathlib import Path

import yaml

from headrace.cli.output import out
from schemas.settings import Settings

LINE = '{"custom_id": "mine", "url": "/v1/embeddings", "body": {"input": "Mills need rivers."}}'
PROMPT = (
    '{"custom_id": "ask", "url": "/v1/chat/completions", '
    '"body": {"messages": [{"role": "user", "content": "What do bees make?"}], "max_tokens": 40}}'
)


def is_watched() -> bool:
    """Say whether a person sits at this terminal; a script would wait for ever."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def settings_text(settings: Settings) -> str:
    """Return a settings file for other commands, which find the demo's broker by it."""
    values = settings.model_dump(mode="json", exclude_unset=True)
    values["kafka"] = {"broker": "external", "bootstrap": settings.kafka.bootstrap}
    return yaml.safe_dump(values, sort_keys=False)


def commands(config: str = "") -> list[str]:
    """Return what to type in another terminal.

    Args:
        config: The settings file; empty for the one in the working directory.
    """
    headrace = str(Path(sys.executable).with_name("headrace"))
    option = f" --config {config}" if config else ""
    route = f" --route embeddings{option}" if config else ""
    lines = [
        f"echo '{LINE}' | {headrace} submit -{route}",
        f"{headrace} results{route} --from-beginning",
        f"{headrace} status{option}",
    ]
    if config:
        lines.insert(1, f"echo '{PROMPT}' | {headrace} submit - --route chat{option}")
    return lines


def let_try(settings: Settings, directory: Path) -> None:
    """Keep the service for a person until Ctrl-C.

    Args:
        settings: Of the service, with its broker's address.
        directory: Where to write a settings file for the other commands.
    """
    config = directory / "headrace.yaml"
    config.write_text(settings_text(settings))
    out.print("\n[bold]The service still runs.[/] Try it, in another terminal:\n")
    _print_commands(commands(str(config)))
    out.print("\nCtrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def say_how_to_go_on() -> None:
    """Print how to start the service again, with the settings file of the repository."""
    out.print("\nTo go on, start the service with the settings of this directory:\n")
    _print_commands([f"{Path(sys.executable).with_name('headrace')} up"])
    out.print("\nand in another terminal:\n")
    _print_commands(commands())


def _print_commands(lines: list[str]) -> None:
    for line in lines:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
