"""Real faults, each with the alerts that it must make fire; leaving a fault's context heals it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import psutil
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from consumer.autoscaling.pauses import pause_route, resume_route
from consumer.engine.pausing import Pause
from handoff.clock import SystemClock
from schemas.settings.file import GroupSettings
from schemas.wire import headers
from tests.alerts.model import Orders
from tests.alerts.stage import (
    CONSUMERS,
    EXACT,
    MODEL,
    PARTITIONS,
    PLAIN,
    SHORT_SESSION_S,
    AlertStage,
    route_with,
)

_FLOOD_EVERY_S = 0.25
_FLOOD_RECORDS = 10
_BURST_RECORDS = 2_500
_OVERLOAD_PER_S = 150.0
_SLOW_MS = 50_000
_BROKER_DELAY_S = 0.45
_CLOSED_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the alerts that it must make fire.

    Attributes:
        name: What happens, for a table.
        alerts: By name, and the route or model that they are about.
        of: Causes it, and heals it at the end of its context.
    """

    name: str
    alerts: tuple[tuple[str, str], ...]
    of: Callable[[AlertStage], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def undeployed(stage: AlertStage) -> AsyncIterator[None]:
    others = {name: each for name, each in stage.settings.routes.items() if name != PLAIN}
    await stage.apply(stage.settings.model_copy(update={"routes": others}))
    try:
        yield
    finally:
        await stage.apply(stage.settings)


@contextlib.asynccontextmanager
async def frozen_consumer(stage: AlertStage) -> AsyncIterator[None]:
    with _frozen(stage.consumers(PLAIN)[0]):
        yield


@contextlib.asynccontextmanager
async def group_that_waits(stage: AlertStage) -> AsyncIterator[None]:
    """A member joins while another is frozen: the group waits until that one's session ends."""
    more = route_with(stage.settings, PLAIN, consumers=CONSUMERS + 1)
    try:
        with _frozen(stage.consumers(PLAIN)[0]):
            await stage.apply(more)
            yield
    finally:
        await stage.apply(stage.settings)


@contextlib.asynccontextmanager
async def refused_commits(stage: AlertStage) -> AsyncIterator[None]:
    """A consumer stands still for longer than its session, again and again."""
    short = GroupSettings(
        session_timeout_ms=round(SHORT_SESSION_S * 1000), heartbeat_interval_ms=500
    )
    await stage.apply(route_with(stage.settings, PLAIN, membership=short))

    async def stand_still() -> None:
        with _frozen(stage.consumers(PLAIN)[0]):
            await asyncio.sleep(1.5 * SHORT_SESSION_S)

    try:
        async with _again_and_again(stand_still, every_s=2.5):
            yield
    finally:
        await stage.apply(stage.settings)


@contextlib.asynccontextmanager
async def silent_broker(stage: AlertStage) -> AsyncIterator[None]:
    """The broker answers nothing, while consumers are full."""
    load = stage.loads[PLAIN]
    stage.order(Orders(hold_ms=300))
    await load.publish([load.line() for _ in range(_BURST_RECORDS)])

    async def is_closed() -> bool:
        found = await stage.prometheus.query(
            f'min(ray_headrace_admission_closed{{route="{PLAIN}"}}) > 0'
        )
        return bool(found)

    await stage.until(is_closed, _CLOSED_PATIENCE_S)
    broker = stage.cluster.nodes[0]
    broker.signal(signal.SIGSTOP)
    try:
        stage.order(Orders())
        yield
    finally:
        broker.signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def slow_broker(stage: AlertStage) -> AsyncIterator[None]:
    proxy = stage.cluster.nodes[0].proxy
    proxy.delay_s = _BROKER_DELAY_S
    try:
        yield
    finally:
        proxy.delay_s = 0.0


@contextlib.asynccontextmanager
async def refused_results(stage: AlertStage) -> AsyncIterator[None]:
    """The results topic takes no record any more, so each one aborts its transaction."""
    topic = stage.settings.routes[EXACT].results_topic
    await _configure(stage, topic, {"max.message.bytes": "100"})
    try:
        yield
    finally:
        await _configure(stage, topic, {})


@contextlib.asynccontextmanager
async def failing_model(stage: AlertStage) -> AsyncIterator[None]:
    async with _ordered(stage, Orders(fails_calls=True)):
        yield


@contextlib.asynccontextmanager
async def fitful_model(stage: AlertStage) -> AsyncIterator[None]:
    async with _ordered(stage, Orders(failing_share=0.5)):
        yield


@contextlib.asynccontextmanager
async def overload(stage: AlertStage) -> AsyncIterator[None]:
    load = stage.loads[PLAIN]
    load.rate_per_s = _OVERLOAD_PER_S
    try:
        async with _ordered(stage, Orders(hold_ms=1_000)):
            yield
    finally:
        load.rate_per_s = load.usual_rate_per_s


@contextlib.asynccontextmanager
async def model_that_does_not_start(stage: AlertStage) -> AsyncIterator[None]:
    async with _ordered(stage, Orders(refuses_start=True)):
        for replica in stage.models():
            replica.kill()
        yield


@contextlib.asynccontextmanager
async def poison_flood(stage: AlertStage) -> AsyncIterator[None]:
    async def publish() -> None:
        await stage.loads[PLAIN].publish([b"{"] * _FLOOD_RECORDS)

    async with _again_and_again(publish, every_s=_FLOOD_EVERY_S):
        yield


@contextlib.asynccontextmanager
async def passed_deadlines(stage: AlertStage) -> AsyncIterator[None]:
    load = stage.loads[PLAIN]

    async def publish() -> None:
        late = [load.line() for _ in range(_FLOOD_RECORDS)]
        await load.publish(late, headers=[(headers.DEADLINE, b"1")])

    async with _again_and_again(publish, every_s=_FLOOD_EVERY_S):
        yield


@contextlib.asynccontextmanager
async def deleted_backlog(stage: AlertStage) -> AsyncIterator[None]:
    """The requests topic deletes what nobody has read yet, as retention does."""
    load, topic = stage.loads[PLAIN], stage.settings.routes[PLAIN].requests_topic
    stage.order(Orders(hold_ms=500))
    await load.publish([load.line() for _ in range(_BURST_RECORDS)])
    async with _admin(stage) as admin:
        # -1: all up to the log's end.
        await admin.delete_records(
            {TopicPartition(topic, each): RecordsToDelete(-1) for each in range(PARTITIONS)}
        )
    stage.order(Orders())
    yield


@contextlib.asynccontextmanager
async def long_records(stage: AlertStage) -> AsyncIterator[None]:
    """Among many quick records of one partition some take very long."""
    load = stage.loads[PLAIN]
    mixed = [load.line() if number % 10 else load.line(ms=_SLOW_MS) for number in range(2_000)]
    await load.publish(mixed, partition=0)
    yield


@contextlib.asynccontextmanager
async def paused_route(stage: AlertStage) -> AsyncIterator[None]:
    since_ms = SystemClock().epoch_ms()
    await asyncio.to_thread(pause_route, PLAIN, Pause(since_ms, "the rehearsal"))
    try:
        yield
    finally:
        await asyncio.to_thread(resume_route, PLAIN)


def _of(subject: str, *alerts: str) -> tuple[tuple[str, str], ...]:
    return tuple((alert, subject) for alert in alerts)


FAULTS = (
    Fault(
        "40 records a second that are no requests",
        _of(PLAIN, "HeadraceDeadLetters"),
        poison_flood,
    ),
    Fault(
        "40 records a second whose deadline has passed",
        _of(PLAIN, "HeadraceExpiring"),
        passed_deadlines,
    ),
    Fault("the model fails on every second record", _of(PLAIN, "HeadraceRetrying"), fitful_model),
    Fault("the model fails each call", _of(PLAIN, "HeadraceModelFailing"), failing_model),
    Fault(
        "model replicas are killed and do not start",
        _of(MODEL, "HeadraceModelReplicasMissing"),
        model_that_does_not_start,
    ),
    Fault(
        "five times the load that the model can do",
        (
            *_of(PLAIN, "HeadraceBacklogGrows", "HeadraceLagTooLong"),
            *_of(PLAIN, "HeadraceRecordHeldTooLong", "HeadraceSlow"),
            *_of(MODEL, "HeadraceAtMostReplicas"),
        ),
        overload,
    ),
    Fault(
        "the requests topic deletes records before they are read",
        _of(PLAIN, "HeadraceRecordsLostToRetention"),
        deleted_backlog,
    ),
    Fault(
        "200 records of a partition take 50 s, among quick ones",
        _of(PLAIN, "HeadraceCompletionMapFull"),
        long_records,
    ),
    Fault(
        "the broker is slow: 0.45 s each way",
        _of(PLAIN, "HeadraceCommitsSlow", "HeadracePublishingSlow"),
        slow_broker,
    ),
    Fault(
        "the broker stands still while consumers are full",
        (
            *_of(PLAIN, "HeadraceStalled", "HeadraceReadingPaused"),
            *_of(MODEL, "HeadraceScalingBlind"),
        ),
        silent_broker,
    ),
    Fault(
        "the results topic refuses all records",
        _of(EXACT, "HeadraceTransactionsAborted"),
        refused_results,
    ),
    Fault(
        "a consumer's process stands still",
        _of(PLAIN, "HeadraceConsumersMissing", "HeadracePartitionsUnassigned"),
        frozen_consumer,
    ),
    Fault(
        "a consumer joins while another stands still",
        _of(PLAIN, "HeadraceRebalancing"),
        group_that_waits,
    ),
    Fault(
        "a consumer outlives its session, again and again",
        _of(PLAIN, "HeadraceCommitsRefused"),
        refused_commits,
    ),
    Fault("a person pauses the route", _of(PLAIN, "HeadracePausedLong"), paused_route),
    Fault("the route is taken down", _of(PLAIN, "HeadraceNotReporting"), undeployed),
)

NOT_CAUSED = {
    "HeadraceGpuMemoryFull": "needs a GPU",
    "HeadraceKvCacheFull": "needs vLLM on a GPU, or an hour on a CPU",
    "HeadracePreempting": "needs vLLM on a GPU, or an hour on a CPU",
}
"""Alerts that no fault here makes fire; ``promtool`` fires them with the fault's series."""


@contextlib.contextmanager
def _frozen(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        # Serve may have given it up and killed it.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


@contextlib.asynccontextmanager
async def _ordered(stage: AlertStage, orders: Orders) -> AsyncIterator[None]:
    stage.order(orders)
    try:
        yield
    finally:
        stage.order(Orders())


@contextlib.asynccontextmanager
async def _again_and_again(
    action: Callable[[], Awaitable[None]], every_s: float
) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await action()
            await asyncio.sleep(every_s)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _configure(stage: AlertStage, topic: str, configs: dict[str, str]) -> None:
    async with _admin(stage) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])


@contextlib.asynccontextmanager
async def _admin(stage: AlertStage) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.cluster.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
