"""The merge of replicas' snapshots: totals never go back, the silent are dropped."""

from collections.abc import Mapping

import pytest

from consumer.autoscaling.lag_reader import GroupLagSource
from consumer.autoscaling.measures import RouteMeasures
from consumer.autoscaling.task import ScalingTask
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.status.board import StatusBoard
from headrace.status.report import MAX_SILENT_REPLICAS, SILENT_AFTER_S, StatusReport
from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.file import KafkaSettings


def snapshot(
    replica: str, received: int = 0, completed: int = 0, **rest: object
) -> ReplicaSnapshot:
    values = {
        "route": "r",
        "replica": replica,
        "received_records": received,
        "completed_records": completed,
        **rest,
    }
    return ReplicaSnapshot.from_dict(values)


def test_replicas_of_a_route_add_up() -> None:
    report = StatusReport()
    report.add(
        snapshot("a", 10, 4, in_flight_records=6, partitions=[2, 0], model_replicas=["m"]), 0
    )
    report.add(snapshot("b", 5, 5, queued_records=1, partitions=[1], model_replicas=["m", "n"]), 0)

    status = report.routes(0)["r"]

    assert (status.received_records, status.completed_records) == (15, 9)
    assert (status.in_flight_records, status.queued_records) == (6, 1)
    assert status.partitions == [0, 1, 2]
    assert (status.replicas, status.model_replicas) == (2, 2)


def test_routes_are_apart() -> None:
    report = StatusReport()
    report.add(snapshot("a", 1, 1), 0)
    report.add(ReplicaSnapshot(route="other", replica="a", received_records=7), 0)

    assert {name: one.received_records for name, one in report.routes(0).items()} == {
        "r": 1,
        "other": 7,
    }


def test_the_rate_is_over_the_last_seconds() -> None:
    report = StatusReport()
    for second in range(20):
        report.add(snapshot("a", 1000, min(second, 10) * 100), second)
        report.add(snapshot("b", 1000, min(second, 10) * 10), second)

    assert report.routes(19)["r"].rate_records_per_s == 0

    busy = StatusReport()
    for second in range(8):
        busy.add(snapshot("a", 1000, second * 100), second)
        busy.add(snapshot("b", 1000, second * 10), second)

    assert busy.routes(7)["r"].rate_records_per_s == pytest.approx(110)


def test_the_rate_behind_a_lag_is_over_the_time_with_work() -> None:
    report = StatusReport()
    for second in range(100):
        # Idle for 60 s; then 32 records every 20 s.
        completed = 0 if second < 60 else 32 * ((second - 60) // 20)
        report.add(snapshot("a", 1000, completed, in_flight_records=32 * (second >= 60)), second)

    status = report.routes(99)["r"]

    assert status.rate_records_per_s == 0
    assert status.working_records_per_s == pytest.approx(32 / 39, rel=0.03)


def test_tokens_are_told_as_the_mean_of_what_was_measured() -> None:
    report = StatusReport()
    report.add(snapshot("a", 10, 10, measured_records=10, measured_tokens=1_000), 0)
    report.add(snapshot("b", 30, 30, measured_records=30, measured_tokens=9_000), 0)

    assert report.routes(0)["r"].tokens_per_record == 250.0
    assert StatusReport().routes(0) == {}
    assert RouteStatus(route="r").tokens_per_record is None


def test_a_silent_replica_holds_nothing_but_its_counts_stay() -> None:
    report = StatusReport()
    report.add(snapshot("a", 10, 10, in_flight_records=3, partitions=[0], error="ill"), 0)
    assert report.routes(SILENT_AFTER_S)["r"].errors == ["a: ill"]

    status = report.routes(SILENT_AFTER_S + 0.1)["r"]

    assert (status.replicas, status.in_flight_records, status.partitions) == (0, 0, [])
    assert status.errors == []
    assert status.completed_records == 10


def test_a_replica_that_comes_back_is_not_counted_twice() -> None:
    report = StatusReport()
    report.add(snapshot("a", 10, 10), 0)
    report.add(snapshot("a", 12, 12), 60)

    assert report.routes(60)["r"].completed_records == 12


def test_a_replica_that_counts_anew_keeps_what_it_had() -> None:
    report = StatusReport()
    report.add(snapshot("a", 10, 10), 0)
    report.add(snapshot("a", 1, 1), 5)

    status = report.routes(5)["r"]

    assert (status.completed_records, status.replicas) == (11, 1)
    assert status.rate_records_per_s == 0


def test_memory_is_bounded_and_no_count_is_lost() -> None:
    report = StatusReport()
    replicas = MAX_SILENT_REPLICAS + 50
    for number in range(replicas):
        report.add(snapshot(f"a{number}", 1, 1), number * 20.0)

    status = report.routes(replicas * 20.0)["r"]

    assert status.completed_records == replicas
    assert len(report._tracks) <= MAX_SILENT_REPLICAS + 1


class StoppedClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return 0


async def test_the_board_stamps_and_answers() -> None:
    clock = StoppedClock()
    board = StatusBoard(KafkaSettings(), clock=clock)
    await board.report({**snapshot("a", 3, 2).to_dict(), "at_s": 5e9, "of_a_newer_release": 1})

    status = RouteStatus.from_dict((await board.routes())["r"])
    assert (status.replicas, status.completed_records) == (1, 2)

    clock.now_s += SILENT_AFTER_S + 1
    assert (await board.routes())["r"]["replicas"] == 0


async def test_the_board_tells_the_mean_tokens_now_and_then() -> None:
    clock, told = StoppedClock(), list[tuple[str, RouteMeasures]]()
    board = StatusBoard(
        KafkaSettings(), clock=clock, report_measures=lambda *measured: told.append(measured)
    )
    for second, tokens in enumerate([100, 400, 900, 900, 900, 1_000]):
        clock.now_s = float(second)
        counts = {"measured_records": 2, "measured_tokens": tokens}
        await board.report(snapshot("a", second, **counts).to_dict())
    await board.report(ReplicaSnapshot(route="other", replica="b").to_dict())

    assert [(route, each.tokens_per_record) for route, each in told] == [("r", 50.0), ("r", 500.0)]


async def test_the_board_tells_how_much_of_an_ordered_route_can_run() -> None:
    told = list[tuple[str, RouteMeasures]]()
    board = StatusBoard(
        KafkaSettings(),
        clock=StoppedClock(),
        report_measures=lambda *measured: told.append(measured),
    )
    ordered = {"runnable_records": 2, "queued_records": 90, "in_flight_records": 1}
    await board.report(snapshot("a", 1, **ordered).to_dict())
    await board.report(snapshot("b", 1).to_dict())
    status = (await board.routes())["r"]

    assert told == [("r", RouteMeasures(runnable_records=2, held_records=91, reads_on=True))]
    # A replica that does not say it leaves the sum unknown.
    assert status["runnable_records"] is None


async def test_a_store_that_fails_does_not_cost_the_report() -> None:
    def fail(_route: str, _measures: RouteMeasures) -> None:
        raise RuntimeError("no store")

    board = StatusBoard(KafkaSettings(), clock=StoppedClock(), report_measures=fail)
    await board.report(snapshot("a", 1, measured_records=1, measured_tokens=5).to_dict())

    assert (await board.routes())["r"]["measured_tokens"] == 5


async def test_the_board_assigns_each_policy_its_task() -> None:
    assigned: list[Mapping[str, ScalingTask]] = []
    kafka = KafkaSettings(bootstrap="kafka:9092")
    board = StatusBoard(kafka, clock=StoppedClock(), assign_tasks=assigned.append)
    source = {"group": "g", "topic": "t", "from_latest": False, "route": "r", "ordering": "key"}
    task = {"settings": {"max_replicas": 4}, "sources": [source], "is_consumer": True}

    await board.reconfigure({"live": {"scaling": {"consumer-r": task}}})

    [tasks] = assigned
    assert set(tasks) == {"consumer-r"}
    assert tasks["consumer-r"].kafka == kafka
    assert tasks["consumer-r"].settings == AutoscalingSettings(max_replicas=4)
    assert tasks["consumer-r"].sources == (
        GroupLagSource("g", "t", from_latest=False, route="r", ordering="key"),
    )


def test_dead_letters_by_reason_outlive_their_replicas() -> None:
    report = StatusReport()
    report.add(snapshot("a", 10, 10, dead_letters_by_reason={"invalid_json": 2}), 0)
    report.add(snapshot("b", 10, 10, dead_letters_by_reason={"model_failed": 1}), 0)
    report.add(snapshot("a", 1, 1, dead_letters_by_reason={"invalid_json": 1}), 1)

    assert report.routes(1)["r"].dead_letters_by_reason == {"invalid_json": 3, "model_failed": 1}


def test_what_replicas_grew_by_is_kept_by_route() -> None:
    report = StatusReport()
    for second in range(20):
        report.add(snapshot("a", second * 10, second * 10), second)
        report.add(snapshot("b", 10**6 + second, 10**6 + second), second)

    rates = report.histories["r"].rates(10.0, 19.0)

    assert rates is not None
    assert rates.completed_records_per_s == pytest.approx(11.0, rel=0.05)
    assert set(report.live(19.0)) == {"r"}
    assert report.live(19.0 + SILENT_AFTER_S + 1) == {}
