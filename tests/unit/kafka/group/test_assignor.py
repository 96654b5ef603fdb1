"""The assignor as aiokafka calls it."""

from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.group.assignment import NO_CLAIM, Claim
from consumer.kafka.group.assignor import (
    ASSIGNOR_NAME,
    assign_topics,
    decode_claim,
    encode_claim,
    make_assignor,
)
from consumer.ports import TopicPartition


class Cluster:
    """A cluster that knows its topics."""

    def __init__(self, topics: dict[str, int]) -> None:
        self._topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._topics[topic])) if topic in self._topics else None


claims = st.builds(
    Claim,
    st.integers(-1, 2**31 - 1),
    st.frozensets(st.builds(TopicPartition, st.text(max_size=5), st.integers(0, 5000))),
)


@given(claims)
def test_a_claim_survives_the_wire(claim: Claim) -> None:
    assert decode_claim(encode_claim(claim)) == claim


@given(st.binary())
def test_what_is_no_claim_counts_as_none(user_data: bytes) -> None:
    assert isinstance(decode_claim(user_data), Claim)


def test_malformed_claims_count_as_none() -> None:
    for user_data in (
        None,
        b"",
        b"[]",
        b"1",
        b"{}",
        b'{"version":2,"generation":1,"owned":{}}',
        b'{"version":1,"generation":"x","owned":{}}',
        b'{"version":1,"generation":1,"owned":[]}',
        b'{"version":1,"generation":1,"owned":{"t":["a"]}}',
    ):
        assert decode_claim(user_data) == NO_CLAIM


def test_each_consumer_claims_what_it_was_assigned_in_which_generation() -> None:
    generation = 7
    first = make_assignor(lambda: generation)
    second = make_assignor(lambda: 99)
    assignment = ConsumerProtocolMemberAssignment(0, [("t", [0, 2])], b"")

    first.on_assignment(assignment)

    claim = decode_claim(first.metadata({"t"}).user_data)
    assert claim == Claim(7, frozenset({TopicPartition("t", 0), TopicPartition("t", 2)}))
    assert decode_claim(second.metadata({"t"}).user_data) == NO_CLAIM
    assert first.name == second.name == ASSIGNOR_NAME


def test_the_leader_keeps_partitions_where_they_are() -> None:
    leader = make_assignor(lambda: 1)
    owned = Claim(3, frozenset({TopicPartition("t", 1), TopicPartition("t", 2)}))
    members = {
        "a": ConsumerProtocolMemberMetadata(0, ["t"], b""),
        "b": ConsumerProtocolMemberMetadata(0, ["t"], encode_claim(owned)),
    }

    assigned = leader.assign(Cluster({"t": 4}), members)

    assert assigned["a"].assignment == [("t", [0, 3])]
    assert assigned["b"].assignment == [("t", [1, 2])]
    # It can be sent as it is.
    decoded = ConsumerProtocolMemberAssignment.decode(assigned["a"].encode())
    assert decoded.partitions() == [TopicPartition("t", 0), TopicPartition("t", 3)]


def test_a_topic_that_is_gone_is_assigned_to_nobody() -> None:
    leader = make_assignor(lambda: 1)
    members = {"a": ConsumerProtocolMemberMetadata(0, ["gone"], b"")}

    assert leader.assign(Cluster({}), members)["a"].assignment == []


def test_members_get_only_topics_that_they_subscribe_to() -> None:
    assert assign_topics(
        {"t": [0, 1], "u": [0]},
        {"a": ["t"], "b": ["t", "u"]},
        {"a": NO_CLAIM, "b": NO_CLAIM},
    ) == {"a": {"t": [0]}, "b": {"t": [1], "u": [0]}}
