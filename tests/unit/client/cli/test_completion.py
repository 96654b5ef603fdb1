"""What the shell offers: commands, and names of the settings file and of this directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]

SETTINGS = """\
models:
  minilm: {kind: embedder, source: "wheel:x"}
  smollm2: {kind: generator, source: "wheel:y"}
routes:
  embeddings: {model: minilm}
  chat: {model: smollm2}
"""


def offered(folder: Path, *words: str) -> list[str]:
    """Complete the last of the words, as bash asks for it."""
    code = "from headrace.cli import main; main()"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        "_HEADRACE_COMPLETE": "complete_bash",
        "COMP_WORDS": "headrace " + " ".join(words),
        "COMP_CWORD": str(len(words)),
    }
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.stderr == ""
    return answer.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "headrace.yaml").write_text(SETTINGS)
    state = tmp_path / "vectors.parquet.headrace"
    state.mkdir()
    (state / "manifest.json").write_text('{"job": "nightly-3f2a", "format": 1}')
    broken = tmp_path / "broken.parquet.headrace"
    broken.mkdir()
    (broken / "manifest.json").write_text("[")
    return tmp_path


def test_commands_and_options_are_offered(folder: Path) -> None:
    assert offered(folder, "re") == ["results", "render"]
    assert offered(folder, "topics", "") == ["create"]
    assert "--deadline" in offered(folder, "submit", "--dead")


def test_names_of_the_settings_file_are_offered(folder: Path) -> None:
    other = folder / "other.yaml"
    other.write_text("routes: {nightly: {model: m}}\nmodels: {m: {}}\n")

    assert offered(folder, "submit", "--route", "") == ["embeddings", "chat"]
    assert offered(folder, "status", "-c", "other.yaml") == []
    assert offered(folder, "submit", "-c", "other.yaml", "-r", "") == ["nightly"]
    assert offered(folder, "bulk", "embed", "--route", "em") == ["embeddings"]
    assert offered(folder, "models", "pull", "m") == ["minilm"]
    assert offered(folder, "models", "pull", "w") == ["wheel:"]


def test_jobs_of_this_directory_are_offered(folder: Path) -> None:
    assert offered(folder, "results", "--job", "") == ["nightly-3f2a"]
    assert offered(folder, "jobs", "show", "") == ["nightly-3f2a"]


@pytest.mark.parametrize("text", ["[", "routes: 7", "- a", "\x00"])
def test_a_file_that_cannot_be_read_offers_nothing(folder: Path, text: str) -> None:
    (folder / "headrace.yaml").write_text(text)

    assert offered(folder, "submit", "--route", "") == []


def test_completion_can_be_installed_from_both_command_lines() -> None:
    for module in ("headrace.cli.main", "headrace_client.cli.main"):
        code = f"from {module} import main; main(['--help'])"
        environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
        answer = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        assert "--install-completion" in answer.stdout
        assert "--show-completion" in answer.stdout
