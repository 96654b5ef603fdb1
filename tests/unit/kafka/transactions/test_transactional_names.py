"""Transactional ids stand for one input partition of one group."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.transactions.names import transactional_id_of, transactional_prefix_of
from consumer.ports import TopicPartition

groups = st.text("a-/.", min_size=1, max_size=6)
partitions = st.builds(TopicPartition, st.text("a-.1", min_size=1, max_size=6), st.integers(0, 20))
pairs = st.tuples(groups, partitions)


@given(pairs, pairs)
def test_no_two_partitions_share_an_id(
    one: tuple[str, TopicPartition], other: tuple[str, TopicPartition]
) -> None:
    assert (transactional_id_of(*one) == transactional_id_of(*other)) == (one == other)


def test_a_topic_whose_name_begins_with_anothers_is_not_covered_by_its_prefix() -> None:
    inner = transactional_id_of("g", TopicPartition("requests-2", 0))
    assert not inner.startswith(transactional_prefix_of("g", "requests"))
    assert inner.startswith(transactional_prefix_of("g", "requests-2"))
