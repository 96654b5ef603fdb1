"""Records whose model replica failed: when they go again, in what company, and when to give up."""

import random

from consumer.engine.failures.failures import Failure, NextStep, next_step
from consumer.engine.failures.retry import RetryPolicy, split_for_isolation
from consumer.engine.schedule import Schedule
from consumer.engine.work import WorkItem
from handoff.breaker import CircuitBreaker


class Recovery:
    """Failed records on their way back to the queue.

    Args:
        policy: Which failures are retried, how often, and after what delay.
        jitter: Randomness of the delay.
    """

    def __init__(self, policy: RetryPolicy, jitter: random.Random) -> None:
        self._policy = policy
        self._jitter = jitter
        self._groups: Schedule[list[WorkItem]] = Schedule()
        self.breaker = CircuitBreaker()

    def take_back(
        self,
        items: list[WorkItem],
        failure: Failure,
        now_s: float,
        *,
        is_alone: bool,
        is_cornered: bool,
        has_timed_out: bool = False,
    ) -> list[WorkItem]:
        """Schedule failed records to go again, and count the failure where it counts.

        Args:
            items: Records that failed together.
            failure: What befell them.
            now_s: Monotonic seconds.
            is_alone: No other record can have caused it; see ``failures.next_step``.
            is_cornered: The cause is thought to be among these records, so they are split. Where
                several calls were lost together they go again as they are: splitting each would
                multiply the calls and tell nothing.
            has_timed_out: Their call took too long; its replica may live.

        Returns:
            Those that are to be given up instead.
        """
        again: list[WorkItem] = []
        given_up: list[WorkItem] = []
        for item in items:
            item.first_failed_at_s = item.first_failed_at_s or now_s
            is_blamed = self.breaker.blames(item.first_failed_at_s, now_s)
            step = next_step(
                failure,
                retried=self._policy.retried,
                is_blamed=is_blamed,
                strikes=item.strikes,
                max_attempts=self._policy.max_attempts,
                is_alone=is_alone,
            )
            if step is NextStep.GIVE_UP:
                given_up.append(item)
                continue
            if step is NextStep.AGAIN:
                item.strikes += 1
                item.timeouts += has_timed_out
            again.append(item)
        # Lack of room is nobody's fault: what had none together may have some together.
        splits = is_cornered and failure is not Failure.UNAVAILABLE
        for group in split_for_isolation(again) if splits else filter(None, [again]):
            delay_s = self._policy.backoff_s(group[0].attempts, self._jitter)
            self._groups.add(now_s + delay_s, group)
        return given_up

    def needs_exclusive_call(self, group: list[WorkItem]) -> bool:
        """Say whether a group's failure would be its record's last, so that nothing may share it.

        A replica that dies fails every call that it had taken, and a healthy record may stand
        alone in one of those. Only the one that had no other call beside it is given up.

        A call that takes too long fails no other. A record that has only had timeouts goes beside
        others to the end, or each such record would stop the route for as long as it hangs.
        """
        if len(group) != 1 or group[0].strikes == group[0].timeouts:
            return False
        return self._policy.is_last_chance(group[0].strikes)

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
