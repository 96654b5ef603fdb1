"""What a client's picture of the cluster says of partitions that it works on."""

from collections.abc import Iterable

from aiokafka.cluster import ClusterMetadata

from consumer.engine.standing import waits
from consumer.ports import TopicPartition

_NOBODY = -1


def cluster_waits(cluster: ClusterMetadata, partitions: Iterable[TopicPartition]) -> list[str]:
    """Return a line for each topic that is gone and each partition that has no leader.

    Args:
        cluster: What the brokers have told last.
        partitions: Those that there is work on.
    """
    lines: list[str] = []
    for partition in sorted(partitions):
        if not cluster.partitions_for_topic(partition.topic):
            lines.append(waits.topic_gone(partition.topic))
        elif cluster.leader_for_partition(partition) == _NOBODY:
            lines.append(waits.no_leader(*partition))
    return list(dict.fromkeys(lines))
