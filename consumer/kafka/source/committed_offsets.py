"""Committed offsets out of OffsetFetch's responses, versions 3 and 7."""

from typing import Any

from consumer.ports import CommitPoint, TopicPartition

_NOTHING_COMMITTED = -1


def read_points(response: Any) -> tuple[set[int], dict[TopicPartition, CommitPoint | None]]:
    """Return the error codes, 0 among them or not, and the points of partitions without one."""
    codes: set[int] = {response.error_code}
    points: dict[TopicPartition, CommitPoint | None] = {}
    for topic, results, *_tags in response.topics:
        for result in results:
            number, offset, *_epoch, metadata, code = result[:5] if len(result) > 4 else result
            codes.add(code)
            if code == 0:
                point = CommitPoint(offset, metadata or "")
                is_there = offset != _NOTHING_COMMITTED
                points[TopicPartition(topic, number)] = point if is_there else None
    return codes, points
