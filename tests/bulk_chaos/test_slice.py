"""A short slice of the harness: a real Kafka, real processes, a few kills."""

from pathlib import Path

from tests.brokers import kafka_home_needed
from tests.bulk_chaos.planted import Bug
from tests.bulk_chaos.run import Kill, Plan, Target, run_plan

pytestmark = kafka_home_needed("kills what a bulk job needs")

_KILLS = (
    Kill(Target.CLIENT, pause_s=0.5),
    Kill(Target.CONSUMER, pause_s=0.3, victim=1),
    Kill(Target.CLIENT, pause_s=0.2),
)


async def test_a_bulk_job_survives_kills(tmp_path: Path) -> None:
    plan = Plan(delivery="at_least_once", seed=20, kills=_KILLS, rows=4_000, request_ms=100)
    verdict = await run_plan(plan, tmp_path)
    assert not verdict.violations, verdict.violations
    assert verdict.kills.total() == len(_KILLS)
    assert verdict.rows >= 4_000
    assert verdict.items_computed_twice <= verdict.items_in_flight


async def test_the_harness_can_fail(tmp_path: Path) -> None:
    bug = Bug.LOSE_HALF_OF_A_SPLIT
    plan = Plan(
        delivery="at_least_once",
        seed=20,
        kills=_KILLS[:1],
        rows=1_000,
        request_ms=10,
        bug=bug,
        patience_s=12.0,
    )
    verdict = await run_plan(plan, tmp_path)
    assert "stalled" in verdict.violations
