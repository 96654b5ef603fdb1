import pytest

from tests.chaos.checks.incarnations import Incarnations, partition_of


@pytest.mark.parametrize(
    ("key", "log"), [(b"r1", 2), (b"r10", 2), (b"r11", 1_002), (b"r15", 1_002), (b"r16", 2_002)]
)
def test_a_record_is_filed_under_the_topic_that_it_stood_on(key: bytes, log: int) -> None:
    topics = Incarnations()
    topics.recreated(10)
    topics.recreated(15)
    assert topics.position(2, 7, key) == (log, 7)
    assert partition_of(log) == 2


def test_the_log_of_a_partition_is_the_newest_topics() -> None:
    topics = Incarnations()
    assert topics.log(3) == 3
    topics.recreated(10)
    assert topics.log(3) == 1_003
    assert topics.position(3, 0, None) == (1_003, 0)
