"""Sticky assignment: balance, totality, determinism, and no partition moved without need."""

import random
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from consumer.kafka.group.assignment import NO_CLAIM, Claim, assign
from consumer.ports import TopicPartition

Group = tuple[list[TopicPartition], dict[str, Claim]]


def partitions_of(count: int) -> list[TopicPartition]:
    return [TopicPartition("requests", number) for number in range(count)]


@st.composite
def groups(draw: st.DrawFn) -> Group:
    partitions = partitions_of(draw(st.integers(0, 24)))
    # Claims may name partitions that are gone, and contradict each other.
    claimable = partitions_of(28)
    members = draw(
        st.dictionaries(
            st.text("abcdef", min_size=1, max_size=3),
            st.builds(Claim, st.integers(-1, 3), st.frozensets(st.sampled_from(claimable))),
            max_size=7,
        )
    )
    return partitions, members


@given(groups())
def test_every_partition_goes_to_exactly_one_member_and_shares_differ_by_one_at_most(
    group: Group,
) -> None:
    partitions, members = group
    assignment = assign(partitions, members)

    assert set(assignment) == set(members)
    if members:
        assert sorted(p for owned in assignment.values() for p in owned) == partitions
        sizes = [len(owned) for owned in assignment.values()]
        assert max(sizes) - min(sizes) <= 1


@given(groups(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(group: Group, randomly: random.Random) -> None:
    partitions, members = group
    shuffled = list(partitions)
    randomly.shuffle(shuffled)
    names = list(members)
    randomly.shuffle(names)

    assert assign(partitions, members) == assign(shuffled, {name: members[name] for name in names})


@given(groups())
def test_no_assignment_with_the_same_balance_keeps_more(group: Group) -> None:
    partitions, members = group
    assignment = assign(partitions, members)
    owned = undisputed(partitions, members)
    kept = sum(len(set(assignment[name]) & owned[name]) for name in members)

    assert kept == most_that_can_stay(len(partitions), {n: len(o) for n, o in owned.items()})


def undisputed(
    partitions: list[TopicPartition], members: dict[str, Claim]
) -> dict[str, set[TopicPartition]]:
    owned: dict[str, set[TopicPartition]] = {name: set() for name in members}
    for partition in partitions:
        claims = [
            (-claim.generation, n) for n, claim in members.items() if partition in claim.owned
        ]
        if claims:
            owned[min(claims)[1]].add(partition)
    return owned


def most_that_can_stay(partition_count: int, owned_counts: dict[str, int]) -> int:
    """Try every choice of the members that get the larger share."""
    if not owned_counts:
        return 0
    smaller, larger_shares = divmod(partition_count, len(owned_counts))
    return max(
        sum(min(count, smaller + (name in larger)) for name, count in owned_counts.items())
        for larger in combinations(owned_counts, larger_shares)
    )


@given(st.integers(1, 24), st.integers(1, 6))
def test_a_join_takes_only_the_newcomers_share(partition_count: int, member_count: int) -> None:
    partitions = partitions_of(partition_count)
    before = assign(partitions, {f"m{n}": NO_CLAIM for n in range(member_count)})
    claims = {name: Claim(1, frozenset(owned)) for name, owned in before.items()}

    after = assign(partitions, {**claims, "new": NO_CLAIM})

    for name, owned in before.items():
        assert set(after[name]) <= set(owned)


@given(st.integers(1, 24), st.integers(2, 6))
def test_a_leave_moves_only_what_the_member_had(partition_count: int, member_count: int) -> None:
    partitions = partitions_of(partition_count)
    before = assign(partitions, {f"m{n}": NO_CLAIM for n in range(member_count)})
    claims = {name: Claim(1, frozenset(owned)) for name, owned in before.items() if name != "m0"}

    after = assign(partitions, claims)

    for name in claims:
        assert set(before[name]) <= set(after[name])


def test_the_claim_of_the_highest_generation_counts() -> None:
    partitions = partitions_of(2)
    stale = Claim(4, frozenset(partitions))
    current = Claim(5, frozenset(partitions[:1]))

    assert assign(partitions, {"a": stale, "b": current}) == {
        "a": partitions[1:],
        "b": partitions[:1],
    }


def test_without_members_nothing_is_assigned() -> None:
    assert assign(partitions_of(3), {}) == {}
