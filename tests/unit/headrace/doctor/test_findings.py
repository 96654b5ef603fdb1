"""What the doctor finds wrong, each with its fix; facts are made up."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from consumer.kafka.admin.examining import ClusterCondition, TopicCondition, UnreadAge
from headrace.doctor.clocks import OwnClock, clock_findings
from headrace.doctor.cluster import cluster_findings, kafka_version
from headrace.doctor.machine import Disk, Machine, Port, machine_findings
from headrace.doctor.ray_probe import RayFacts
from headrace.doctor.service import ray_findings, service_findings
from headrace.doctor.topics import topic_findings, unread_findings
from headrace.doctor.tracing import tracing_findings
from headrace.doctor.versions import InstalledFacts, version_findings
from headrace.overview.snapshot import Overview
from headrace.preflight.findings import Finding, merged
from headrace.preflight.table import findings_list
from schemas.settings.file import Settings
from schemas.settings.tracing import TracingSettings
from tests.overviews import an_overview

GIB = 2**30
ROUTE = {
    "model": "m",
    "requests_topic": "in",
    "results_topic": "out",
    "dead_letters_topic": "dead",
    "group": "g",
}


def settings_of(**route: Any) -> Settings:
    return Settings.model_validate(
        {
            "models": {"m": {"kind": "embedder", "source": "wheel:x"}},
            "routes": {"r": {**ROUTE, **route}},
        }
    )


EXACTLY_ONCE = settings_of(delivery="exactly_once")
SAFE = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "max.message.bytes": "1048588",
}
WELL = TopicCondition(partitions=4, copies=3, settings=SAFE)
BROKERS = ("b1:9092", "b2:9092", "b3:9092")
APIS = {1: (4, 18), 9: (1, 10)}


def cluster(
    topic: str = "in",
    settings: Mapping[str, str] | None = None,
    broker: Mapping[str, str] | None = None,
    apis: Mapping[int, tuple[int, int]] | None = None,
    refused: bool | None = None,
    **condition: Any,
) -> ClusterCondition:
    topics = {"in": WELL, "out": WELL, "dead": WELL}
    topics[topic] = replace(WELL, settings={**SAFE, **(settings or {})}, **condition)
    return ClusterCondition(
        brokers=BROKERS,
        apis=APIS if apis is None else apis,
        settings=broker or {},
        topics=topics,
        transactional_ids_refused=refused,
    )


def one(findings: Iterable[Finding]) -> Finding:
    """Return the one finding that is not ok; each of those has a fix."""
    [found] = [each for each in findings if each.level != "ok"]
    assert found.fix
    return found


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (cluster(copies=1), "error", "min.insync.replicas=2 and 1 copies: brokers refuse"),
        (
            cluster(copies=1, settings={"min.insync.replicas": "1"}),
            "warning",
            "replication factor of 1: the disk of one broker",
        ),
        (
            cluster("dead", settings={"min.insync.replicas": "1"}),
            "warning",
            "min.insync.replicas=1 with 3 copies: an acknowledged record may be on one",
        ),
        (
            cluster(settings={"min.insync.replicas": "3"}),
            "warning",
            "nothing can be written while one broker is away",
        ),
        (
            cluster("out", settings={"unclean.leader.election.enable": "true"}),
            "warning",
            "acknowledged records are gone",
        ),
        (
            cluster(settings={"cleanup.policy": "compact,delete"}),
            "error",
            "only the last is kept",
        ),
        (
            cluster(settings={"retention.bytes": "1073741824"}),
            "warning",
            "deleted before it is read",
        ),
        (
            cluster("dead", settings={"retention.ms": "3600000"}),
            "warning",
            "dead letters are deleted after 1 h",
        ),
        (
            cluster(broker={"offsets.retention.minutes": "1440"}),
            "warning",
            "keeps records for 7 days, and brokers forget a stopped group's offsets after 24 h",
        ),
        (
            cluster(settings={"retention.ms": "-1"}, broker={"offsets.retention.minutes": "10080"}),
            "warning",
            "keeps records for ever",
        ),
        (
            cluster(settings={"max.message.bytes": "10000000"}),
            "warning",
            "requests between are dead letters",
        ),
        (cluster(leaderless=(0, 3)), "error", "no leader of partitions 0, 3"),
        (
            cluster(behind=tuple(range(10))),
            "warning",
            "not in sync, of partitions 0, 1, 2, 3, 4, 5, 6, 7 and 2 more",
        ),
    ],
)
def test_settings_of_topics_that_lose_records(
    found: ClusterCondition, level: str, words: str
) -> None:
    findings = topic_findings(settings_of(), found)
    if level == "error" and "refuse" in words:
        findings = [each for each in findings if each.level != "warning"]
    finding = one(findings)
    assert finding.level == level
    assert words in str(finding)


def test_topics_that_lose_nothing_are_told_too() -> None:
    [finding] = topic_findings(settings_of(), cluster())
    assert (finding.level, finding.where) == ("ok", "in, out, dead")


def test_a_topic_that_routes_share_is_told_once() -> None:
    shared = Settings.model_validate(
        {
            "models": {"m": {"kind": "embedder", "source": "wheel:x"}},
            "routes": {
                "r": ROUTE,
                "s": {**ROUTE, "requests_topic": "in2", "group": "h"},
            },
        }
    )
    one(topic_findings(shared, cluster("dead", settings={"retention.ms": "1000"})))


@pytest.mark.parametrize(
    ("age", "level"),
    [
        (UnreadAge(before_half=True), "warning"),
        (UnreadAge(before_half=True, before_most=True), "error"),
    ],
)
def test_records_that_retention_deletes_unread(age: UnreadAge, level: str) -> None:
    finding = one(unread_findings(settings_of(), {"r": age}))
    assert (finding.level, finding.where) == (level, "in")
    assert unread_findings(settings_of(), {"r": UnreadAge()}) == []


@pytest.mark.parametrize(
    ("settings", "found", "level", "words"),
    [
        (
            settings_of(),
            cluster(broker={"offset.metadata.max.bytes": "1024"}),
            "error",
            "they refuse commits with a larger completion map; set it to 1024",
        ),
        (
            settings_of(membership={"session_timeout_ms": 10_000}),
            cluster(broker={"group.min.session.timeout.ms": "30000"}),
            "error",
            "its consumers cannot join",
        ),
        (
            EXACTLY_ONCE,
            cluster(broker={"transaction.max.timeout.ms": "30000"}),
            "error",
            "transaction.max.timeout.ms=30000: they refuse its transactions",
        ),
        (EXACTLY_ONCE, cluster(refused=True), "error", "transactional ids headrace-g/in/*"),
        (
            EXACTLY_ONCE,
            cluster(apis={1: (0, 11), 9: (0, 5)}),
            "error",
            "use Apache Kafka 2.5 or later",
        ),
        (
            EXACTLY_ONCE,
            cluster(broker={"transaction.state.log.replication.factor": "1"}),
            "warning",
            "groups' transactions are lost",
        ),
        (
            settings_of(),
            cluster(broker={"offsets.topic.replication.factor": "1"}),
            "warning",
            "groups' offsets are lost",
        ),
        (settings_of(), cluster(apis={2: (0, 1)}), "warning", "do not say which requests"),
    ],
)
def test_brokers_that_the_routes_cannot_work_with(
    settings: Settings, found: ClusterCondition, level: str, words: str
) -> None:
    finding = one(cluster_findings(settings, found))
    assert finding.level == level
    assert words in str(finding)


def test_brokers_that_fit_are_ok() -> None:
    found = cluster_findings(EXACTLY_ONCE, cluster(refused=False))
    assert {each.level for each in found} == {"ok"}
    assert "3 brokers of Kafka 4.1 or later" in str(found[0])
    # Groups and transactions are not on the cluster that only takes results.
    small = cluster(broker={"offset.metadata.max.bytes": "1"})
    assert {each.level for each in cluster_findings(settings_of(), small, "results_kafka")} == {
        "ok"
    }


@pytest.mark.parametrize(
    ("fetch", "version"),
    [((4, 18), "4.1"), ((4, 17), "4.0"), ((0, 17), "3.9"), ((0, 13), "3.1"), ((0, 9), None)],
)
def test_brokers_versions_are_known_by_their_requests(
    fetch: tuple[int, int], version: str | None
) -> None:
    assert kafka_version({1: fetch}) == version


NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("clock", "newest_ms", "kind", "words"),
    [
        (OwnClock(NOW_MS), NOW_MS + 60_000, "CreateTime", "60 s from the future: a producer's"),
        (OwnClock(NOW_MS), NOW_MS + 60_000, "LogAppendTime", "a broker's clock is ahead"),
        (OwnClock(NOW_MS, is_synchronized=False), None, "CreateTime", "nothing keeps this clock"),
    ],
)
def test_clocks_that_do_not_agree(
    clock: OwnClock, newest_ms: int | None, kind: str, words: str
) -> None:
    topics = {"in": replace(WELL, newest_ms=newest_ms, settings={"message.timestamp.type": kind})}
    assert words in str(one(clock_findings(clock, topics)))


@pytest.mark.parametrize("newest_ms", [None, NOW_MS + 4_000, NOW_MS - 10**9])
def test_an_old_record_or_none_says_nothing_of_clocks(newest_ms: int | None) -> None:
    topics = {"in": replace(WELL, newest_ms=newest_ms)}
    [finding] = clock_findings(OwnClock(NOW_MS, is_synchronized=True), topics)
    assert finding.level == "ok"
    assert "Kafka tells no time" in finding.says


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (
            InstalledFacts(versions={"headrace": "0.2.0", "headrace-client": "0.1.0"}),
            "error",
            "are of two releases; install headrace-client 0.2.0",
        ),
        (
            InstalledFacts(versions={"ray": "2.61.0"}, requirements=["ray[serve]>=2.60,<2.61"]),
            "warning",
            "ray: 2.61.0 is installed, and this release was tested with <2.61,>=2.60",
        ),
        (InstalledFacts(versions={}, has_fast_records=False), "warning", "30 times slower"),
    ],
)
def test_versions_that_do_not_fit(facts: InstalledFacts, level: str, words: str) -> None:
    finding = one(version_findings(facts))
    assert finding.level == level
    assert words in str(finding)


def test_versions_that_fit_and_extras_that_are_not_there() -> None:
    facts = InstalledFacts(
        versions={"headrace": "1", "headrace-client": "1", "torch": "2.13.0+cpu", "Python": "3.11"},
        requirements=["torch>=2.13", "vllm>=0.14; extra == 'gpu'", "no such thing <<"],
    )
    [finding] = version_findings(facts)
    assert finding == Finding(
        "ok", "versions", "installed", "headrace 1, torch 2.13.0+cpu, Python 3.11"
    )


FULL = Disk(path="/tmp/ray", use="Ray", total_bytes=100 * GIB, free_bytes=4 * GIB)


@pytest.mark.parametrize(
    ("machine", "level", "words"),
    [
        (Machine(files=(1_024, 1_024)), "error", "run out of them; raise the hard limit"),
        (Machine(files=(1_024, 65_536)), "warning", "run `ulimit -n 65536` before"),
        (
            Machine(memory_bytes=8 * GIB, available_bytes=GIB),
            "warning",
            "1.0 GiB of 8.0 GiB are available",
        ),
        (Machine(shared_bytes=64 * 2**20), "warning", "is 64 MiB (/dev/shm)"),
        (Machine(disks=[FULL]), "error", "96% full, 4.0 GiB free, for Ray"),
        (Machine(disks=[replace(FULL, free_bytes=8 * GIB)]), "warning", "92% full"),
        (
            Machine(
                ports=[
                    Port(
                        number=9092,
                        use="the local broker",
                        holder="nginx",
                        expected=("java",),
                        setting="kafka.bootstrap",
                    )
                ]
            ),
            "error",
            "nginx listens there, where the local broker would; stop that program, or set another",
        ),
        (
            Machine(ports=[Port(number=8265, use="Ray's dashboard", holder="nginx")]),
            "warning",
            "stop that program",
        ),
    ],
)
def test_machines_without_room(machine: Machine, level: str, words: str) -> None:
    finding = one(machine_findings(machine))
    assert finding.level == level
    assert words in str(finding)


def test_a_machine_with_room_is_ok() -> None:
    machine = Machine(
        files=(65_536, 65_536),
        memory_bytes=32 * GIB,
        available_bytes=16 * GIB,
        shared_bytes=8 * GIB,
        disks=[replace(FULL, free_bytes=50 * GIB)],
        ports=[
            Port(number=6379, use="Ray's head", holder="gcs_server", expected=("gcs_server",)),
            Port(number=8265, use="Ray's dashboard"),
            Port(number=9092, use="the local broker", holder=""),
        ],
    )
    assert [each.level for each in machine_findings(machine)] == ["ok"] * 6


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (RayFacts(runs=None, problem="has not answered within 45 s"), "error", "`ray stop`"),
        (
            RayFacts(runs=None, problem="Version mismatch: Ray: 2.61.0"),
            "error",
            "use the cluster's versions of Ray and Python here",
        ),
        (RayFacts(runs=True, nodes=2, dead_nodes=1), "warning", "1 of 3 have ended"),
    ],
)
def test_a_ray_that_is_not_well(facts: RayFacts, level: str, words: str) -> None:
    finding = one(ray_findings(facts))
    assert finding.level == level
    assert words in str(finding)


def test_no_ray_is_no_fault() -> None:
    assert [each.level for each in ray_findings(RayFacts())] == ["ok"]
    assert service_findings(None, "") == []


def test_what_stands_still_is_found_with_its_reason() -> None:
    found = service_findings(an_overview(), "")

    standing = [each for each in found if each.where == "route summarise"]
    assert [each.level for each in standing] == ["error", "error"]
    assert "model qwen has no replica: 0 of 2 run: CUDA out of memory" in str(standing[0])
    assert [each.level for each in found if each.where == "route classify"] == ["warning"]
    assert [each.where for each in found if each.where.startswith("model-")] == [
        "model-qwen",
        "model-minilm",
    ]
    well = Overview(at_ms=1, routes=[an_overview().routes[0]])
    assert [each.level for each in service_findings(well, "")] == ["ok"]


def test_what_is_said_of_several_topics_is_said_once() -> None:
    same = [Finding("warning", "topics", name, "has one copy", "add one") for name in "abca"]
    other = Finding("ok", "topics", "a", "there")

    assert merged([*same, other]) == [
        Finding("warning", "topics", "a, b, c", "has one copy", "add one"),
        other,
    ]


def test_a_list_of_findings_fits_80_columns() -> None:
    findings = [
        *topic_findings(settings_of(), cluster(copies=1, settings={"min.insync.replicas": "1"})),
        Finding("ok", "broker", "kafka.bootstrap", "answers"),
    ]
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(findings_list(findings))

    lines = console.export_text().splitlines()
    assert all(len(each) <= 80 for each in lines)
    assert lines[0].split()[:3] == ["warning", "topics", "in:"]
    assert any(each.strip().startswith("→ reassign its partitions") for each in lines)
    assert lines[-1].split() == ["ok", "broker", "kafka.bootstrap:", "answers"]


def test_headers_of_traces_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    tracing = TracingSettings(enabled=True, headers_file=file)

    [missing] = tracing_findings(tracing)
    assert (missing.level, missing.where) == ("warning", "tracing.headers_file")
    assert missing.says == f"{file} cannot be read: No such file or directory"
    assert tracing_findings(tracing.model_copy(update={"enabled": False})) == []
    file.write_text("of-a-collector")
    [bad] = tracing_findings(tracing)
    assert "is not NAME=VALUE" in bad.says
    assert "of-a-collector" not in bad.says
    file.write_text("authorization=Bearer x")
    assert tracing_findings(tracing) == []
