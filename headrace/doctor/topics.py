"""Settings of topics that lose records or turn them away. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consumer.kafka.admin.examining import ClusterCondition, TopicCondition, UnreadAge
from headrace.preflight.findings import Finding
from schemas.settings.file import RouteSettings, Settings

_HOUR_MS = 3_600_000
LEAST_LETTERS_MS = 24 * _HOUR_MS
"""Dead letters that are deleted sooner are gone before somebody has slept."""
FOREVER = -1
_OVERHEAD_BYTES = 65_536
"""Of a batch around a value."""


@dataclass(frozen=True, slots=True)
class _Topic:
    """A topic and what the service uses it for: ``requests``, ``results`` or ``dead letters``."""

    name: str
    use: str
    route: str
    condition: TopicCondition

    @property
    def settings(self) -> Mapping[str, str]:
        return self.condition.settings

    def number(self, setting: str) -> int | None:
        try:
            return int(self.settings[setting])
        except (KeyError, ValueError):
            return None


def topic_findings(settings: Settings, cluster: ClusterCondition) -> list[Finding]:
    """Return what is wrong with the routes' topics, or one finding that nothing is."""
    topics = list(_topics(settings, cluster))
    found = []
    for topic in topics:
        found += [
            *_copies(topic, many_brokers=len(cluster.brokers) > 1),
            *_elections(topic),
            *_cleanup(topic),
            *_retention(topic, cluster.settings),
            *_sizes(topic, settings.routes[topic.route]),
            *_leaders(topic),
        ]
    if topics and not found:
        names = ", ".join(each.name for each in topics)
        found.append(Finding("ok", "topics", names, "no setting loses records"))
    return found


def unread_findings(settings: Settings, ages: Mapping[str, UnreadAge]) -> list[Finding]:
    """Return a finding for each route whose unread records retention will delete."""
    found = []
    for name, age in ages.items():
        topic = settings.routes[name].requests_topic
        fix = "raise retention.ms of the topic now, and see `headrace status` for why it is behind"
        if age.before_most:
            says = "records that are not done are older than nine tenths of retention.ms, and are "
            says += "deleted soon"
            found.append(Finding("error", "topics", topic, says, fix))
        elif age.before_half:
            says = "records that are not done are older than half of retention.ms"
            found.append(Finding("warning", "topics", topic, says, fix))
    return found


def _topics(settings: Settings, cluster: ClusterCondition) -> Iterator[_Topic]:
    seen = set()
    for name, route in settings.routes.items():
        for topic, use in (
            (route.requests_topic, "requests"),
            (route.results_topic, "results"),
            (route.dead_letters_topic, "dead letters"),
        ):
            condition = cluster.topics.get(topic)
            # Routes may share a topic, and a pipeline's results are the next one's requests.
            if condition is not None and (topic, use) not in seen:
                seen.add((topic, use))
                yield _Topic(topic, use, name, condition)


def _copies(topic: _Topic, *, many_brokers: bool) -> Iterator[Finding]:
    copies, least = topic.condition.copies, topic.number("min.insync.replicas")
    if copies == 1:
        where = "another broker" if many_brokers else "a second broker"
        yield Finding(
            "warning",
            "topics",
            topic.name,
            "has a replication factor of 1: the disk of one broker is its only copy",
            f"reassign its partitions to {where} (`kafka-reassign-partitions.sh`); 3 copies and "
            "min.insync.replicas=2 lose nothing with one broker",
        )
    elif least == 1:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has min.insync.replicas=1 with {copies} copies: an acknowledged record may be on "
            "one broker only, and is lost with it",
            "set min.insync.replicas=2",
        )
    if least is not None and least > copies:
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"has min.insync.replicas={least} and {copies} copies: brokers refuse every record",
            f"set min.insync.replicas to {max(1, copies - 1)}, or add copies",
        )
    elif least is not None and copies > 1 and least == copies:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has min.insync.replicas={least} and {copies} copies: nothing can be written while "
            "one broker is away",
            f"set min.insync.replicas to {copies - 1}",
        )


def _elections(topic: _Topic) -> Iterator[Finding]:
    if topic.settings.get("unclean.leader.election.enable") == "true":
        yield Finding(
            "warning",
            "topics",
            topic.name,
            "has unclean.leader.election.enable=true: a broker that was behind may become leader, "
            "and acknowledged records are gone",
            "set unclean.leader.election.enable=false",
        )


def _cleanup(topic: _Topic) -> Iterator[Finding]:
    # Of what is published `check` says it: brokers refuse it.
    if topic.use == "requests" and "compact" in topic.settings.get("cleanup.policy", ""):
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"has cleanup.policy={topic.settings['cleanup.policy']}: of requests with one key only "
            "the last is kept, also before the others are read",
            "set cleanup.policy=delete",
        )


def _retention(topic: _Topic, broker: Mapping[str, str]) -> Iterator[Finding]:
    kept_ms = topic.number("retention.ms")
    if topic.use == "dead letters" and kept_ms is not None and 0 <= kept_ms < LEAST_LETTERS_MS:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has retention.ms={kept_ms}: dead letters are deleted after {_time(kept_ms)}",
            "raise it to some days, so that somebody can replay them",
        )
    if topic.use != "requests":
        return
    kept_bytes = topic.number("retention.bytes")
    if kept_bytes is not None and kept_bytes != FOREVER:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has retention.bytes={kept_bytes}: a backlog above that is deleted before it is read, "
            "whatever its age",
            "set retention.bytes=-1 and retention.ms to what a backlog may take, or have producers "
            "wait",
        )
    try:
        offsets_ms = int(broker["offsets.retention.minutes"]) * 60_000
    except (KeyError, ValueError):
        return
    if kept_ms is not None and (kept_ms == FOREVER or kept_ms > offsets_ms):
        kept = "for ever" if kept_ms == FOREVER else f"for {_time(kept_ms)}"
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"keeps records {kept}, and brokers forget a stopped group's offsets after "
            f"{_time(offsets_ms)}: a service that was away for longer does all of them again",
            "raise the brokers' offsets.retention.minutes above it",
        )


def _sizes(topic: _Topic, route: RouteSettings) -> Iterator[Finding]:
    largest = topic.number("max.message.bytes")
    limit = route.limits.max_request_bytes
    if topic.use == "requests" and largest is not None and largest > limit + _OVERHEAD_BYTES:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"takes messages of {largest:,} bytes, and routes.{topic.route}.limits."
            f"max_request_bytes is {limit:,}: requests between are dead letters",
            "raise the one, or lower the other so that producers hear of it",
        )


def _leaders(topic: _Topic) -> Iterator[Finding]:
    condition = topic.condition
    if condition.leaderless:
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"has no leader of partitions {_numbers(condition.leaderless)}: they are neither read "
            "nor written",
            "bring back a broker that has a replica of them",
        )
    if condition.behind:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has replicas that are not in sync, of partitions {_numbers(condition.behind)}",
            "see the logs of the brokers that should have them; one may be away",
        )


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"


def _time(time_ms: int) -> str:
    if time_ms >= 48 * _HOUR_MS:
        return f"{time_ms / (24 * _HOUR_MS):.0f} days"
    if time_ms >= _HOUR_MS:
        return f"{time_ms / _HOUR_MS:.0f} h"
    return f"{time_ms / 60_000:.0f} min"
