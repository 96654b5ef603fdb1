"""Sticky assignment as a plug-in of aiokafka: a class for each consumer.

aiokafka calls class methods only, and its own sticky assignor keeps its state in the one class that
all consumers of a process share. Here each consumer has a class that holds its own claim, which
travels as user data. A member that missed a rebalance claims by an older generation and loses.
"""

from collections.abc import Callable, Iterable, Mapping

import orjson
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from consumer.kafka.group.assignment import NO_CLAIM, Claim, assign
from consumer.ports import TopicPartition

ASSIGNOR_NAME = "headrace-sticky"
_PROTOCOL_VERSION = 0
_CLAIM_VERSION = 1


def make_assignor(generation: Callable[[], int]) -> type[AbstractPartitionAssignor]:
    claim = NO_CLAIM

    class StickyAssignor(AbstractPartitionAssignor):  # type: ignore[misc] # aiokafka is untyped
        name = ASSIGNOR_NAME

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
            return ConsumerProtocolMemberMetadata(
                _PROTOCOL_VERSION, sorted(topics), encode_claim(claim)
            )

        @classmethod
        def assign(
            cls,
            cluster: ClusterMetadata,
            members: Mapping[str, ConsumerProtocolMemberMetadata],
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            subscriptions = {name: each.subscription for name, each in members.items()}
            claims = {name: decode_claim(each.user_data) for name, each in members.items()}
            topics = {topic for subscribed in subscriptions.values() for topic in subscribed}
            partitions = {topic: cluster.partitions_for_topic(topic) or () for topic in topics}
            return {
                member: ConsumerProtocolMemberAssignment(
                    _PROTOCOL_VERSION, sorted(assigned.items()), b""
                )
                for member, assigned in assign_topics(partitions, subscriptions, claims).items()
            }

        @classmethod
        def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
            nonlocal claim
            owned = frozenset(TopicPartition(*each) for each in assignment.partitions())
            claim = Claim(generation(), owned)

    return StickyAssignor


def assign_topics(
    partitions: Mapping[str, Iterable[int]],
    subscriptions: Mapping[str, Iterable[str]],
    claims: Mapping[str, Claim],
) -> dict[str, dict[str, list[int]]]:
    """Assign topic by topic, each among its subscribers; return partition numbers by topic."""
    assignment: dict[str, dict[str, list[int]]] = {member: {} for member in subscriptions}
    for topic in sorted(partitions):
        readers = {
            member: claims[member] for member, topics in subscriptions.items() if topic in topics
        }
        wanted = [TopicPartition(topic, number) for number in partitions[topic]]
        for member, assigned in assign(wanted, readers).items():
            if assigned:
                assignment[member][topic] = [partition.partition for partition in assigned]
    return assignment


def encode_claim(claim: Claim) -> bytes:
    owned: dict[str, list[int]] = {}
    for partition in sorted(claim.owned):
        owned.setdefault(partition.topic, []).append(partition.partition)
    return orjson.dumps({"version": _CLAIM_VERSION, "generation": claim.generation, "owned": owned})


def decode_claim(user_data: bytes | None) -> Claim:
    """Return the claim in a member's user data; none from a member of another version."""
    if not user_data:
        return NO_CLAIM
    try:
        claim = orjson.loads(user_data)
        if claim["version"] != _CLAIM_VERSION:
            return NO_CLAIM
        owned = frozenset(
            TopicPartition(str(topic), int(number))
            for topic, numbers in claim["owned"].items()
            for number in numbers
        )
        return Claim(int(claim["generation"]), owned)
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        return NO_CLAIM
