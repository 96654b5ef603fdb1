"""An abandoned transaction must fail a run, and must not hang it."""

from pathlib import Path

from aiokafka import AIOKafkaProducer

from tests.brokers import kafka_home_needed
from tests.chaos.run import come_to_rest
from tests.chaos.stage.stage import Plan, Stage

pytestmark = kafka_home_needed("needs a broker of its own")

PARTITION = 1


async def test_a_transaction_left_open_is_a_violation(tmp_path: Path) -> None:
    stage = Stage(Plan(delivery="exactly_once", members=1, models=1, rate_per_s=20.0), tmp_path)
    try:
        await stage.during("start", stage.start, is_clean=True)
        await stage.until(lambda: stage.checker.finished_records > 10, 60, "the first outcomes")
        stranger = AIOKafkaProducer(
            bootstrap_servers=stage.cluster.bootstrap,
            transactional_id="left-open",
            transaction_timeout_ms=600_000,
        )
        await stranger.start()
        try:
            await stranger.begin_transaction()
            await stranger.send_and_wait(stage.route.results_topic, b"{}", partition=PARTITION)
            await come_to_rest(stage, patience_s=1.0)
        finally:
            await stranger.stop()
        verdict = stage.checker.verdict()
    finally:
        await stage.stop()
    told = [each.detail for each in verdict.examples if each.rule == "hanging_transaction"]
    assert f"{stage.route.results_topic}/{PARTITION}" in told
    assert any("left-open" in detail for detail in told)
    assert verdict.hanging_transactions == len(told)
