"""What aiokafka 0.14 lacks for static members (KIP-345): to be fenced, to lead and to leave.

Its heartbeats do not name the instance. The broker then answers a member whose instance id another
one has taken as if its session were over, and aiokafka joins again: two members with one id would
fence each other for ever. A heartbeat that names the instance is answered with FENCED_INSTANCE_ID,
so that the older member ends.

A leader that was killed comes back as a follower, since its former member id still leads; then no
member would notice partitions that are added to the topic. So such a member watches for them.
"""
# ruff: noqa: SLF001 - the coordinator is private

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatRequest_v1, HeartbeatResponse_v1
from aiokafka.protocol.types import Int32, Schema, String

FENCED_INSTANCE_ID = 82
_INSTANCES_FROM_VERSION = 3


class HeartbeatResponse_v3(HeartbeatResponse_v1):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    API_VERSION = 3


class HeartbeatRequest_v3(RequestStruct):  # type: ignore[misc]  # noqa: N801 - aiokafka's way
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = HeartbeatResponse_v3
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class InstanceHeartbeatRequest(
    Request[HeartbeatRequest_v1 | HeartbeatRequest_v3]  # type: ignore[misc]  # aiokafka is untyped
):
    """A heartbeat of a static member; to brokers before Kafka 2.3 it does not name the instance."""

    API_KEY = 12

    def __init__(self, group: str, generation: int, member_id: str, instance_id: str) -> None:
        self._member = (group, generation, member_id)
        self._instance_id = instance_id

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class.API_VERSION < _INSTANCES_FROM_VERSION:
            return request_struct_class(*self._member)
        return request_struct_class(*self._member, self._instance_id)


def name_in_heartbeats(
    consumer: AIOKafkaConsumer, instance_id: str, on_fenced: Callable[[], None]
) -> None:
    """Have a consumer's heartbeats name its instance, and have it watch the topic if it led before.

    Args:
        consumer: A consumer that has not joined yet.
        instance_id: Its ``group_instance_id``.
        on_fenced: Called once another member has taken the instance id.
    """
    coordinator = consumer._coordinator
    send = coordinator._send_req

    async def send_named(request: Any) -> Any:
        if isinstance(request, HeartbeatRequest):
            request = InstanceHeartbeatRequest(
                coordinator.group_id, coordinator.generation, coordinator.member_id, instance_id
            )
        response = await send(request)
        if getattr(response, "error_code", 0) == FENCED_INSTANCE_ID:
            on_fenced()
        # A static member's id is its instance id and a UUID.
        leader_id = getattr(response, "leader_id", "")
        if leader_id.startswith(f"{instance_id}-") and leader_id != response.member_id:
            coordinator._group_subscription = set(coordinator._subscription.topics)
            coordinator._metadata_snapshot = coordinator._get_metadata_snapshot()
        return response

    coordinator._send_req = send_named


def leave_on_stop(consumer: AIOKafkaConsumer) -> None:
    """Have a static member leave the group when it stops; aiokafka lets its session expire."""
    if consumer._coordinator is not None:
        consumer._coordinator._group_instance_id = None
