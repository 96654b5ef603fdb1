"""A consumer loop's times and portions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times and portions.

    Attributes:
        commit_interval_s: Between commits; 0 commits again as soon as the last has returned.
        revoke_budget_s: How long the revoke callback may publish and commit; shorter than the
            group's rebalance timeout.
        drain_timeout_s: How long a clean stop waits for work in flight.
        idle_poll_s: How long a poll waits for records.
        restricted_poll_s: The same while some partition may not be read, and could be soon.
        publish_bytes: About the most bytes in one publish.
        transaction_linger_s: How long outcomes gather before a transaction.
        session_timeout_s: After this the group gives up a silent member.
    """

    commit_interval_s: float = 0.5
    revoke_budget_s: float = 18.0
    drain_timeout_s: float = 30.0
    poll_records: int = 1024
    idle_poll_s: float = 0.5
    restricted_poll_s: float = 0.05
    publish_records: int = 2048
    publish_bytes: int = 4 * 1024 * 1024
    transaction_linger_s: float = 0.05
    session_timeout_s: float = 10.0
