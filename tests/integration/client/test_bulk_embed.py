"""``headrace bulk embed`` against a real broker, and a stand-in for the service."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.brokers import TestBroker
from tests.integration.client.answering import (
    GRIEF,
    POISON,
    Answering,
    answering,
    named_service,
)
from tests.integration.client.bulk_runs import bulk, check_out, finish, start, texts_of, write_table
from tests.waiting import until

pytestmark = [pytest.mark.kafka]


@pytest.fixture
def service(kafka_broker: TestBroker) -> Answering:
    return named_service(kafka_broker.bootstrap)


@pytest.fixture
def served(service: Answering) -> Iterator[Answering]:
    with answering(service):
        yield service


def test_a_table_is_embedded_and_its_columns_are_carried_along(
    served: Answering, tmp_path: Path
) -> None:
    texts = texts_of(1_000)
    write_table(tmp_path / "in.parquet", texts)
    out = tmp_path / "out.parquet"
    command = ["embed", tmp_path / "in.parquet", out, "--column", "text", *served.options()]
    said = bulk(*command, "--job", "nightly", "--weight", "3")
    assert "1,000 rows" in said
    check_out(out, texts)
    assert served.requests == 16
    job = json.loads((tmp_path / "out.parquet.headrace" / "manifest.json").read_bytes())["job"]
    assert job.startswith("nightly-")
    assert served.headers[0]["headrace-job"] == job
    assert served.headers[0]["headrace-job-weight"] == "3"

    # The same command has nothing left to do, and asks nobody.
    before = out.stat().st_mtime_ns
    assert "nothing is left to do" in bulk(*command, "--job", "nightly", "--weight", "3")
    assert served.requests == 16
    assert out.stat().st_mtime_ns == before


def test_identical_rows_are_computed_once(served: Answering, tmp_path: Path) -> None:
    texts = [f"text {number % 40}" for number in range(2_000)]
    write_table(tmp_path / "in.parquet", texts)
    command = ["embed", tmp_path / "in.parquet", "--column", "text", *served.options()]
    bulk(*command[:2], tmp_path / "out.parquet", *command[2:], "--batch-rows", "8")
    check_out(tmp_path / "out.parquet", texts)
    assert set(served.computed.values()) == {1}
    assert len(served.computed) == 40


@pytest.mark.parametrize("options", [[], ["--unordered"], ["--no-dedupe"]])
def test_killed_at_any_point_it_goes_on_and_computes_nothing_again(
    served: Answering, tmp_path: Path, options: list[str]
) -> None:
    texts = [f"sentence {number * 7 % 2_500} about rivers" for number in range(3_000)]
    write_table(tmp_path / "in.parquet", texts)
    out = tmp_path / "out.parquet"
    command = ["embed", tmp_path / "in.parquet", out, "--column", "text", *served.options()]
    command += ["--batch-rows", "16", "--window-requests", "8", *options]
    processes: list[subprocess.Popen[str]] = []
    kills = iter((10, 60, 110))
    next_kill = [next(kills)]

    def kill(requests: int) -> None:
        if next_kill[0] and requests >= next_kill[0]:
            next_kill[0] = next(kills, 0)
            processes[-1].kill()

    served.on_request = kill
    killed = 0
    while True:
        processes.append(start(*command))
        code, _, err = finish(processes[-1])
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        killed += 1
    assert killed == 3
    if "--unordered" in options:
        table = pq.read_table(out)
        rows = sorted(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
        assert rows == list(enumerate(texts))
    else:
        check_out(out, texts)
    once = 1 if "--no-dedupe" not in options else 2
    repeated = sum(count - once for count in served.computed.values() if count > once)
    # What was on its way to the brokers at a kill may be sent again.
    assert repeated <= killed * 8 * 16


def test_results_that_came_meanwhile_are_read_and_nothing_is_asked_again(
    service: Answering, tmp_path: Path
) -> None:
    texts = texts_of(600)
    write_table(tmp_path / "in.parquet", texts)
    command = ["embed", tmp_path / "in.parquet", tmp_path / "out.parquet", *service.options()]
    command += ["--column", "text", "--batch-rows", "10"]
    for _ in range(2):
        process = start(*command)
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        assert code == 130, err
        assert "the same command goes on" in err
        assert f"nobody consumes {service.requests_topic}" in err
    with answering(service):
        until(lambda: sum(service.computed.values()) >= 600, "the answers to 600 texts")
        before = service.requests
        bulk(*command)
        assert service.requests == before == 60
    check_out(tmp_path / "out.parquet", texts)


def test_a_service_that_does_not_run_is_named_within_5_s(
    service: Answering, tmp_path: Path
) -> None:
    write_table(tmp_path / "in.parquet", texts_of(10))
    began = time.monotonic()
    said = bulk(
        *("embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"),
        *(*service.options(), "--no-wait"),
        status=2,
    )
    assert f"nobody consumes {service.requests_topic}: is the service up?" in said
    assert "the same command goes on" in said
    assert time.monotonic() - began < 12


def test_rows_that_cannot_be_sent_or_answered_cost_no_other_row_anything(
    served: Answering, tmp_path: Path
) -> None:
    texts: list[str | None] = [*texts_of(200)]
    texts[17], texts[60], texts[61], texts[120] = None, "", f"{POISON} 1", f"{GRIEF} 1"
    texts[121] = f"{GRIEF} 1"
    write_table(tmp_path / "in.parquet", texts)
    out = tmp_path / "out.parquet"
    command = ["embed", tmp_path / "in.parquet", out, "--column", "text", *served.options()]
    said = bulk(*command, status=3)
    assert "5 rows failed" in said
    assert "--retry-failed" in said
    good = [each for number, each in enumerate(texts) if number not in {17, 60, 61, 120, 121}]
    check_out(out, good)
    failed = Path(f"{out}.failed.jsonl").read_text().splitlines()
    rows = {line["row"]: line for line in map(json.loads, failed)}
    assert sorted(rows) == [17, 60, 61, 120, 121]
    assert rows[61]["message"] == "input: is poison"
    assert rows[120]["retryable"]
    assert not rows[17]["retryable"]

    served.is_healed = True
    requests = served.requests
    said = bulk(*command, "--retry-failed", status=3)
    healed = [each for number, each in enumerate(texts) if number not in {17, 60, 61}]
    check_out(out, healed)
    assert "3 rows failed" in said
    assert served.requests - requests <= 3
    assert bulk(*command, status=3).count("nothing is left to do") == 1


def test_the_input_may_grow(served: Answering, tmp_path: Path) -> None:
    lines = [json.dumps({"text": each}) for each in texts_of(300)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text("\n".join(lines[:200]) + "\n")
    command = ["embed", source, out, "--column", "text", *served.options()]
    bulk(*command)
    check_out(out, texts_of(200))
    with source.open("a") as file:
        file.write("\n".join(lines[200:]) + "\n")
    bulk(*command)
    check_out(out, texts_of(300))
    assert set(served.computed.values()) == {1}


def test_another_job_in_the_same_place_is_an_error_that_says_what_differs(
    served: Answering, tmp_path: Path
) -> None:
    write_table(tmp_path / "in.parquet", texts_of(50))
    command = ["embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"]
    command += served.options()
    bulk(*command)
    said = bulk(*command, "--dimensions", "4", status=2)
    assert "parameters.dimensions: unset there, 4 here" in said
    assert "--restart" in said
    bulk(*command, "--prompt-name", "query", "--restart")
    check_out(tmp_path / "out.parquet", texts_of(50))


def test_an_output_that_is_no_jobs_is_not_written_over(served: Answering, tmp_path: Path) -> None:
    write_table(tmp_path / "in.parquet", texts_of(5))
    out = tmp_path / "out.parquet"
    out.write_bytes(b"mine")
    command = ["embed", tmp_path / "in.parquet", out, "--column", "text", *served.options()]
    assert "exists already" in bulk(*command, status=2)
    assert out.read_bytes() == b"mine"
    bulk(*command, "--restart")
    check_out(out, texts_of(5))


def test_a_topic_that_does_not_exist_is_named(service: Answering, tmp_path: Path) -> None:
    write_table(tmp_path / "in.parquet", texts_of(5))
    command = ["embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"]
    command += ["--bootstrap", service.bootstrap, "--requests-topic", "no.such"]
    said = bulk(*command, "--results-topic", service.results_topic, status=2)
    assert "there is no topic no.such" in said


def test_json_progress_is_one_object_a_second(served: Answering, tmp_path: Path) -> None:
    served.delay_s = 0.05
    write_table(tmp_path / "in.parquet", texts_of(400))
    process = start(
        *("embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"),
        *(*served.options(), "--batch-rows", "8", "--json"),
    )
    code, out, err = finish(process)
    assert code == 0, err
    reports = [json.loads(line) for line in out.splitlines()]
    assert reports[-1]["rows_done"] == reports[-1]["rows_total"] == 400
    assert reports[-1]["state"] == "done"
    assert any(0 < each["rows_done"] < 400 for each in reports)
    assert reports[-1]["tokens"] == 400


def test_two_processes_do_not_run_one_job(service: Answering, tmp_path: Path) -> None:
    write_table(tmp_path / "in.parquet", texts_of(5))
    command = ["embed", tmp_path / "in.parquet", tmp_path / "out.parquet", "--column", "text"]
    command += service.options()
    first = start(*command)
    state = tmp_path / "out.parquet.headrace" / "state.sqlite"
    until(state.exists, "the job's state")
    said = bulk(*command, status=2)
    assert f"another process ({first.pid}) runs this job" in said
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 130
