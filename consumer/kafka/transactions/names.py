"""The transactional ids of input partitions."""

from consumer.ports import TopicPartition


def transactional_id_of(group: str, partition: TopicPartition) -> str:
    """Return the transactional id under which ``group`` publishes for an input partition."""
    return f"{transactional_prefix_of(group, partition.topic)}{partition.partition}"


def transactional_prefix_of(group: str, topic: str) -> str:
    """Return the prefix that the ids of a requests topic's partitions have, and no other ids.

    Topics' names have no slashes, so that no two pairs of group and topic share a prefix.
    """
    return f"headrace-{group}/{topic}/"


def earlier_transactional_id_of(group: str, partition: TopicPartition) -> str:
    """Return the id of earlier releases, which an upgrade fences."""
    return f"{earlier_transactional_prefix_of(group, partition.topic)}{partition.partition}"


def earlier_transactional_prefix_of(group: str, topic: str) -> str:
    """Return the prefix of those; group ``a`` of ``b-c`` shares it with ``a-b`` of ``c``."""
    return f"headrace-{group}-{topic}-"
