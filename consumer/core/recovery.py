"""Records whose model replica failed: when they go again, in what company, and when to give up."""

import random

from consumer.core.breaker import CircuitBreaker
from consumer.core.retry import RetryPolicy, split_for_isolation
from consumer.core.schedule import Schedule
from consumer.core.work import WorkItem


class Recovery:
    """Failed records on their way back to the queue.

    Args:
        policy: How often, and after what delay.
        jitter: Randomness of the delay.
    """

    def __init__(self, policy: RetryPolicy, jitter: random.Random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._groups: Schedule[list[WorkItem]] = Schedule()
        self.breaker = CircuitBreaker()

    def take_back(self, items: list[WorkItem], now_s: float) -> list[WorkItem]:
        """Schedule failed records to go again.

        Returns:
            Those that are to be given up instead.
        """
        again: list[WorkItem] = []
        exhausted: list[WorkItem] = []
        for item in items:
            item.first_failed_at_s = item.first_failed_at_s or now_s
            item.strikes += self.breaker.blames(item.first_failed_at_s, now_s)
            (exhausted if self._policy.is_exhausted(item.strikes) else again).append(item)
        for group in split_for_isolation(again):
            delay_s = self._policy.backoff_s(group[0].attempts, self._jitter)
            self._groups.add(now_s + delay_s, group)
        return exhausted

    def take_due(self, now_s: float) -> list[list[WorkItem]]:
        """Take the groups whose delay is over, without records that are settled by now."""
        due = (
            [each for each in group if not each.settled] for group in self._groups.take_due(now_s)
        )
        return [group for group in due if group]

    def next_at_s(self) -> float | None:
        """Return when the next group is due."""
        return self._groups.next_at()

    def waiting(self) -> list[WorkItem]:
        """Return every record that waits here."""
        return [item for group in self._groups.items() for item in group]

    def clear(self) -> None:
        """Forget all of them."""
        self._groups.clear()
