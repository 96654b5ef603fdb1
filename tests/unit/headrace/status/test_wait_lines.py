"""What routes and deployments wait for, as `status` and `up` show it."""

from types import SimpleNamespace

import pytest
from ray import serve

from consumer.engine.waiting.waits import no_leader, open_transaction, topic_gone
from consumer.kafka.client.producers import OpenProducer
from consumer.ports import TopicPartition
from consumer.replica.reports import ReplicaSnapshot, RouteStatus
from headrace.cli.route_table import route_report, waits_view
from headrace.service.deployment_lines import MOST_CHARACTERS, missing_replicas
from headrace.status.client import read_deployments
from headrace.status.open_transactions import ASK_EVERY_S, OpenTransactionLines
from headrace.status.partition_lag import PartitionLag
from headrace.status.report import StatusReport
from tests.simulation import SimulatedClock, simulate
from tests.unit.headrace.cli.test_routes import many_routes, route, settings_of, text_of

BLOCKED = PartitionLag(2, 0, 12, 12, 0, blocked_records=5_000)


def test_lines_stand_in_the_report_and_below_the_table() -> None:
    statuses = {"r0": RouteStatus(route="r0", waits=[topic_gone("out")])}
    report = route_report(settings_of(route("a"), route("b")), None, statuses)
    report["deployments"] = {"model-m": "0 of 1 replicas run: they are starting"}

    assert report["routes"]["r0"]["waits"] == [topic_gone("out")]
    assert report["routes"]["r1"]["waits"] == []
    shown = text_of(waits_view(report)).splitlines()
    assert shown == [
        "r0: topic out is gone: create it (`headrace topics create`)",
        "model-m: 0 of 1 replicas run: they are starting",
    ]
    assert text_of(waits_view(route_report(settings_of(route("a")), None, None))) == ""


def test_of_a_transaction_the_line_of_the_brokers_counts() -> None:
    seen, told = (open_transaction("a.in", 2, 12, n, "") for n in (4_990, 5_000))
    statuses = {"r0": RouteStatus(route="r0", waits=[seen, no_leader("out", 0)])}
    report = route_report(settings_of(route("a")), None, statuses, {"r0": [told]})
    assert report["routes"]["r0"]["waits"] == [told, no_leader("out", 0)]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("routes", [1, 4, 12])
def test_lines_fit_at_any_width(routes: int, width: int) -> None:
    report = many_routes(routes)
    for each in report["routes"].values():
        each["waits"] = [open_transaction("team-search.documents.3", 2, 12, 5_000, "; x" * 80)]
    shown = text_of(waits_view(report), width)
    assert shown.count("embeddings-production-eu-west-") == routes
    assert max(map(len, shown.splitlines())) <= width


def test_replicas_that_say_the_same_are_counted() -> None:
    report = StatusReport()
    for replica in ("a", "b"):
        report.add(ReplicaSnapshot(route="r", replica=replica, waits=[topic_gone("out")]), 0)
    report.add(ReplicaSnapshot(route="r", replica="c"), 0)
    status = RouteStatus.from_dict(report.routes(0)["r"].to_dict())
    assert status.waits == [f"{topic_gone('out')} (2 consumers)"]
    assert report.routes(60)["r"].waits == []


def test_whose_transaction_it_is_is_asked_now_and_then() -> None:
    async def main() -> None:
        asked: list[int] = []
        clock = SimulatedClock()

        async def ask(
            _kafka: object, partitions: object, _timeout_s: float
        ) -> dict[TopicPartition, OpenProducer]:
            asked.append(len(list(partitions)))  # type: ignore[call-overload]
            last_ms = clock.epoch_ms() - 240_000
            return {TopicPartition("a.in", 2): OpenProducer(12, 1_001, last_ms)}

        lines = OpenTransactionLines(settings_of(route("a")), clock, ask)
        assert await lines.of({"r0": [PartitionLag(0, 0, 9, 9, 0)]}) == {}
        for _ in range(int(ASK_EVERY_S)):
            (line,) = (await lines.of({"r0": [BLOCKED]}))["r0"]
        assert asked == [1]
        assert line.startswith(
            "a.in/2 is held at offset 12 by an open transaction: 5,000 records wait for its end; "
            "producer 1001 wrote last 4 min ago, and if it is gone, this ends it: "
        )
        assert "abort --topic a.in --partition 2 --start-offset 12`" in line

        later = PartitionLag(2, 0, 60, 12, 0, blocked_records=7)
        (line,) = (await lines.of({"r0": [later]}))["r0"]
        assert line == open_transaction("a.in", 2, 60, 7)  # another's by now

    simulate(main())


@pytest.mark.parametrize(
    ("status", "states", "message", "expected"),
    [
        ("HEALTHY", {"RUNNING": 1, "STARTING": 1}, "", None),
        ("UPDATING", {"RUNNING": 2, "STOPPING": 1}, "", None),
        ("UPDATING", {"RUNNING": 1, "STARTING": 2}, "", "1 of 3 replicas run: they are starting"),
        ("UPDATING", {}, "no GPU is free", "0 of 1 replicas run: no GPU is free"),
        (
            "DEPLOY_FAILED",
            {},
            "Traceback\nOSError: no weights",
            "OSError: no weights (Serve tries no",
        ),
        ("UNHEALTHY", {"STARTING": 1}, "Traceback:\n  in x\nSourceError: gone\n", "SourceError"),
    ],
)
def test_a_deployment_that_lacks_replicas_is_told(
    status: str, states: dict[str, int], message: str, expected: str | None
) -> None:
    line = missing_replicas(status, states, message)
    assert (line is None) is (expected is None)
    assert (expected or "") in (line or "")


def test_what_serve_says_is_shortened() -> None:
    line = missing_replicas("UPDATING", {"STARTING": 1}, "x" * 1_000)
    assert line is not None
    assert len(line) < MOST_CHARACTERS + 80


def test_the_states_of_replicas_may_be_names(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = SimpleNamespace(
        status=SimpleNamespace(value="DEPLOY_FAILED"),
        replica_states={"STOPPING": 1},
        message="OSError: no weights",
    )
    application = SimpleNamespace(deployments={"model-m": deployment}, message="")
    status = SimpleNamespace(applications={"headrace-model-m": application})
    monkeypatch.setattr(serve, "status", lambda: status)

    assert "OSError: no weights" in read_deployments()["model-m"]
