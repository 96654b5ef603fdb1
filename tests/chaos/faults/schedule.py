"""Which faults come, in which order, with which numbers: drawn from a seed. Pure."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of fault. Each name is a key of the report's ``faults``."""

    CONSUMER_KILL = "consumer_kill"
    """kill -9; a new process takes its place."""
    CONSUMER_FREEZE = "consumer_freeze"
    """SIGSTOP for longer than the session's and the transaction's timeout, then SIGCONT."""
    CONSUMER_RESTART = "consumer_restart"
    """A clean stop, then a new process."""
    CONSUMER_JOINS = "consumer_joins"
    CONSUMER_LEAVES = "consumer_leaves"
    REVOKE_DURING_COMMIT = "revoke_during_commit"
    """A member joins while every member's commits are slow."""
    REVOKE_DURING_GENERATION = "revoke_during_generation"
    """A member joins and leaves while slow records are in flight."""
    MODEL_KILL = "model_kill"
    MODEL_FREEZE = "model_freeze"
    HUNG_MODEL = "hung_model"
    """Calls that a healthy replica takes and never answers."""
    BROKER_KILL = "broker_kill"
    BROKER_FREEZE = "broker_freeze"
    BROKER_RESTART = "broker_restart"
    CONNECTION_CUT = "connection_cut"
    """Every connection between consumers and broker is reset, and refused for a moment."""
    CONNECTION_DELAY = "connection_delay"
    ASYMMETRIC_CUT = "asymmetric_cut"
    """A consumer reaches partition leaders but not the group's coordinator, longer than its
    session."""
    COORDINATOR_LOADING = "coordinator_loading"
    """The group's coordinator says that it is loading, or has moved, while members take over."""
    PRODUCE_REFUSED = "produce_refused"
    """Batches fail before they are sent."""
    PRODUCE_UNKNOWN = "produce_unknown"
    """Batches are sent, but their acknowledgement is lost."""
    COMPACTION = "compaction"
    """Records that later ones of the same key supersede, in a compacted topic."""
    TRANSACTION_MARKERS = "transaction_markers"
    """A producer commits one transaction of requests and aborts another."""
    DELETED_RECORDS = "deleted_records"
    """The log's start moves past unread records."""
    RETENTION = "retention"
    """The log's start moves past records that a consumer has not fetched yet."""
    TOPIC_RECREATED = "topic_recreated"
    """The requests topic is deleted with records in flight, and created again."""
    OFFSET_MOVED = "offset_moved"
    """A committed offset is moved by hand while the group is empty."""
    POISON = "poison"
    """A record that kills its model replica."""
    FAILING_RECORD = "failing_record"
    """Records on which the model fails, each time."""
    TOMBSTONES = "tombstones"
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    METADATA_LIMIT = "metadata_limit"
    """Slow records, and many quick ones behind them: the completion map grows to its limit."""
    LEADER_MOVE = "leader_move"
    """The node that leads a partition of the results is killed."""
    LEADERLESS_RESULTS = "leaderless_results"
    """The only node with a partition of the results is down."""
    LEADERLESS_REQUESTS = "leaderless_requests"
    """The only node with a partition of the requests is down."""
    GROUP_COORDINATOR_MOVE = "group_coordinator_move"
    TRANSACTION_COORDINATOR_MOVE = "transaction_coordinator_move"


CLEAN = frozenset(
    {
        Kind.CONSUMER_RESTART,
        Kind.CONSUMER_JOINS,
        Kind.CONSUMER_LEAVES,
        Kind.MODEL_KILL,
        Kind.MODEL_FREEZE,
        Kind.HUNG_MODEL,
        Kind.REVOKE_DURING_COMMIT,
        Kind.REVOKE_DURING_GENERATION,
        Kind.CONNECTION_DELAY,
        Kind.COMPACTION,
        Kind.TRANSACTION_MARKERS,
        Kind.DELETED_RECORDS,
        Kind.RETENTION,
        Kind.TOPIC_RECREATED,
        Kind.OFFSET_MOVED,
        Kind.POISON,
        Kind.FAILING_RECORD,
        Kind.TOMBSTONES,
        Kind.MALFORMED,
        Kind.OVERSIZED,
        Kind.METADATA_LIMIT,
        Kind.PRODUCE_REFUSED,
    }
)
"""Faults that explain no repeat, in at-least-once either.

A moved offset explains only the records that it makes the service read again.
"""

UNDISTURBING = frozenset(
    {
        Kind.MODEL_KILL,
        Kind.MODEL_FREEZE,
        Kind.HUNG_MODEL,
        Kind.POISON,
        Kind.FAILING_RECORD,
        Kind.PRODUCE_REFUSED,
        Kind.PRODUCE_UNKNOWN,
        Kind.COMPACTION,
        Kind.TRANSACTION_MARKERS,
        Kind.DELETED_RECORDS,
        Kind.RETENTION,
        Kind.TOMBSTONES,
        Kind.MALFORMED,
        Kind.OVERSIZED,
        Kind.METADATA_LIMIT,
    }
)
"""Faults that do not touch group and brokers: every partition must continue through them."""

CUTTING_OFF = frozenset(
    {Kind.BROKER_KILL, Kind.BROKER_FREEZE, Kind.BROKER_RESTART, Kind.CONNECTION_CUT}
)
"""Faults in which a consumer that is starting may find no broker, and end."""

_NEEDS_THREE_NODES = frozenset(
    {
        Kind.LEADER_MOVE,
        Kind.LEADERLESS_RESULTS,
        Kind.LEADERLESS_REQUESTS,
        Kind.GROUP_COORDINATOR_MOVE,
        Kind.TRANSACTION_COORDINATOR_MOVE,
    }
)
ONE_NODE = tuple(kind for kind in Kind if kind not in _NEEDS_THREE_NODES)
THREE_NODES = (
    Kind.LEADER_MOVE,
    Kind.LEADERLESS_RESULTS,
    Kind.LEADERLESS_REQUESTS,
    Kind.GROUP_COORDINATOR_MOVE,
    Kind.TRANSACTION_COORDINATOR_MOVE,
    Kind.CONSUMER_KILL,
    Kind.CONSUMER_FREEZE,
    Kind.BROKER_FREEZE,
    Kind.BROKER_RESTART,
)
SERVE = (
    Kind.MODEL_KILL,
    Kind.MODEL_FREEZE,
    Kind.CONSUMER_KILL,
    Kind.CONSUMER_FREEZE,
    Kind.POISON,
)

_WEIGHTS = {
    Kind.CONSUMER_KILL: 5,
    Kind.CONSUMER_FREEZE: 2,
    Kind.CONSUMER_RESTART: 2,
    Kind.CONSUMER_JOINS: 3,
    Kind.CONSUMER_LEAVES: 3,
    Kind.REVOKE_DURING_COMMIT: 3,
    Kind.MODEL_KILL: 3,
    Kind.CONNECTION_CUT: 4,
    Kind.PRODUCE_UNKNOWN: 4,
    Kind.BROKER_FREEZE: 1,
    Kind.BROKER_RESTART: 1,
    Kind.BROKER_KILL: 1,
    Kind.OFFSET_MOVED: 1,
    Kind.TOPIC_RECREATED: 1,
}
_OTHERS_WEIGHT = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule.

    Attributes:
        number: Its position, from 1.
        kind: The kind of fault.
        pause_s: Quiet seconds before it.
        victim: Which process, node or partition: modulo their number.
        strength: 0 to 1: how long or how many; each kind uses it in its own way.
    """

    number: int
    kind: Kind
    pause_s: float
    victim: int
    strength: float


def draw(seed: int, count: int, kinds: Sequence[Kind], label: str = "") -> list[Fault]:
    """Draw ``count`` faults: every kind once while there is room, the rest by weight.

    Args:
        seed: The same seed, count, kinds and label give the same schedule.
        count: How many.
        kinds: Which may come.
        label: Separates the schedules of one seed, e.g. those of the deliveries.
    """
    rng = random.Random(f"{seed}/{label}")
    once = list(kinds)
    rng.shuffle(once)
    chosen = once[:count]
    weights = [_WEIGHTS.get(kind, _OTHERS_WEIGHT) for kind in kinds]
    chosen += rng.choices(list(kinds), weights, k=max(0, count - len(chosen)))
    rng.shuffle(chosen)
    return [
        Fault(
            number=number,
            kind=kind,
            pause_s=round(rng.uniform(0.2, 2.0), 3),
            victim=rng.randrange(1 << 16),
            strength=round(rng.random(), 3),
        )
        for number, kind in enumerate(chosen, start=1)
    ]


def count_by_kind(faults: Collection[Fault]) -> dict[str, int]:
    """Return how often each kind came, by its name."""
    counts: dict[str, int] = {}
    for fault in faults:
        counts[fault.kind.value] = counts.get(fault.kind.value, 0) + 1
    return dict(sorted(counts.items()))
