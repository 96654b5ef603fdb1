"""Which topics a settings file's routes need, and their creation."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from consumer.kafka.admin.admin import TopicAdmin, TopicInfo, TopicReport
from consumer.kafka.admin.topic_settings import (
    CLEANUP_POLICY,
    Published,
    explain_denied,
    unfit_settings,
)
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings, Settings
from schemas.settings.secrets import KAFKA, RESULTS_KAFKA

JOBS_TOPIC_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "cleanup.policy": "compact",
        # Only segments that are closed are compacted, and whoever lists jobs reads all that is
        # not: each job writes some kilobytes a minute.
        "segment.bytes": str(16 * 1024 * 1024),
        "segment.ms": str(3_600_000),
        "min.cleanable.dirty.ratio": "0.1",
    }
)
LOOK_TIMEOUT_S = 5.0
VISIBLE_POLLS = 300
VISIBLE_POLL_S = 0.1


def wanted_topics(settings: Settings) -> dict[str, TopicInfo]:
    """Return each topic that is needed; one that routes share gets the most partitions.

    Among them are reply topics that the settings name; those that match a prefix are their
    readers' to create.
    """
    wanted: dict[str, TopicInfo] = {}
    for route in settings.routes.values():
        want = TopicInfo(route.topics.partitions, route.topics.replication_factor)
        for topic in (
            route.requests_topic,
            route.results_topic,
            route.dead_letters_topic,
            *route.named_reply_topics,
        ):
            wanted[topic] = max(want, wanted.get(topic, want))
        if route.control_topic is not None:
            # Every consumer replica reads all of it, so more partitions would gain nothing.
            want = TopicInfo(1, route.topics.replication_factor)
            wanted[route.control_topic] = max(want, wanted.get(route.control_topic, want))
    copies = max(route.topics.replication_factor for route in settings.routes.values())
    # Whoever lists jobs reads all of it, in one order.
    wanted[settings.jobs.topic] = TopicInfo(1, copies)
    return wanted


class ClusterTopics(NamedTuple):
    """The topics that are needed on one cluster; ``section`` is the settings' name of it."""

    section: str
    kafka: KafkaSettings
    wanted: dict[str, TopicInfo]


def topics_by_cluster(settings: Settings) -> list[ClusterTopics]:
    """Return ``wanted_topics`` by cluster.

    With ``results_kafka``, results, dead letters and reply topics are there; requests, control
    topics and the registry of jobs are on the cluster that the consumers read.
    """
    wanted = wanted_topics(settings)
    if settings.results_kafka is None:
        return [ClusterTopics(KAFKA, settings.kafka, wanted)]
    read = {settings.jobs.topic}
    for route in settings.routes.values():
        read |= {route.requests_topic, *filter(None, (route.control_topic,))}
    written = {
        topic
        for route in settings.routes.values()
        for topic in (route.results_topic, route.dead_letters_topic, *route.named_reply_topics)
    }
    return [
        ClusterTopics(section, kafka, {each: wanted[each] for each in wanted if each in topics})
        for section, kafka, topics in (
            (KAFKA, settings.kafka, read),
            (RESULTS_KAFKA, settings.results_kafka, written),
        )
    ]


def topic_settings(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return the settings of topics that need others than the brokers' own."""
    return {settings.jobs.topic: JOBS_TOPIC_SETTINGS}


def describe_report(report: TopicReport) -> str:
    if report.problem is not None:
        return f"not there, so no job is listed: {report.problem}"
    if report.is_created:
        return f"created with {report.found.partitions} partitions"
    if report.found.partitions == report.wanted.partitions:
        return f"exists with {report.found.partitions} partitions"
    return (
        f"exists with {report.found.partitions} partitions where the settings say "
        f"{report.wanted.partitions}; left as it is, since adding partitions moves keys"
    )


def unfit_topics(settings: Settings, found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line on each topic that cannot take what is published: the setting and the fix."""
    problems: dict[str, None] = {}
    # Routes may share a topic.
    for topic, published in _published(settings):
        problems |= dict.fromkeys(unfit_settings(topic, found.get(topic, {}), published))
    policy = found.get(settings.jobs.topic, {}).get(CLEANUP_POLICY, "compact")
    if "compact" not in policy:
        problems[
            f"topic {settings.jobs.topic}: {CLEANUP_POLICY}={policy} keeps every word of every "
            f"job, and `headrace jobs` reads them all: set {CLEANUP_POLICY}=compact"
        ] = None
    return list(problems)


def _published(settings: Settings) -> Iterator[tuple[str, Published]]:
    """Yield what the service publishes to which topic."""
    for name, route in settings.routes.items():
        where = f"routes.{name}.limits.max_"
        results = Published("results", route.limits.max_result_bytes, f"{where}result_bytes")
        letters = Published("dead letters", route.limits.max_request_bytes, f"{where}request_bytes")
        yield route.results_topic, results
        yield route.dead_letters_topic, letters
        for topic in route.named_reply_topics:
            yield topic, results


def find_unfit_topics(settings: Settings, timeout_s: float = LOOK_TIMEOUT_S) -> list[str]:
    """Return ``unfit_topics`` of the cluster, and the topics whose settings may not be read.

    Raises ``SourceError`` if the cluster cannot be reached within ``timeout_s``, or refuses.
    """
    return asyncio.run(_find_unfit_topics(settings, timeout_s))


async def ask_unfit_topics(
    settings: Settings, admin: TopicAdmin, topics: Collection[str]
) -> list[str]:
    """Return ``unfit_topics`` of those among ``topics``, which are on the cluster of ``admin``."""
    published = {topic for topic, _ in _published(settings)} | {settings.jobs.topic}
    found = await admin.topic_settings(sorted(published.intersection(topics)))
    denied = [explain_denied(topic) for topic in sorted(admin.denied_topics)]
    return denied + unfit_topics(settings, found)


async def _find_unfit_topics(settings: Settings, timeout_s: float) -> list[str]:
    problems: list[str] = []
    for cluster in topics_by_cluster(settings):
        try:
            async with asyncio.timeout(timeout_s), TopicAdmin(cluster.kafka) as admin:
                problems += await ask_unfit_topics(settings, admin, cluster.wanted)
        except TimeoutError as error:
            raise SourceError(
                f"no broker at {cluster.kafka.bootstrap} has answered within {timeout_s:g} s"
            ) from error
    return problems


def create_missing_topics(settings: Settings) -> list[TopicReport]:
    """Create the routes' topics that do not exist; returns when the brokers show all of them."""
    return asyncio.run(_create_missing_topics(settings))


async def _create_registry(
    admin: TopicAdmin, wanted: dict[str, TopicInfo], own: Mapping[str, Mapping[str, str]]
) -> list[TopicReport]:
    """Create the jobs topic; a service whose user may not do that runs without."""
    try:
        return await admin.ensure_topics(wanted, own)
    except SourceError as error:
        return [TopicReport(topic, False, info, info, str(error)) for topic, info in wanted.items()]


async def _create_missing_topics(settings: Settings) -> list[TopicReport]:
    reports: list[TopicReport] = []
    for cluster in topics_by_cluster(settings):
        reports += await _create_missing_on(cluster, settings)
    return reports


async def _create_missing_on(cluster: ClusterTopics, settings: Settings) -> list[TopicReport]:
    wanted = dict(cluster.wanted)
    registry = {
        topic: wanted.pop(topic) for topic in (settings.jobs.topic,) if topic in cluster.wanted
    }
    async with TopicAdmin(cluster.kafka) as admin:
        reports = await admin.ensure_topics(wanted)
        if registry:
            reports += await _create_registry(admin, registry, topic_settings(settings))
        created = [report.topic for report in reports if report.is_created]
        # A broker may answer before its metadata has the topic, and a reader would not find it.
        for _ in range(VISIBLE_POLLS):
            found = await admin.describe_topics(created) if created else {}
            if all(info is not None for info in found.values()):
                return reports
            await asyncio.sleep(VISIBLE_POLL_S)
    raise SourceError(
        "topics were created, but the brokers do not show them yet; see that all brokers are up, "
        "then run it again"
    )
