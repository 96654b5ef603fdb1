"""The aiokafka consumer of a route's source."""

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

from consumer.kafka.client.connection import client_options, fetch_options
from consumer.kafka.client.mending import mend_client_of
from schemas.settings.file import GroupSettings, KafkaSettings, RouteSettings

_REQUEST_TIMEOUT_MS = 40_000
_JOIN_SPARE_MS = 10_000


def make_consumer(
    settings: KafkaSettings,
    route: RouteSettings,
    instance_id: str | None,
    assignor: type[AbstractPartitionAssignor],
) -> AIOKafkaConsumer:
    membership = route.membership
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        client_id=f"headrace-{route.group}",
        group_id=route.group,
        group_instance_id=instance_id,
        enable_auto_commit=False,
        # The source decides where to begin, and where to go on in a log that has moved.
        auto_offset_reset="none",
        isolation_level="read_committed",
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=membership.session_timeout_ms,
        heartbeat_interval_ms=membership.heartbeat_interval_ms,
        rebalance_timeout_ms=membership.rebalance_timeout_ms,
        request_timeout_ms=request_timeout_ms(membership),
        fetch_max_bytes=route.flow.fetch_max_bytes,
        max_partition_fetch_bytes=route.flow.max_partition_fetch_bytes,
        **fetch_options(settings),
    )
    mend_client_of(consumer)
    return consumer


def request_timeout_ms(membership: GroupSettings) -> int:
    """Return how long a response may take: JoinGroup waits for all members."""
    return max(_REQUEST_TIMEOUT_MS, membership.rebalance_timeout_ms + _JOIN_SPARE_MS)
