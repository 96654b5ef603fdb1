"""Which member reads which partition: balanced, and with as few moves as balance allows.

Pure. In a group of *m* members and *p* partitions every member gets ``p // m`` partitions, and ``p
% m`` of them one more. As many partitions as possible stay where they are: a member keeps up to its
share, and the larger shares go first to members that own more than the smaller one.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from consumer.ports import TopicPartition

NEVER_ASSIGNED = -1
"""The generation of a member that has not owned a partition yet."""


class Claim(NamedTuple):
    """The partitions that a member says it owned, and the generation in which it got them."""

    generation: int
    owned: frozenset[TopicPartition]


NO_CLAIM = Claim(NEVER_ASSIGNED, frozenset())


def assign(
    partitions: Collection[TopicPartition], members: Mapping[str, Claim]
) -> dict[str, list[TopicPartition]]:
    """Return each member's partitions, sorted; the same for the same input in any order.

    Claims on other partitions are ignored. Of two claims on a partition the one of the higher
    generation counts, since the other member has missed a rebalance; between equal generations the
    one of the smaller member id. Every member is in the result, and every partition once.
    """
    if not members:
        return {}
    kept = _uncontested(partitions, members)
    smaller_share, larger_shares = divmod(len(partitions), len(members))
    # The largest owner goes first, so that a larger share keeps a partition where it is.
    by_owned = sorted(kept, key=lambda member: (-len(kept[member]), member))
    assignment: dict[str, list[TopicPartition]] = {}
    for rank, member in enumerate(by_owned):
        share = smaller_share + (1 if rank < larger_shares else 0)
        assignment[member] = kept[member][:share]
    assigned = {partition for owned in assignment.values() for partition in owned}
    waiting = iter(sorted(set(partitions) - assigned))
    for rank, member in enumerate(by_owned):
        share = smaller_share + (1 if rank < larger_shares else 0)
        while len(assignment[member]) < share:
            assignment[member].append(next(waiting))
        assignment[member].sort()
    return {member: assignment[member] for member in sorted(members)}


def _uncontested(
    partitions: Collection[TopicPartition], members: Mapping[str, Claim]
) -> dict[str, list[TopicPartition]]:
    owner: dict[TopicPartition, str] = {}
    for member in sorted(members, key=lambda name: (-members[name].generation, name)):
        for partition in members[member].owned:
            owner.setdefault(partition, member)
    kept: dict[str, list[TopicPartition]] = {member: [] for member in members}
    for partition in sorted(set(partitions)):
        if partition in owner:
            kept[owner[partition]].append(partition)
    return kept
