"""Brokers' versions and settings that the routes cannot work with. Pure."""

from collections.abc import Iterator, Mapping

from consumer.kafka.admin.examining import ClusterCondition
from consumer.kafka.transactions.names import transactional_prefix_of
from headrace.preflight.findings import Finding
from schemas.settings.file import RouteSettings, Settings
from schemas.settings.secrets import KAFKA

_FETCH = 1
_BY_FETCH = (
    (18, "4.1"),
    (17, "3.9"),
    (16, "3.7"),
    (15, "3.5"),
    (13, "3.1"),
    (12, "2.7"),
    (11, "2.3"),
    (10, "2.1"),
)
"""The release that brought a version of Fetch; brokers do not say their own."""
_FIRST_WITHOUT_OLD = "4.0"
"""It dropped old versions of requests (KIP-896)."""
_OFFSET_FETCH, _STABLE_OFFSETS = 9, 7


def kafka_version(apis: Mapping[int, tuple[int, int]]) -> str | None:
    """Return the earliest release that a broker may be of, by the requests that it takes."""
    if _FETCH not in apis:
        return None
    least, most = apis[_FETCH]
    version = next((name for number, name in _BY_FETCH if most >= number), None)
    if version == "3.9" and least >= 4:
        return _FIRST_WITHOUT_OLD
    return version


def cluster_findings(
    settings: Settings, cluster: ClusterCondition, section: str = KAFKA
) -> list[Finding]:
    """Return what is wrong with the cluster of this section of the settings."""
    found = [*_version(settings, cluster, section), *_internal_topics(settings, cluster)]
    if section == KAFKA:
        # Groups and transactions are where requests are read.
        found += _metadata(settings, cluster.settings)
        found += _sessions(settings, cluster.settings)
        found += _transactions(settings, cluster)
    return found


def _exactly_once(settings: Settings) -> dict[str, RouteSettings]:
    return {
        name: route for name, route in settings.routes.items() if route.delivery == "exactly_once"
    }


def _version(settings: Settings, cluster: ClusterCondition, where: str) -> Iterator[Finding]:
    version = kafka_version(cluster.apis)
    brokers = f"{len(cluster.brokers)} broker" + ("" if len(cluster.brokers) == 1 else "s")
    if version is None:
        says = f"{brokers}; they do not say which requests they take"
        yield Finding("warning", "versions", where, says, "use Apache Kafka 2.5 or later")
        return
    _least, stable = cluster.apis.get(_OFFSET_FETCH, (0, 0))
    if _exactly_once(settings) and stable < _STABLE_OFFSETS:
        yield Finding(
            "error",
            "versions",
            where,
            f"{brokers} of Kafka {version} or later, without what exactly_once needs: they return "
            "offsets of transactions that are undecided",
            "use Apache Kafka 2.5 or later, or set delivery to at_least_once",
        )
        return
    says = f"{brokers} of Kafka {version} or later, by the requests that they take"
    yield Finding("ok", "versions", where, says)


def _metadata(settings: Settings, broker: Mapping[str, str]) -> Iterator[Finding]:
    ours, theirs = settings.kafka.offset_metadata_max_bytes, broker.get("offset.metadata.max.bytes")
    if theirs is not None and int(theirs) < ours:
        yield Finding(
            "error",
            "broker",
            "kafka.offset_metadata_max_bytes",
            f"is {ours}, and brokers have offset.metadata.max.bytes={theirs}: they refuse commits "
            "with a larger completion map",
            f"set it to {theirs}",
        )


def _sessions(settings: Settings, broker: Mapping[str, str]) -> Iterator[Finding]:
    least = int(broker.get("group.min.session.timeout.ms", 0))
    most = int(broker.get("group.max.session.timeout.ms", 2**31))
    for name, route in settings.routes.items():
        session_ms = route.membership.session_timeout_ms
        if not least <= session_ms <= most:
            yield Finding(
                "error",
                "broker",
                f"routes.{name}.membership.session_timeout_ms",
                f"is {session_ms}, and brokers take {least} to {most}: its consumers cannot join",
                "set it between these, or change the brokers' group.min.session.timeout.ms or "
                "group.max.session.timeout.ms",
            )


def _transactions(settings: Settings, cluster: ClusterCondition) -> Iterator[Finding]:
    routes = _exactly_once(settings)
    most = cluster.settings.get("transaction.max.timeout.ms")
    for name, route in routes.items():
        ours = route.transactions.timeout_ms
        if most is not None and ours > int(most):
            yield Finding(
                "error",
                "broker",
                f"routes.{name}.transactions.timeout_ms",
                f"is {ours}, and brokers have transaction.max.timeout.ms={most}: they refuse its "
                "transactions",
                f"set it to {most} or less, or raise theirs",
            )
    if routes and cluster.transactional_ids_refused:
        prefixes = [
            transactional_prefix_of(each.group, each.requests_topic) for each in routes.values()
        ]
        yield Finding(
            "error",
            "rights",
            f"transactional ids {', '.join(prefixes)}*",
            "this user lacks Describe",
            "grant Write and Describe on transactional ids with these prefixes by an ACL",
        )
    elif routes and cluster.transactional_ids_refused is False:
        says = "this user may see them (whether it may write shows with the first transaction)"
        yield Finding("ok", "rights", "transactional ids", says)


def _internal_topics(settings: Settings, cluster: ClusterCondition) -> Iterator[Finding]:
    if len(cluster.brokers) < 2:
        return
    names = ["offsets.topic.replication.factor"]
    if _exactly_once(settings):
        names += ["transaction.state.log.replication.factor"]
    for name in names:
        if cluster.settings.get(name) == "1":
            what = "offsets" if name.startswith("offsets") else "transactions"
            yield Finding(
                "warning",
                "broker",
                name,
                f"is 1 of {len(cluster.brokers)} brokers: groups' {what} are lost with it",
                "set it to 3 before the internal topic is created, or reassign that topic",
            )
