"""A short slice of the rounds: three nodes, a worker killed in mid-stream."""

from pathlib import Path

from tests.brokers import kafka_home_needed
from tests.nodes.rounds import Order, run_rounds
from tests.nodes.stage import WORKERS

pytestmark = kafka_home_needed("starts a broker beside three Ray nodes")


async def test_a_killed_node_loses_and_doubles_nothing(tmp_path: Path) -> None:
    outcome = await run_rounds("exactly_once", [Order(WORKERS[0], 8.0)], 20, tmp_path)

    verdict, [kill] = outcome.verdict, outcome.kills
    assert not verdict.violations, verdict.examples
    assert verdict.accepted > 1_000
    assert verdict.lost == verdict.doubled == verdict.hanging_transactions == 0
    assert kill.full_after_s is not None
    # Half is what the other node could do at best. Until Ray misses the node, Serve would send it
    # every call, and nothing would be done.
    assert kill.away_ratio > 0.1
    print(kill)  # noqa: T201 - the figures, for runs with -s
