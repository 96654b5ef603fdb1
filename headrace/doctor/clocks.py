"""Whether clocks agree. Pure.

Kafka has no request for a broker's time. What comes near it is the timestamp of the newest record
of a topic: the producer's clock, or the broker's with ``LogAppendTime``. One that lies in the
future shows a clock that is ahead; one in the past shows nothing, as nobody may have written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from consumer.kafka.admin.examining import TopicCondition
from headrace.preflight.findings import Finding

MOST_AHEAD_MS = 5_000
"""Deadlines and the times from end to end are wrong by that much."""


@dataclass(frozen=True, slots=True)
class OwnClock:
    """This machine's clock; ``is_synchronized`` by the kernel, ``None`` where it does not say."""

    now_ms: int
    is_synchronized: bool | None = None


def clock_findings(clock: OwnClock, topics: Mapping[str, TopicCondition]) -> list[Finding]:
    found = [*_own(clock), *_ahead(clock, topics)]
    if not found:
        newest = [each.newest_ms for each in topics.values() if each.newest_ms is not None]
        says = "no record is from the future" if newest else "no record to judge others by"
        if clock.is_synchronized:
            says = f"this machine's clock is synchronized, and {says}"
        found.append(Finding("ok", "clocks", "newest records", f"{says} (Kafka tells no time)"))
    return found


def _own(clock: OwnClock) -> Iterator[Finding]:
    if clock.is_synchronized is False:
        yield Finding(
            "warning",
            "clocks",
            "this machine",
            "the kernel says that nothing keeps this clock right",
            "run chrony or systemd-timesyncd on each node",
        )


def _ahead(clock: OwnClock, topics: Mapping[str, TopicCondition]) -> Iterator[Finding]:
    for name, topic in topics.items():
        if topic.newest_ms is None or topic.newest_ms - clock.now_ms <= MOST_AHEAD_MS:
            continue
        is_brokers = topic.settings.get("message.timestamp.type") == "LogAppendTime"
        whose = "a broker's clock is" if is_brokers else "a producer's clock is"
        ahead_s = (topic.newest_ms - clock.now_ms) / 1000
        yield Finding(
            "warning",
            "clocks",
            name,
            f"its newest record is {ahead_s:,.0f} s from the future: {whose} ahead, or this "
            "machine's behind; deadlines and latencies are wrong by as much",
            "synchronize the clocks of producers, brokers and nodes (NTP)",
        )
