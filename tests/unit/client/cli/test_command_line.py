"""The command where only the client is installed, in a Python that can import nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace_client.cli.commands import Command, load
from headrace_client.cli.main import COMMANDS, command_line
from headrace_client.cli.running import run
from headrace_client.errors import ClientError

ROOT = Path(__file__).parents[4]

# What `pip install headrace-client[bulk]` does not bring.
REFUSED = """
import sys

class Refuse:
    refused = {refused}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            raise ImportError(f"{{name}} is not here", name=name)

sys.meta_path.insert(0, Refuse())
import importlib.metadata
entry_points = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **wanted: (
    [] if wanted.get("group") == "headrace.commands" else entry_points(**wanted)
)
sys.argv = {argv}
from headrace_client.cli import main
main()
"""
# Not pydantic, which typer brings.
SERVICE = (
    *("schemas", "handoff", "consumer", "serve_models", "headrace"),
    *("ray", "torch", "vllm", "transformers", "sentence_transformers", "msgspec"),
)
HEAVY = ("pyarrow", "numpy", "fsspec", "aiokafka", "lance")


def run_client(
    *arguments: str, refused: tuple[str, ...] = SERVICE
) -> subprocess.CompletedProcess[str]:
    code = REFUSED.format(refused=set(refused), argv=["headrace", *arguments])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "client"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_client_needs_nothing_of_the_service() -> None:
    answer = run_client("--help")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert all(each.summary in answer.stdout for each in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_each_command_of_the_client_needs_nothing_of_the_service(command: Command) -> None:
    answer = run_client(command.name, "--help")

    assert (answer.returncode, answer.stderr) == (0, "")
    assert command.name in answer.stdout


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("bulk", "--help"), ("bulk", "embed", "--help")],
    ids=" ".join,
)
def test_help_and_version_import_nothing_that_is_slow(arguments: tuple[str, ...]) -> None:
    answer = run_client(*arguments, refused=(*SERVICE, *HEAVY))

    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_version_names_what_is_installed() -> None:
    lines = run_client("--version").stdout.splitlines()

    assert lines[-1] == f"Python {sys.version.split()[0]}"
    assert any(line.startswith("headrace-client ") for line in lines)


def test_without_its_packages_the_command_says_what_to_install() -> None:
    answer = run_client("--help", refused=(*SERVICE, "typer"))

    assert answer.returncode == 1
    assert "pip install 'headrace-client[bulk]'" in answer.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_a_summary_is_the_first_line_of_the_commands_help(command: Command) -> None:
    assert load(command).help.split("\n\n")[0].replace("\n", " ") == command.summary


def fail_as_client() -> None:
    raise ClientError("no topic a; create it")


def fail_without_a_package() -> None:
    raise ModuleNotFoundError("no pyarrow", name="pyarrow.parquet")


def fail_as_bug() -> None:
    raise ZeroDivisionError


def interrupt() -> None:
    raise KeyboardInterrupt


def run_one(function: str) -> None:
    app = command_line([Command("one", f"{__name__}:{function}", "")], "")
    run(app, ["one"], "headrace_client.cli.failures")


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("fail_as_client", 2, "error: no topic a; create it\n"),
        (
            "fail_without_a_package",
            2,
            "error: the command needs pyarrow: pip install 'headrace-client[bulk]'\n",
        ),
        ("interrupt", 130, ""),
    ],
)
def test_a_users_error_is_a_message_and_a_status(
    capsys: pytest.CaptureFixture[str], function: str, code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_one(function)

    assert caught.value.code == code
    assert capsys.readouterr().err == message


def test_a_bug_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_one("fail_as_bug")


def test_a_column_type_names_column_and_type() -> None:
    answer = run_client("bulk", "embed", "in.csv", "out.parquet", "--column-type", "year")
    assert answer.returncode == 2
    assert "NAME=TYPE" in answer.stderr
