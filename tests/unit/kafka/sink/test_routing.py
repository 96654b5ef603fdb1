"""Where messages go, and which are too large."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.admin.topic_settings import TopicLimits
from consumer.kafka.sink.message_size import batch_size_bytes
from consumer.kafka.sink.partitioning import partition_of_key
from consumer.kafka.sink.routing import MAX_BATCH_BYTES, RUN_RECORDS, MessageRouter
from consumer.ports import Message, TopicPartition


@given(
    keys=st.lists(st.none() | st.binary(max_size=8), max_size=200),
    partitions=st.integers(1, 7),
)
def test_every_message_goes_to_one_partition_in_order_and_keys_decide(
    keys: list[bytes | None], partitions: int
) -> None:
    messages = [Message("t", key, b"v", [], number) for number, key in enumerate(keys)]

    routed = MessageRouter().route(messages, {"t": range(partitions)})

    placed = {
        partition: [message.item for message in found]
        for partition, found in routed.messages.items()
    }
    assert sorted(n for found in placed.values() for n in found) == list(range(len(keys)))
    assert routed.rejections == []
    for partition, found in placed.items():
        assert found == sorted(found)
        for index in found:
            if (key := keys[index]) is not None:
                assert partition == TopicPartition("t", partition_of_key(key, partitions))


def test_messages_without_a_key_are_spread_in_runs() -> None:
    messages = [Message("t", None, b"v", [])] * (2 * RUN_RECORDS + 1)

    routed = MessageRouter().route(messages, {"t": [0, 1, 2]})

    assert [len(routed.messages[TopicPartition("t", n)]) for n in range(3)] == [
        RUN_RECORDS,
        RUN_RECORDS,
        1,
    ]


def test_a_message_is_measured_against_its_own_topics_limit() -> None:
    messages = [Message("small", b"k", b"x" * 900, []), Message("large", b"k", b"x" * 900, [])]
    limit = batch_size_bytes(messages[0]) - 1
    router = MessageRouter()
    router.limits = {"small": TopicLimits(limit), "large": TopicLimits(limit + 1)}

    routed = router.route(messages, {"small": [0], "large": [0]})

    assert [rejection.message for rejection in routed.rejections] == [messages[0]]
    assert "topic small" in routed.rejections[0].reason
    assert routed.rejections[0].is_too_large
    assert routed.messages == {TopicPartition("large", 0): [messages[1]]}
    assert router.max_batch_bytes == limit
    assert MessageRouter().max_batch_bytes == MAX_BATCH_BYTES


def test_a_compacted_topic_takes_no_message_without_a_key() -> None:
    messages = [Message("t", key, b"v", []) for key in (b"k", None, b"k")]
    router = MessageRouter()
    router.limits = {"t": TopicLimits(needs_keys=True)}

    routed = router.route(messages, {"t": [0]})

    assert [rejection.message for rejection in routed.rejections] == [messages[1]]
    assert "cleanup.policy" in routed.rejections[0].reason
    assert not routed.rejections[0].is_too_large
    assert routed.messages == {TopicPartition("t", 0): [messages[0], messages[2]]}


def test_messages_without_a_key_go_round_partitions_that_are_backed_up() -> None:
    messages = [Message("t", None, b"v", [])] * (3 * RUN_RECORDS) + [Message("t", b"k", b"v", [])]
    of_key = TopicPartition("t", partition_of_key(b"k", 3))

    routed = MessageRouter().route(messages, {"t": [0, 1, 2]}, lambda each: each == of_key)

    assert routed.messages[of_key] == messages[-1:]
    assert len(routed.messages) == 3


def test_where_all_are_backed_up_none_is_left_out() -> None:
    messages = [Message("t", None, b"v", [])] * (3 * RUN_RECORDS)

    routed = MessageRouter().route(messages, {"t": [0, 1, 2]}, lambda _: True)

    assert len(routed.messages) == 3
