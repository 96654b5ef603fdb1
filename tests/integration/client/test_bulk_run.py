"""``headrace bulk run`` against a real broker, and a broker that is away."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headrace.brokers import start_broker
from tests.brokers import TestBroker, kafka_home_needed
from tests.integration.client.answering import Answering, answering, named_service
from tests.integration.client.bulk_runs import bulk, check_out, finish, start, texts_of, write_table

pytestmark = [pytest.mark.kafka]


@pytest.fixture
def served(kafka_broker: TestBroker) -> Iterator[Answering]:
    service = named_service(kafka_broker.bootstrap)
    with answering(service):
        yield service


def line(custom_id: str, text: str) -> str:
    body = {"messages": [{"role": "user", "content": text}]}
    return json.dumps(
        {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    )


def test_lines_of_a_batch_file_come_back_under_their_own_names(
    served: Answering, tmp_path: Path
) -> None:
    lines = [line(f"mine-{number}", f"question {number % 30}") for number in range(60)]
    lines[7] = "no json"
    lines[9] = line("mine-8", "again")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(lines) + "\n")
    said = bulk("run", source, out, *served.options(), status=3)
    assert "2 rows failed" in said
    answers = [json.loads(each) for each in out.read_text().splitlines()]
    good = [number for number in range(60) if number not in {7, 9}]
    assert [each["custom_id"] for each in answers] == [f"mine-{number}" for number in good]
    contents = [each["response"]["body"]["choices"][0]["message"]["content"] for each in answers]
    assert contents == [f"QUESTION {number % 30}" for number in good]
    # Equal prompts may want different answers.
    assert served.requests == 58
    failed = [json.loads(each) for each in Path(f"{out}.failed.jsonl").read_text().splitlines()]
    assert [(each["row"], each["code"]) for each in failed][1] == (9, "duplicate_custom_id")


def test_rows_and_a_body_give_a_column_of_responses(served: Answering, tmp_path: Path) -> None:
    write_table(tmp_path / "in.parquet", [f"row {number % 3}" for number in range(12)])
    out = tmp_path / "out.parquet"
    body = json.dumps({"messages": [{"role": "user", "content": "Say {text}"}]})
    bulk("run", tmp_path / "in.parquet", out, "--body", body, "--dedupe", *served.options())
    table = pq.read_table(out)
    responses = [json.loads(each) for each in table["response"].to_pylist()]
    assert [each["choices"][0]["message"]["content"] for each in responses] == [
        f"SAY ROW {number % 3}" for number in range(12)
    ]
    assert table["id"].to_pylist() == list(range(12))
    assert served.requests == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_keeps_what_has_come_and_goes_on(
    served: Answering, tmp_path: Path, number: signal.Signals
) -> None:
    texts = texts_of(400)
    write_table(tmp_path / "in.parquet", texts)
    served.delay_s = 0.02
    command = ["embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"]
    command += [*served.options(), "--batch-rows", "4", "--window-requests", "8"]
    process = start(*command)
    served.on_request = lambda requests: process.send_signal(number) if requests == 30 else None
    status, _, said = finish(process)
    assert status == 130
    assert "interrupted; the same command goes on" in said
    assert " 0 rows kept" not in said
    served.on_request = None
    assert "goes on" in bulk(*command)
    check_out(tmp_path / "out.parquet", texts)
    assert set(served.computed.values()) == {1}


def test_results_come_on_a_topic_of_the_jobs_own_where_the_route_allows_one(
    served: Answering, tmp_path: Path
) -> None:
    write_table(tmp_path / "in.parquet", texts_of(100))
    config = tmp_path / "headrace.yaml"
    config.write_text(
        f"kafka: {{bootstrap: '{served.bootstrap}'}}\n"
        "models: {m: {kind: embedder, source: 'hub:a/b'}}\n"
        f"routes: {{texts: {{model: m, requests_topic: {served.requests_topic}, "
        f"results_topic: {served.results_topic}, group: {served.group}, "
        f"reply_topics: [{served.results_topic}.own.*]}}}}\n"
    )
    out = tmp_path / "out.parquet"
    bulk("embed", tmp_path / "in.parquet", out, "--column", "text", "--config", config)
    check_out(out, texts_of(100))
    job = served.headers[0]["headrace-job"]
    assert served.headers[0]["headrace-reply-topic"] == f"{served.results_topic}.own.{job}"


class TestAwayBroker:
    pytestmark = kafka_home_needed("the broker is stopped and started again")

    def test_the_job_waits_for_it_and_goes_on_by_itself(self, tmp_path: Path) -> None:
        texts = texts_of(600)
        write_table(tmp_path / "in.parquet", texts)
        data = tmp_path / "broker"
        with start_broker("kafka-home", data_dir=data) as broker:
            service = named_service(broker.bootstrap)
            port = int(broker.bootstrap.rpartition(":")[2])
            process = start(
                *("embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--json"),
                *("--column", "text", *service.options(), "--batch-rows", "8"),
                *("--window-requests", "16"),
            )
            reports = _reports(process)
            next(each for each in reports if each["in_flight_requests"] == 16)
        next(each for each in reports if "does not answer since" in (each["waits"] or ""))
        with (
            start_broker("kafka-home", data_dir=data, port=port),
            answering(service),
            process,
        ):
            last = list(reports)[-1]
            assert process.wait(timeout=60) == 0, process.stderr and process.stderr.read()
        assert last["state"] == "done"
        check_out(tmp_path / "out.parquet", texts)
        assert set(service.computed.values()) == {1}


def _reports(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    for each in process.stdout or ():
        yield json.loads(each)
