"""A cluster, consumers, model replicas, a load and a checker: the target of faults."""

import asyncio
import itertools
import json
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from handoff.clock import SystemClock
from schemas.settings.file import (
    FlowSettings,
    GroupSettings,
    KafkaSettings,
    LimitSettings,
    RetrySettings,
    RouteSettings,
    TransactionSettings,
)
from tests.chaos.checks.checker import Checker
from tests.chaos.checks.observer import Observer
from tests.chaos.checks.promises import FaultWindow, Promises
from tests.chaos.faults.planted import Bug
from tests.chaos.load.load import Load
from tests.chaos.load.records import MAX_REQUEST_BYTES, Workload
from tests.chaos.stage.cluster import Cluster
from tests.chaos.stage.processes import Member, Model

log = logging.getLogger(__name__)

Delivery = Literal["at_least_once", "exactly_once"]
PARTITIONS = 4
METADATA_LIMIT_CHARACTERS = 256
BROKER_METADATA_LIMIT_CHARACTERS = 512
"""Above the consumers' limit: the checker must see an overrun, and the broker not refuse it."""
SESSION_TIMEOUT_S = 3.0
TRANSACTION_TIMEOUT_S = 4.0
COMMIT_INTERVAL_S = 0.5
ATTEMPT_TIMEOUT_S = 8.0
"""Longer than the slowest record takes."""
_DRAIN_TIMEOUT_S = 25.0
_BALANCE_PATIENCE_S = 45.0
_TOPIC_ATTEMPTS = 50
_TOPIC_PAUSE_S = 0.2
_RESPAWN_AFTER_S = 0.2
_LATE_END_S = 1.0
"""From a consumer's last attempt to connect until its process's end is noticed."""
_RECREATED_S = 10.0
"""How long a consumer may take to notice another topic: it reads metadata every few seconds."""
_CATCH_UP_PATIENCE_S = 30.0
_MODEL_START_S = 5.0
"""The longest time from the start of a model replica to its first answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a stage consists of.

    Attributes:
        delivery: The route's delivery.
        nodes: Brokers, 1 or 3.
        members: Consumers at the start.
        models: Model replicas.
        seed: Of the load.
        rate_per_s: Records a second.
        most_unfinished: The load waits above this many unfinished records.
        bug: Planted into every consumer.
        slack_s: As in ``Promises``.
    """

    delivery: Delivery
    nodes: int = 1
    members: int = 3
    models: int = 2
    seed: int = 1
    rate_per_s: float = 150.0
    most_unfinished: int = 1_500
    bug: Bug | None = None
    slack_s: float = 0.3


class Stage:
    """Everything that runs; ``faults.Faults`` injects faults into it.

    Args:
        plan: What it consists of.
        folder: For data, configurations and logs.
    """

    checker_class: type[Checker] = Checker

    def __init__(self, plan: Plan, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.plan = plan
        self.folder = folder
        self.clock = SystemClock()
        self.checker = self.checker_class(
            Promises(
                exactly_once=plan.delivery == "exactly_once",
                commit_interval_s=COMMIT_INTERVAL_S,
                slack_s=plan.slack_s,
                metadata_limit_characters=METADATA_LIMIT_CHARACTERS,
            )
        )
        self.cluster = Cluster(folder / "kafka", plan.nodes, BROKER_METADATA_LIMIT_CHARACTERS)
        self.members: list[Member] = []
        self.models = [Model(f"model{number}", folder) for number in range(plan.models)]
        self.route = make_route(plan.delivery)
        self.observer = Observer(self.cluster.bootstrap, self.route, self.checker)
        self.load = Load(
            self.cluster.bootstrap,
            self.route.requests_topic,
            PARTITIONS,
            Workload(plan.seed),
            self.checker,
            rate_per_s=plan.rate_per_s,
            most_unfinished=plan.most_unfinished,
        )
        self.member_failures: list[str] = []
        self._cut_off_until_s = 0.0
        self._recreated_until_s = 0.0
        self._names = itertools.count(1)
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start everything; return when all partitions are assigned."""
        await self.cluster.start()
        await self.create_topics()
        for model in self.models:
            await model.start()
        await self.observer.start()
        await self.load.start()
        for rank in range(self.plan.members):
            await self.add_member(rank)
        self._keeping = asyncio.create_task(self._keep_members())
        await self.until(self.is_balanced, 60, "all partitions are held")

    async def stop(self) -> None:
        """Stop everything."""
        if self._keeping is not None:
            self._keeping.cancel()
        await self.load.stop()
        await self.observer.stop()
        for child in [*self.members, *self.models]:
            await (child.stop() if isinstance(child, Model) else child.kill())
        await self.cluster.stop()

    async def create_topics(self) -> None:
        route, nodes = self.route, self.plan.nodes
        topics = [
            self._requests_topic(),
            NewTopic(route.results_topic, PARTITIONS, nodes),
            NewTopic(route.dead_letters_topic, 2, nodes),
        ]
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        await admin.start()
        try:
            await _create(admin, topics)
        finally:
            await admin.close()
        # The controller has them before every broker's listener shows them.
        await asyncio.sleep(1.0)

    async def recreate_requests_topic(self) -> None:
        """Delete the requests topic with all its records, and create it again."""
        self._recreated_until_s = math.inf
        admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([self.route.requests_topic])
            await _create(admin, [self._requests_topic()])
        finally:
            await admin.close()
        self._recreated_until_s = self.now_s() + _RECREATED_S
        await asyncio.sleep(1.0)

    async def place(self, topic: str, partition: int, nodes: Sequence[int]) -> None:
        """Move a partition to exactly these nodes."""
        placed = {"topic": topic, "partition": partition, "replicas": list(nodes)}
        path = self.folder / "placed.json"
        path.write_text(json.dumps({"version": 1, "partitions": [placed]}))
        await self.cluster.run_tool(
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            "--bootstrap-server",
            self.cluster.bootstrap,
            "--reassignment-json-file",
            str(path),
            "--execute",
        )

    def _requests_topic(self) -> NewTopic:
        compacted = {
            "cleanup.policy": "compact,delete",
            "retention.ms": "-1",
            "segment.ms": "10000",
            "min.cleanable.dirty.ratio": "0.01",
            "delete.retention.ms": "0",
            "min.compaction.lag.ms": "0",
        }
        topic, nodes = self.route.requests_topic, self.plan.nodes
        return NewTopic(topic, PARTITIONS, nodes, topic_configs=compacted)

    # --- members ---

    async def add_member(self, rank: int) -> Member:
        """Start a consumer; it joins the group later."""
        member = Member(f"consumer{next(self._names)}", rank, self.folder)
        kafka = KafkaSettings(
            bootstrap=self.cluster.proxied_bootstrap,
            offset_metadata_max_bytes=METADATA_LIMIT_CHARACTERS,
        )
        config = {
            "kafka": kafka.model_dump(mode="json"),
            "route": self.route.model_dump(mode="json"),
            "model_ports": [model.port for model in self.models],
        }
        self.members.append(member)
        await member.start(config, self.plan.bug)
        return member

    def member(self, victim: int) -> Member:
        """Return one of the living members."""
        living = [each for each in self.members if each.is_alive] or self.members
        return living[victim % len(living)]

    def free_rank(self) -> int:
        """Return the lowest rank that no member has."""
        ranks = {member.rank for member in self.members}
        return next(rank for rank in itertools.count() if rank not in ranks)

    async def remove_member(self, member: Member, *, is_clean: bool = True) -> None:
        """Drain a member, or kill it."""
        self.members.remove(member)
        if not is_clean:
            await member.kill()
        elif not await member.drain(_DRAIN_TIMEOUT_S):
            self.checker.failed("drain_hung", f"{member.name} did not stop")

    def is_balanced(self) -> bool:
        """Return whether every partition is assigned to exactly one member that runs."""
        held = sorted(each for member in self.members for each in member.partitions)
        return held == list(range(PARTITIONS)) and all(m.is_alive for m in self.members)

    def lost_to_retention_records(self) -> int:
        """Return how many records the members have counted as lost to retention."""
        return sum(member.lost_to_retention_records for member in self.members)

    async def balanced(self) -> None:
        """Wait until all partitions are assigned again."""
        await self.until(self.is_balanced, _BALANCE_PATIENCE_S, "all partitions are held again")

    async def _keep_members(self) -> None:
        """Replace a process that died or failed, as Serve does."""
        while True:
            await asyncio.sleep(_RESPAWN_AFTER_S)
            for member in [each for each in self.members if each.has_ended]:
                now_s = self.now_s()
                reason = member.unforeseen_end(
                    is_cut_off=now_s < self._cut_off_until_s,
                    is_recreated=now_s < self._recreated_until_s,
                )
                if reason is not None:
                    self.member_failures.append(f"{member.name}: {reason}")
                    self.checker.failed("member_failed", self.member_failures[-1])
                self.members.remove(member)
                await self.add_member(member.rank)

    # --- time ---

    def now_s(self) -> float:
        """Return epoch seconds, the time of records on topics."""
        return self.clock.epoch_ms() / 1000

    async def during(
        self,
        name: str,
        action: Callable[[], Awaitable[Any]],
        *,
        is_clean: bool,
        is_disturbing: bool = True,
        is_cutting_off: bool = False,
        uncommitted_s: float = 0.0,
    ) -> None:
        """Run a fault and record its time."""
        start_s = self.now_s()
        if is_cutting_off:
            self._cut_off_until_s = math.inf
        self.checker.fault_begins(is_disturbing=is_disturbing)
        try:
            await action()
        finally:
            end_s = self.now_s()
            if is_cutting_off:
                self._cut_off_until_s = end_s + _LATE_END_S
            window = FaultWindow(name, start_s, end_s, is_clean, is_disturbing, uncommitted_s)
            self.checker.fault(window)

    def note_models(self) -> None:
        """Tell the checker when model replicas were down."""
        for model in self.models:
            for at_s in model.down_at_s:
                self.checker.model_down(at_s, at_s + _MODEL_START_S)

    async def caught_up(self) -> None:
        """Wait for the reader. If it is blocked for too long, that is a violation."""
        if not await self.observer.caught_up(_CATCH_UP_PATIENCE_S):
            undecided = await self.observer.undecided()
            self.checker.failed("never_came", f"the reader; open transactions in {undecided}")

    async def until(self, condition: Callable[[], bool], patience_s: float, what: str) -> bool:
        """Wait until a condition holds. If it does not in time, that is a violation."""
        give_up_at_s = self.clock.monotonic() + patience_s
        while not condition():
            self.observer.check()
            if self.clock.monotonic() > give_up_at_s:
                self.checker.failed("never_came", f"{what}, within {patience_s:.0f} s")
                return False
            await asyncio.sleep(0.05)
        return True


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> None:
    for _ in range(_TOPIC_ATTEMPTS):
        response = await admin.create_topics(topics)
        failed = [each for each in response.topic_errors if each[1]]
        if not failed:
            return
        # A member with this name is about to go.
        await asyncio.sleep(_TOPIC_PAUSE_S)
    raise RuntimeError(f"the topics were not created: {failed}")


def make_route(delivery: Delivery) -> RouteSettings:
    """Return the route of a stage: short timeouts, small limits."""
    return RouteSettings(
        model="chaos",
        requests_topic="chaos.requests",
        results_topic="chaos.results",
        dead_letters_topic="chaos.dead-letters",
        group="chaos",
        delivery=delivery,
        commit_interval_ms=COMMIT_INTERVAL_S * 1000,
        drain_timeout_s=10.0,
        flow=FlowSettings(max_records=4_096, chunk_records=64),
        membership=GroupSettings(
            session_timeout_ms=round(SESSION_TIMEOUT_S * 1000),
            heartbeat_interval_ms=500,
            rebalance_timeout_ms=8_000,
        ),
        # A record that shares its replica with a poison record must not be given up with it.
        retry=RetrySettings(
            max_attempts=5,
            first_backoff_ms=100,
            max_backoff_ms=2_000,
            attempt_timeout_s=ATTEMPT_TIMEOUT_S,
        ),
        limits=LimitSettings(max_request_bytes=MAX_REQUEST_BYTES),
        transactions=TransactionSettings(timeout_ms=round(TRANSACTION_TIMEOUT_S * 1000)),
    )
