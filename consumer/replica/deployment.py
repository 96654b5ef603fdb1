"""The Serve deployment around the consumer loop: it starts, drains, and reports its health."""

import asyncio
import contextlib
import gc
import logging
import random
from typing import Any

import ray
from ray import serve

from consumer.kafka.control import KafkaControlSource
from consumer.kafka.group.instance_names import name_instance
from consumer.kafka.source.source import KafkaSource
from consumer.loop.consumer_loop import ConsumerLoop
from consumer.object_store.object_store import open_store
from consumer.replica.build import build_engine, loop_settings
from consumer.replica.kafka_publishing import kafka_publishing, result_limit_bytes
from consumer.replica.metrics import ConsumerMetrics
from consumer.replica.reading_notes import open_notes
from consumer.replica.reports import ReplicaSnapshot
from handoff.clock import SystemClock
from handoff.model_handle import ModelHandle
from schemas.settings.file import KafkaSettings, RouteSettings

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0


class Consumer:
    """One consumer replica of one route.

    Args:
        route_name: The route's key in the settings.
        route: Its settings.
        kafka: The cluster.
        urls: The endpoints that its model answers.
        work_field: The body field by which its model ranks requests, if it does.
        calls_per_window: Into how many calls its model wants a replica's window divided.
        model: Handle of the model's deployment.
        status_deployment: Name of the deployment in this application that collects snapshots.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        *,
        route_name: str,
        route: RouteSettings,
        kafka: KafkaSettings,
        urls: frozenset[str],
        work_field: str | None,
        calls_per_window: int,
        model: Any,
        status_deployment: str,
    ) -> None:
        context = serve.get_replica_context()
        self._route_name = route_name
        self._replica = str(context.replica_id.unique_id)
        self._status = serve.get_deployment_handle(status_deployment, context.app_name)
        self._metrics = ConsumerMetrics(route_name)
        store = open_store(route_name, route)
        control = (
            None if route.control_topic is None else KafkaControlSource(kafka, route.control_topic)
        )
        engine = build_engine(
            route_name=route_name,
            route=route,
            urls=urls,
            work_field=work_field,
            calls_per_window=calls_per_window,
            consumer=self._replica,
            metadata_limit_characters=kafka.offset_metadata_max_bytes,
            jitter=random.Random(),  # noqa: S311 - spreads retries, guards nothing
            notes=open_notes(kafka.bootstrap, route.group, route.requests_topic),
            result_limit_bytes=None if store is None else await result_limit_bytes(kafka, route),
        )
        instance_id = None
        if route.membership.static:
            instance_id = name_instance(
                route.group,
                cluster=ray.get_runtime_context().get_session_name(),
                application=context.app_name,
                rank=context.rank.rank,
            )
        source = KafkaSource(kafka, route, group_instance_id=instance_id)
        self._loop = ConsumerLoop(
            engine=engine,
            source=source,
            publishing=kafka_publishing(kafka, route, engine=engine, source=source),
            model=ModelHandle(model),
            clock=SystemClock(),
            settings=loop_settings(route),
            store=store,
            control=control,
        )
        self._is_drained = False
        await self._loop.start()
        # What is loaded by now stays. The garbage collector need not go through it every few
        # thousand records, which took an eighth of this process's time.
        gc.collect()
        gc.freeze()
        self._reporting = asyncio.get_running_loop().create_task(self._report())

    async def check_health(self) -> None:
        """Raise if the consumer loop has failed; Serve then replaces this replica."""
        self._loop.check()

    async def drain(self) -> None:
        """Finish what is in flight, commit and leave the group; the replica idles from then on."""
        if not self._is_drained:
            self._is_drained = True
            await self._loop.drain()

    async def __del__(self) -> None:
        """Drain; Serve awaits this when it stops the replica."""
        await self.drain()
        self._reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reporting

    def snapshot(self) -> ReplicaSnapshot:
        """Return what this replica is doing."""
        engine = self._loop.engine
        counters = engine.counters
        error = self._loop.failure
        return ReplicaSnapshot(
            route=self._route_name,
            replica=self._replica,
            received_records=counters.received_records,
            completed_records=counters.completed_records,
            dead_letter_records=counters.dead_letter_records,
            expired_records=counters.expired_records,
            cancelled_records=counters.cancelled_records,
            refused_records=counters.refused_records,
            retried_records=counters.retried_records,
            skipped_records=counters.skipped_records,
            lost_to_retention_records=counters.lost_to_retention_records,
            measured_records=counters.measured_records,
            measured_tokens=counters.measured_tokens,
            in_flight_records=engine.in_flight_records,
            queued_records=engine.queued_records,
            runnable_records=engine.runnable_records,
            reads_on=engine.reads_on,
            partitions=[each.partition for each in engine.partitions],
            model_replicas=engine.calls.windows.replicas,
            waits=[] if error else self._loop.waits(),
            error=None if error is None else repr(error),
        )

    async def _report(self) -> None:
        while True:
            snapshot = self.snapshot()
            self._metrics.update(snapshot)
            try:
                await self._status.report.remote(snapshot.to_dict())
            except Exception as error:  # noqa: BLE001 - a lost report must never stop the consumer
                log.debug("the status board did not take a report: %r", error)
            await asyncio.sleep(_REPORT_EVERY_S)
