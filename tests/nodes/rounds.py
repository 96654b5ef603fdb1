"""Rounds of kills on three nodes, and their verdict."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.service.applications import consumer_deployment_name, model_deployment_name
from tests.chaos.checks.promises import Verdict
from tests.chaos.run import come_to_rest
from tests.chaos.stage.serve_stage import MODEL, ROUTE
from tests.chaos.stage.stage import Delivery, Plan
from tests.nodes.ray_host import HEAD
from tests.nodes.stage import WORKERS, Kill, NodesStage

SETTLE_PATIENCE_S = 60.0
_RATE_PER_S = 600.0
"""More than the models can: the load waits for them."""
_MOST_UNFINISHED = 1_200


@dataclass(frozen=True, slots=True)
class Order:
    """Which node to kill, and how long it is away."""

    node: str
    away_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    delivery: Delivery
    kills: list[Kill]
    verdict: Verdict


def draw(seed: int, count: int, delivery: Delivery) -> list[Order]:
    """Draw kills: the head and each worker while there is room, then any. Pure."""
    rng = random.Random(f"{seed}/{delivery}")
    names = [HEAD, *WORKERS]
    rng.shuffle(names)
    chosen = (names + rng.choices(names, k=count))[:count]
    # Ray's nodes wait for their head for a minute, and then end.
    return [Order(name, round(rng.uniform(1.0, 25.0), 1)) for name in chosen]


async def run_rounds(
    delivery: Delivery,
    orders: Sequence[Order],
    seed: int,
    folder: Path,
    on_kill: Callable[[Kill], None] = lambda _kill: None,
) -> Outcome:
    """Start three nodes and the service, kill as ordered, come to rest, and judge."""
    plan = _plan(delivery, seed, models=len(WORKERS))
    stage = NodesStage(plan, folder)
    kills = []
    try:
        await stage.during("start", stage.start, is_clean=True)
        await stage.until(
            lambda: stage.checker.finished_records > 500, 60, "the first outcomes are seen"
        )
        for order in orders:
            kills.append(await stage.kill(order.node, order.away_s))
            on_kill(kills[-1])
            if order.node == HEAD:
                await stage.rejoin()
            await stage.status()
        await come_to_rest(stage, SETTLE_PATIENCE_S)
        return Outcome(delivery, kills, stage.checker.verdict())
    finally:
        await stage.stop()


async def run_upgrade(delivery: Delivery, seed: int, folder: Path) -> tuple[float, Verdict]:
    """Move the service from one cluster to another; return the rate's ratio, and the verdict."""
    stage = NodesStage(_plan(delivery, seed, models=2), folder, workers=WORKERS)
    try:
        await stage.during("start", stage.start, is_clean=True)
        ratio = await stage.upgrade()
        await come_to_rest(stage, SETTLE_PATIENCE_S)
        return round(ratio, 3), stage.checker.verdict()
    finally:
        await stage.stop()


async def run_scaling(seed: int, folder: Path) -> tuple[dict[str, dict[str, int]], Verdict]:
    """Let a backlog scale the service over the nodes; return the most replicas, and the verdict."""
    plan = _plan("exactly_once", seed, models=1, members=1, most_unfinished=4_000)
    stage = NodesStage(plan, folder, is_scaled=True)
    deployments = (consumer_deployment_name(ROUTE), model_deployment_name(MODEL))
    most: dict[str, dict[str, int]] = {each: dict.fromkeys(WORKERS, 0) for each in deployments}

    def is_spread() -> bool:
        for deployment, nodes in most.items():
            for name, replicas in stage.spread(deployment).items():
                nodes[name] = max(nodes[name], replicas)
        return all(replicas > 0 for nodes in most.values() for replicas in nodes.values())

    try:
        await stage.during("start", stage.start, is_clean=True)
        await stage.until(is_spread, 120, "replicas of both run on both nodes")
        await come_to_rest(stage, SETTLE_PATIENCE_S)
        return most, stage.checker.verdict()
    finally:
        await stage.stop()


def _plan(
    delivery: Delivery,
    seed: int,
    *,
    models: int,
    members: int = 2,
    most_unfinished: int = _MOST_UNFINISHED,
) -> Plan:
    return Plan(
        delivery=delivery,
        seed=seed,
        members=members,
        models=models,
        rate_per_s=_RATE_PER_S,
        most_unfinished=most_unfinished,
        slack_s=1.0,
    )
