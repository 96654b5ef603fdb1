"""Transactional ids: which input partition each stands for."""

from consumer.ports import TopicPartition


def transactional_id_of(group: str, partition: TopicPartition) -> str:
    """Return the transactional id under which ``group`` publishes for an input partition."""
    return f"{transactional_prefix_of(group, partition.topic)}{partition.partition}"


def transactional_prefix_of(group: str, topic: str) -> str:
    """Return what the ids of all partitions of a requests topic begin with, and no others.

    No topic's name may hold a slash, so that no two pairs of group and topic share it.
    """
    return f"headrace-{group}/{topic}/"


def earlier_transactional_id_of(group: str, partition: TopicPartition) -> str:
    """Return the id that releases up to this one published under, for an upgrade to fence."""
    return f"{earlier_transactional_prefix_of(group, partition.topic)}{partition.partition}"


def earlier_transactional_prefix_of(group: str, topic: str) -> str:
    """Return what those begin with; group ``a`` of ``b-c`` shares it with ``a-b`` of ``c``."""
    return f"headrace-{group}-{topic}-"
