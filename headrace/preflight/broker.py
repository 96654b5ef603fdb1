"""Whether the brokers have, or would make, the topics, and let the service's user at them. Pure."""

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from consumer.kafka.admin.admin import TopicInfo
from headrace.preflight.findings import Finding
from headrace.topics import wanted_topics
from schemas.settings.file import Settings

_READ = ("READ", "DESCRIBE")
_WRITE = ("WRITE", "DESCRIBE")


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What brokers said.

    Attributes:
        topics: Each wanted topic; ``None`` where it is missing, or hidden from this user.
        hidden: Topics that this user may not describe.
        uncreatable: Why a missing topic would not be created, by topic.
        topic_rights: What this user may do with a topic that is there; left out where brokers do
            not say it.
        group_rights: The same of groups.
        unfit: Lines on topics that cannot take what is published.
    """

    topics: Mapping[str, TopicInfo | None]
    hidden: frozenset[str] = frozenset()
    uncreatable: Mapping[str, str] = field(default_factory=dict)
    topic_rights: Mapping[str, frozenset[str]] = field(default_factory=dict)
    group_rights: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()


def merged_view(views: Sequence[ClusterView]) -> ClusterView:
    """Return what the brokers of several clusters said, whose topics differ."""
    return ClusterView(
        topics=dict(ChainMap(*(dict(each.topics) for each in views))),
        hidden=frozenset().union(*(each.hidden for each in views)),
        uncreatable=dict(ChainMap(*(dict(each.uncreatable) for each in views))),
        topic_rights=dict(ChainMap(*(dict(each.topic_rights) for each in views))),
        group_rights=dict(ChainMap(*(dict(each.group_rights) for each in views))),
        unfit=tuple(line for each in views for line in each.unfit),
    )


def broker_findings(settings: Settings, view: ClusterView) -> list[Finding]:
    """Return what keeps topics and groups from being used, or that nothing does."""
    findings = [*_topic_findings(settings, view), *_right_findings(settings, view)]
    for line in view.unfit:
        where, _, says = line.partition(": ")
        findings.append(Finding("warning", "topics", where, says))
    return findings


def _topic_findings(settings: Settings, view: ClusterView) -> Iterator[Finding]:
    wanted = wanted_topics(settings)
    there = sorted(topic for topic, info in view.topics.items() if info is not None)
    made = []
    for topic in sorted(set(wanted) - set(there)):
        is_registry = topic == settings.jobs.topic
        if topic in view.hidden:
            fix = "grant it Describe on the topic, or put right kafka.sasl"
            says = "this user may not see it"
        elif topic in view.uncreatable:
            fix = (
                "let an administrator create it (`headrace topics create`), or put right topics."
                "partitions and topics.replication_factor"
            )
            says = f"is missing, and brokers would not create it: {view.uncreatable[topic]}"
        else:
            made.append(topic)
            continue
        if is_registry:
            says += " (jobs are not listed without it; all else works)"
        yield Finding("warning" if is_registry else "error", "topics", topic, says, fix)
    if there:
        yield Finding("ok", "topics", ", ".join(there), "there")
    if made:
        yield Finding("ok", "topics", ", ".join(made), "will be created")


def _right_findings(settings: Settings, view: ClusterView) -> Iterator[Finding]:
    asked = 0
    lacks: dict[str, list[str]] = {}
    for topic, operations in _needed_of_topics(settings):
        rights = view.topic_rights.get(topic)
        if rights is not None:
            asked += 1
            missing = [each.title() for each in operations if each not in rights]
            lacks.setdefault(f"topic {topic}", []).extend(missing)
    for route in settings.routes.values():
        rights = view.group_rights.get(route.group)
        if rights is not None:
            asked += 1
            if "READ" not in rights:
                lacks.setdefault(f"group {route.group}", []).append("Read")
    for where, lacking in lacks.items():
        if lacking:
            names = " and ".join(dict.fromkeys(lacking))
            yield Finding(
                "error", "rights", where, f"this user lacks {names}", "grant it by an ACL"
            )
    if asked and not any(lacks.values()):
        yield Finding("ok", "rights", "topics and groups", "this user may read and write them")


def _needed_of_topics(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    for route in settings.routes.values():
        yield route.requests_topic, _READ
        for topic in (route.results_topic, route.dead_letters_topic, *route.named_reply_topics):
            yield topic, _WRITE
        if route.control_topic is not None:
            yield route.control_topic, _READ
