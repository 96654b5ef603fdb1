"""What a replica's throughput is learned as: of even work, of slow work, and of work in lumps."""

import pytest

from consumer.autoscaling.learning import Throughput
from consumer.autoscaling.policy import DrainPolicy, Signals

PERIOD_S = 2.0


def watch(
    throughput: Throughput,
    done_by_s: dict[float, int],
    until_s: float,
    *,
    running: int = 1,
    from_s: float = 0.0,
) -> None:
    """Show a backlog that never ends every two seconds; each number is done in all from then."""
    done, now_s = 0, from_s
    while now_s <= until_s:
        done = max([done, *(each for at_s, each in done_by_s.items() if at_s <= now_s)])
        throughput.observe(now_s, done, 10_000, running)
        now_s += PERIOD_S


def test_it_is_learned_from_busy_replicas_only() -> None:
    throughput = Throughput(None)
    throughput.observe(0.0, 0, 1, 1)
    throughput.observe(1.0, 1, 0, 1)
    assert throughput.records_per_s is None
    assert throughput.at_least_records_per_s is None

    throughput.observe(2.0, 1, 1_000, 2)
    throughput.observe(4.0, 101, 900, 2)
    assert throughput.records_per_s == 25.0


def test_readings_in_which_nothing_was_done_count() -> None:
    throughput = Throughput(None)

    # Four generations of 30 s side by side.
    watch(throughput, {30.0 * number: 4 * number for number in range(1, 11)}, 300.0)

    assert throughput.records_per_s == pytest.approx(4 / 30)


def test_replicas_out_of_step_are_not_taken_for_quick_ones() -> None:
    throughput = Throughput(None)
    lumps = sorted(
        [20.0 * number for number in range(1, 11)] + [2 + 20.0 * n for n in range(1, 11)]
    )

    watch(throughput, {at_s: 32 * (n + 1) for n, at_s in enumerate(lumps)}, 202.0, running=2)

    # 32 in 20 s each; 32 after 2 s say nothing by themselves.
    assert throughput.records_per_s == pytest.approx(1.6, rel=0.15)


def test_a_replica_that_comes_while_another_is_at_work_makes_neither_look_quick() -> None:
    throughput = Throughput(None)
    watch(throughput, {}, 16.0)
    watch(throughput, {20.0: 32}, 20.0, running=2, from_s=18.0)

    assert throughput.records_per_s == pytest.approx(1.6)


def test_an_outage_is_not_taken_for_slowness() -> None:
    throughput = Throughput(None)
    work = {PERIOD_S * number: 20 * number for number in range(1, 31)}

    watch(throughput, {**work, 660.0: 620, 662.0: 640}, 662.0)

    assert throughput.records_per_s == pytest.approx(10.0)


def test_work_that_has_become_slow_for_good_is_believed_in_the_end() -> None:
    throughput = Throughput(None)
    quick = {PERIOD_S * number: 20 * number for number in range(1, 31)}
    slow = {60.0 + 90.0 * number: 600 + 9 * number for number in range(1, 21)}

    watch(throughput, {**quick, **slow}, 60.0 + 90.0 * 20)

    assert throughput.records_per_s == pytest.approx(0.1, rel=0.1)


def test_what_one_was_seen_to_do_at_least_is_a_record_in_all_the_time_so_far() -> None:
    throughput = Throughput(None)
    throughput.observe(0.0, 0, 0, 1)
    throughput.observe(2.0, 0, 100, 1)
    assert throughput.at_least_records_per_s == 0.5
    throughput.observe(4.0, 0, 100, 1)
    assert throughput.at_least_records_per_s == 0.25
    watch(throughput, {}, 20.0, from_s=6.0)
    assert throughput.at_least_records_per_s == 0.05

    throughput.observe(22.0, 66, 40, 1)
    assert throughput.at_least_records_per_s == 3.3
    throughput.observe(24.0, 66, 40, 1)
    assert throughput.at_least_records_per_s == 3.3, "it only grows with what was completed"
    throughput.observe(26.0, 70, 10, 1)
    throughput.observe(28.0, 196, 400, 2)
    assert throughput.at_least_records_per_s == 3.3, "one that has just come is no measure"


class Lumps:
    """Replicas that each do 32 records side by side every 20 s, under a policy.

    Args:
        records: All there at 0 s.
    """

    def __init__(self, records: int, drain_target_s: float) -> None:
        self._policy = DrainPolicy(
            min_replicas=1,
            max_replicas=40,
            drain_target_s=drain_target_s,
            expected_cold_start_s=4.0,
        )
        self._records = records
        self._began_s = [0.0]
        self._ready_at_s: list[float] = []
        self.target = 1
        self.targets: dict[float, int] = {}
        self.done = 0

    def run(self, until_s: float) -> float | None:
        """Return when everything was done."""
        now_s = 0.0
        self._decide(-PERIOD_S, 0)
        while now_s <= until_s:
            for ready_at_s in [each for each in self._ready_at_s if each <= now_s]:
                self._ready_at_s.remove(ready_at_s)
                self._began_s.append(ready_at_s)
            for number, began_s in enumerate(self._began_s):
                if now_s - began_s >= 20.0:
                    self.done = min(self._records, self.done + 32)
                    self._began_s[number] = now_s
            if self.done == self._records:
                return now_s
            self._decide(now_s, self._records)
            now_s += PERIOD_S
        return None

    def _decide(self, now_s: float, arrived: int) -> None:
        decision = self._policy.decide(
            Signals(
                now_s=now_s,
                running=len(self._began_s),
                remaining_records=arrived - self.done if arrived else 0,
                arrived_records=arrived,
                done_records=self.done,
            ),
            self.target,
        )
        self.target = self.targets[now_s] = decision.target
        missing = self.target - len(self._began_s) - len(self._ready_at_s)
        self._ready_at_s += [now_s + 4.0] * max(0, missing)


def test_work_in_lumps_gets_about_the_replicas_that_it_needs() -> None:
    lumps = Lumps(2_000, drain_target_s=60.0)

    drained_s = lumps.run(300.0)

    # 1,250 replica-seconds, of which little is done when the first lump is: 25 and more at once.
    assert lumps.targets[18.0] < 10
    assert 25 <= lumps.targets[20.0] <= 40
    assert drained_s is not None
    assert drained_s <= 80.0


def test_what_lumps_taught_asks_for_no_more_than_they_need() -> None:
    lumps = Lumps(2_000, drain_target_s=300.0)

    drained_s = lumps.run(600.0)

    # 1,250 replica-seconds within 250 s.
    assert 4 <= max(lumps.targets.values()) <= 8
    assert drained_s is not None
    assert drained_s <= 300.0
