"""A silent service is told from a busy one."""

from headrace_client.kafka.standing import describe_standing
from headrace_client.kafka.topics import GroupStanding
from headrace_client.wire.names import Place


def said(standing: GroupStanding, *offsets: int) -> str:
    places = [Place("rq", 0, offset) for offset in offsets]
    return describe_standing(standing, "g", "rq", places, results_topic="rs")


def test_a_group_without_members_means_that_nobody_reads() -> None:
    assert "nobody reads rq: group g has no members" in said(GroupStanding(0, {}), 5)


def test_a_busy_group_says_how_many_are_before() -> None:
    text = said(GroupStanding(2, {0: 10}), 1_210, 4_000)

    assert "group g has 2 members" in text
    assert "1,200 earlier requests of rq are not finished" in text


def test_a_group_that_has_not_committed_yet() -> None:
    assert "7 earlier requests" in said(GroupStanding(1, {}), 7)
    assert "0 earlier requests" in said(GroupStanding(1, {}), 0)


def test_a_group_that_has_passed_them_means_that_the_results_went_elsewhere() -> None:
    text = said(GroupStanding(1, {0: 6}), 5)

    assert "has finished these requests, and no result came on rs" in text
