"""The pages' programs run as they stand, in Python, Java, Go and kcat."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from headrace_client import Connection, Route
from tests.brokers import TestBroker
from tests.integration.client.answering_service import AnsweringService, running
from tests.integration.client.model_answers import answer

pytestmark = pytest.mark.kafka

DOCS = Path(__file__).parents[3] / "docs"
GO_SOURCES = Path("/usr/share/gocode/src/github.com/confluentinc/confluent-kafka-go")
KAFKA_HOME = Path(os.environ["KAFKA_HOME"]).resolve() if "KAFKA_HOME" in os.environ else None
HAS_GO_SOURCES = GO_SOURCES.exists()
PROGRAM_S = 120


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


SNIPPETS = blocks("client.md", "python")


@pytest.fixture
async def service(connection: Connection, route: Route) -> AsyncIterator[AnsweringService]:
    found = AnsweringService(answer, times=2)
    async with running(connection.bootstrap, route, found):
        yield found


async def run(*command: str, folder: Path, **environment: str) -> str:
    ran = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return str(ran.stdout)


def with_topics(text: str, connection: Connection, route: Route) -> str:
    """Return a page's program with the topics and the broker of this test."""
    return (
        text.replace("kafka.example.com:9092", connection.bootstrap)
        .replace("kafka:9092", connection.bootstrap)
        .replace("embeddings.requests", route.requests_topic)
        .replace("embeddings.results", route.results_topic)
    )


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
async def test_a_python_program(
    number: int, connection: Connection, route: Route, service: AnsweringService, tmp_path: Path
) -> None:
    topics = {
        "requests_topic": route.requests_topic,
        "results_topic": route.results_topic,
        "group": route.group,
    }
    settings = {
        "kafka": {"bootstrap": connection.bootstrap},
        "models": {
            "minilm": {"kind": "embedder"},
            "qwen": {"kind": "generator"},
        },
        "routes": {
            "embeddings": {"model": "minilm", **topics},
            "chat": {"model": "qwen", **topics},
        },
    }
    (tmp_path / "headrace.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "program.py").write_text(with_topics(SNIPPETS[number], connection, route))

    said = await run(sys.executable, "program.py", folder=tmp_path, HEADRACE_CONFIG="")

    assert said.strip()


async def test_the_java_program(
    connection: Connection, route: Route, service: AnsweringService, tmp_path: Path
) -> None:
    home = KAFKA_HOME
    if home is None or shutil.which("javac") is None:
        pytest.skip("needs javac, and Kafka's client in KAFKA_HOME")
    (program,) = blocks("producers/java.md", "java")
    (tmp_path / "Ask.java").write_text(program)
    libraries = f"{home}/libs/*"

    await run("javac", "-cp", libraries, "Ask.java", folder=tmp_path)
    ran = await asyncio.to_thread(
        subprocess.run,
        [
            "java",
            "-cp",
            f"{libraries}:.",
            "Ask",
            connection.bootstrap,
            route.requests_topic,
            route.results_topic,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )

    assert sorted(ran.stdout.splitlines()) == ["java-1 200", "java-2 200"], ran.stderr
    assert all("headrace-deadline" in dict(each) for each in service.seen_headers)


async def test_the_go_program(
    connection: Connection, route: Route, service: AnsweringService, tmp_path: Path
) -> None:
    if shutil.which("go") is None or not HAS_GO_SOURCES:
        pytest.skip("needs go, and Debian's golang-github-confluentinc-confluent-kafka-go-dev")
    (program,) = blocks("producers/go.md", "go")
    folder = tmp_path / "src" / "ask"
    folder.mkdir(parents=True)
    # Debian's sources are of a release before modules, with the same calls.
    (folder / "main.go").write_text(program.replace("kafka-go/v2/", "kafka-go/"))
    go_path = f"{tmp_path}:{GO_SOURCES.parents[3]}"

    await run(
        "go",
        "build",
        "-tags",
        "dynamic",
        "-o",
        "ask",
        ".",
        folder=folder,
        GO111MODULE="off",
        GOPATH=go_path,
    )
    said = await run(
        "./ask", connection.bootstrap, route.requests_topic, route.results_topic, folder=folder
    )

    assert sorted(said.splitlines()) == ["go-1 200", "go-2 200"]


async def test_the_kcat_commands(
    connection: Connection,
    route: Route,
    service: AnsweringService,
    kafka_broker: TestBroker,
    tmp_path: Path,
) -> None:
    if shutil.which("kcat") is None or not kafka_broker.is_apache_kafka:
        pytest.skip("needs kcat, and an Apache Kafka")
    publish, read, filtered, with_deadline, keyed = (
        with_topics(block, connection, route) for block in blocks("producers/kcat.md", "bash")
    )

    await run("bash", "-euc", publish, folder=tmp_path)
    await run("bash", "-euc", read, folder=tmp_path)
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "kcat-" in lines[0]
    assert "headrace-job=nightly" in await run("bash", "-euc", filtered, folder=tmp_path)
    await run("bash", "-euc", with_deadline, folder=tmp_path)
    await run("bash", "-euc", keyed, folder=tmp_path)
    async with asyncio.timeout(30):
        while len(service.seen) < 5:
            await asyncio.sleep(0.1)
    assert "headrace-deadline" in dict(service.seen_headers[-2])
    assert service.seen[-1]["custom_id"] == "kcat-3"
