"""A short slice of the harness: a real Kafka, real processes, a few faults in each delivery."""

from pathlib import Path

import pytest

from tests.brokers import kafka_home_needed
from tests.chaos.faults.planted import SHOWS_AS, Bug
from tests.chaos.faults.schedule import Fault, Kind
from tests.chaos.run import run_stage
from tests.chaos.stage.stage import Delivery, Plan

pytestmark = kafka_home_needed("kills and freezes brokers of its own")

SEED = 20
FAULTS: dict[Delivery, tuple[Kind, ...]] = {
    "at_least_once": (Kind.CONSUMER_KILL, Kind.MALFORMED, Kind.PRODUCE_UNKNOWN),
    "exactly_once": (
        Kind.CONSUMER_KILL,
        Kind.POISON,
        Kind.PRODUCE_UNKNOWN,
        Kind.TRANSACTION_MARKERS,
        Kind.CONNECTION_CUT,
    ),
}


def schedule(*kinds: Kind) -> list[Fault]:
    return [
        Fault(number=number, kind=kind, pause_s=0.2, victim=7 * number, strength=0.4)
        for number, kind in enumerate(kinds, start=1)
    ]


@pytest.mark.parametrize("delivery", FAULTS)
async def test_promises_hold_through_faults(delivery: Delivery, tmp_path: Path) -> None:
    # Among the tests the machine is busy: six processes have just started.
    plan = Plan(delivery=delivery, seed=SEED, members=2, slack_s=1.0)
    outcome = await run_stage(plan, schedule(*FAULTS[delivery]), tmp_path)
    verdict = outcome.verdict
    assert not verdict.violations, verdict.examples
    assert verdict.accepted > 100
    assert verdict.lost == verdict.stalled_partitions == verdict.hanging_transactions == 0
    assert delivery == "at_least_once" or verdict.doubled == 0
    assert outcome.points_checked > 10
    assert len(outcome.faults) == len(FAULTS[delivery])


async def test_the_checker_can_fail(tmp_path: Path) -> None:
    bug = Bug.IGNORE_A_FAILED_SEND
    plan = Plan(delivery="at_least_once", seed=SEED, members=1, bug=bug)
    faults = schedule(Kind.PRODUCE_REFUSED)
    outcome = await run_stage(plan, faults, tmp_path, stops_at=SHOWS_AS[bug])
    assert outcome.verdict.lost > 0
    assert outcome.verdict.violations["covered_without_outcome"] > 0
