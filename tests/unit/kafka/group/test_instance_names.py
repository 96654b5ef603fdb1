import re

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.group.instance_names import name_instance


def named(
    group: str = "g",
    cluster: str = "session_1",
    application: str = "headrace",
    rank: int = 0,
) -> str:
    return name_instance(group, cluster=cluster, application=application, rank=rank)


def test_a_replica_that_comes_back_has_the_same_name() -> None:
    assert named() == named()


def test_other_replicas_applications_and_clusters_have_other_names() -> None:
    names = [named(), named(rank=1), named(application="other"), named(cluster="session_2")]
    assert len(set(names)) == len(names)


@given(st.text(min_size=1, max_size=249), st.integers(0, 100_000))
def test_a_name_is_one_that_kafka_takes(group: str, rank: int) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", named(group=group, rank=rank))
