"""Looks at everything around a service: what a start needs, and what harms one that runs."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aiokafka import errors

from consumer.kafka.admin.examining import ClusterCondition, UnreadAge, examine, unread_ages
from consumer.kafka.client.connection import has_c_extensions
from consumer.kafka.transactions.names import transactional_prefix_of
from consumer.ports import SourceError
from handoff.clock import Clock, SystemClock
from headrace.doctor.clocks import clock_findings
from headrace.doctor.cluster import cluster_findings
from headrace.doctor.machine import machine_findings
from headrace.doctor.ray_probe import probe_ray, service_of
from headrace.doctor.service import ray_findings, service_findings
from headrace.doctor.this_machine import read_clock, read_machine
from headrace.doctor.topics import topic_findings, unread_findings
from headrace.doctor.tracing import tracing_findings
from headrace.doctor.versions import installed_facts, version_findings
from headrace.preflight.findings import Finding, errors_of, merged
from headrace.preflight.looking import look
from headrace.topics import ClusterTopics, topics_by_cluster
from schemas.settings.file import Settings
from schemas.settings.secrets import KAFKA

TIMEOUT_S = 20.0
_SEE_LOGS = "see the brokers' logs, and what this user may describe"
_HALF, _MOST = 0.5, 0.9
"""Shares of a topic's retention."""


def look_around(settings: Settings, clock: Clock | None = None) -> list[Finding]:
    """Return what was found, ordered by subject; takes some seconds, and with generators some ten.

    It changes nothing.
    """
    clock = clock or SystemClock()
    with ThreadPoolExecutor(1) as others:
        asked = others.submit(probe_ray)
        needs = look(settings)
        ray = asked.result()
    has_broker = not any(each.about == "broker" and each.level == "error" for each in needs)
    is_there = has_broker and any(each.about in ("topics", "rights") for each in needs)
    found = [
        *needs,
        *(asyncio.run(look_at_clusters(settings, clock)) if is_there else ()),
        *version_findings(installed_facts(has_fast_records=has_c_extensions())),
        *machine_findings(read_machine(settings)),
        *tracing_findings(settings.tracing),
        # The look at what a start needs says it too.
        *(() if errors_of(each for each in needs if each.about == "Ray") else ray_findings(ray)),
        *service_findings(service_of(ray), ray.no_service),
    ]
    return merged(found)


async def look_at_clusters(settings: Settings, clock: Clock) -> list[Finding]:
    """Return what is wrong with brokers, topics and clocks."""
    found: list[Finding] = []
    for cluster in topics_by_cluster(settings):
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found += await _look_at(settings, cluster, clock)
        except TimeoutError:
            says = f"brokers have not told of topics and settings within {TIMEOUT_S:g} s"
            found.append(Finding("error", "broker", cluster.section, says, _SEE_LOGS))
        except (SourceError, errors.KafkaError) as error:
            says = f"brokers do not tell of themselves: {error}"
            found.append(Finding("error", "broker", cluster.section, says, _SEE_LOGS))
    return found


async def _look_at(settings: Settings, topics: ClusterTopics, clock: Clock) -> list[Finding]:
    is_read = topics.section == KAFKA
    cluster = await examine(
        topics.kafka, sorted(topics.wanted), _transactional_id(settings) if is_read else None
    )
    unknown = [topic for topic, each in cluster.topics.items() if not each.settings]
    return [
        *cluster_findings(settings, cluster, topics.section),
        *topic_findings(settings, cluster),
        *(unread_findings(settings, await _ages(settings, cluster, clock)) if is_read else ()),
        *_unknown(unknown),
        *clock_findings(read_clock(clock), cluster.topics),
    ]


def _unknown(topics: list[str]) -> list[Finding]:
    if not topics:
        return []
    says = "brokers do not tell this user their settings, so these were not looked at"
    fix = "grant it DescribeConfigs on the topics"
    return [Finding("warning", "topics", ", ".join(topics), says, fix)]


def _transactional_id(settings: Settings) -> str | None:
    """Return an id that an exactly-once route uses; a look-up of it makes nothing."""
    for route in settings.routes.values():
        if route.delivery == "exactly_once":
            return f"{transactional_prefix_of(route.group, route.requests_topic)}0"
    return None


async def _ages(
    settings: Settings, cluster: ClusterCondition, clock: Clock
) -> dict[str, UnreadAge]:
    now_ms = clock.epoch_ms()
    found = {}
    for name, route in settings.routes.items():
        topic = cluster.topics.get(route.requests_topic)
        kept_ms = -1 if topic is None else int(topic.settings.get("retention.ms", -1))
        if kept_ms > 0:
            half_ms, most_ms = (int(now_ms - share * kept_ms) for share in (_HALF, _MOST))
            found[name] = await unread_ages(
                settings.kafka, route.group, route.requests_topic, half_ms, most_ms
            )
    return found
