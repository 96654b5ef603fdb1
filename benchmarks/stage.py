"""Broker, Ray and deployments for benchmarks: started once, consumers deployed for each round.

The model is a Serve application of its own, as in the service, so that it stays loaded and warm
while consumers come and go.
"""

import asyncio
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import ray
from ray import serve

from benchmarks import load
from benchmarks.environment import BrokerChoice
from benchmarks.load import Topics
from benchmarks.processes import find_replica
from headrace.brokers import start_broker
from headrace.service.app import application_of, handle_of_model
from headrace.service.applications import ApplicationSpec, consumer_deployment_name, specs_of
from headrace.service.local_ray import start_local_ray
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, RouteSettings, Settings, TopicSettings
from schemas.settings.models import ModelSettings
from schemas.settings.tracing import TracingSettings

MODEL_NAME = "benched"
ROUTE_NAME = "bench"
_LOGICAL_CPUS = 64
_OBJECT_STORE_BYTES = 256 * 1024 * 1024


class Stage:
    """A broker and a Ray of this process's own, as a context manager.

    Args:
        choice: Which broker.
        scratch: Where a local broker keeps its data.
        say: Takes one line of progress.

    Attributes:
        tracing: Of what is deployed from now on.
    """

    def __init__(self, choice: BrokerChoice, scratch: Path, say: Callable[[str], None]) -> None:
        self._choice = choice
        self._scratch = scratch
        self._say = say
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._token = secrets.token_hex(3)
        self.bootstrap = choice.bootstrap
        self.tracing = TracingSettings()
        self.broker = f"external broker at {choice.bootstrap}"

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self._stack.close)
            if self._choice.kind != "external":
                running = self._stack.enter_context(
                    start_broker(self._choice.kind, data_dir=self._scratch / "broker")
                )
                self.bootstrap, self.broker = running.bootstrap, running.description
            self._say(f"broker: {self.broker} ({self._choice.reason})")
            self._start_ray()
            undo.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    @contextmanager
    def topics(self) -> Iterator[Topics]:
        """Create fresh topics, and delete them afterwards."""
        prefix = f"bench-{self._token}-{next(self._numbers):03}"
        topics = Topics(f"{prefix}-requests", f"{prefix}-results", f"{prefix}-dead-letters")
        asyncio.run(load.create_topics(self.bootstrap, topics.names))
        try:
            yield topics
        finally:
            asyncio.run(load.delete_topics(self.bootstrap, topics.names))

    def publish(self, topics: Topics, lines: Iterable[bytes]) -> int:
        """Publish a backlog of request lines, and return how many."""
        return asyncio.run(load.publish(self.bootstrap, topics.requests, lines))

    @contextmanager
    def model(self, settings: ModelSettings) -> Iterator[Any]:
        """Deploy a model, and yield its handle for streaming calls of ``infer``."""
        # Any route will do: its consumers are not deployed here.
        topics = Topics("requests", "results", "dead-letters")
        _, model, _ = self._specs(topics, settings)
        with self._running(model):
            yield model_handle()

    @contextmanager
    def application(self, application: serve.Application, name: str) -> Iterator[Any]:
        """Run a Serve application, and yield its handle."""
        try:
            yield serve.run(application, name=name, route_prefix=None)
        finally:
            serve.delete(name)

    @contextmanager
    def consumer(
        self, topics: Topics, model: ModelSettings, **route_settings: Any
    ) -> Iterator[psutil.Process]:
        """Deploy one consumer replica over the running model, and yield its process.

        Args:
            topics: What it reads and writes.
            model: The settings of the running model.
            route_settings: Route settings that differ from the defaults.
        """
        status, _, consumer = self._specs(topics, model, **route_settings)
        with self._running(status), self._running(consumer):
            yield find_replica(consumer_deployment_name(ROUTE_NAME))

    def _specs(
        self, topics: Topics, model: ModelSettings, **route_settings: Any
    ) -> list[ApplicationSpec]:
        """Return the applications of a service of one route: status, model and consumer."""
        route = RouteSettings(
            model=MODEL_NAME,
            requests_topic=topics.requests,
            results_topic=topics.results,
            dead_letters_topic=topics.dead_letters,
            group=topics.group,
            topics=TopicSettings(partitions=load.PARTITIONS),
            **route_settings,
        )
        return specs_of(
            Settings(
                kafka=KafkaSettings(bootstrap=self.bootstrap),
                models={MODEL_NAME: model},
                routes={ROUTE_NAME: route},
                tracing=self.tracing,
                console=ConsoleSettings(enabled=False),
            )
        )

    @contextmanager
    def _running(self, spec: ApplicationSpec) -> Iterator[None]:
        kafka = KafkaSettings(bootstrap=self.bootstrap)
        with self.application(application_of(spec, kafka), spec.name):
            yield

    def drain(
        self,
        model: ModelSettings,
        lines: Iterable[bytes],
        **route_settings: Any,
    ) -> list[int]:
        """Publish a backlog, deploy a consumer on it, and return the results' times.

        The backlog is complete before the consumer exists.

        Returns:
            Epoch milliseconds of each result.

        Raises:
            benchmarks.load.BenchmarkFailedError: Not every request has exactly one good result.
        """
        with self.topics() as topics:
            records = self.publish(topics, lines)
            with self.consumer(topics, model, **route_settings):
                asyncio.run(load.wait_for_records(self.bootstrap, topics.results, records))
            content = asyncio.run(load.read_topic(self.bootstrap, topics.results))
        load.check_results(content, records)
        return content.timestamps_ms

    def _start_ray(self) -> None:
        # The logical CPUs are Ray's bookkeeping: nothing here should wait for room.
        start_local_ray(
            num_cpus=_LOGICAL_CPUS,
            object_store_bytes=_OBJECT_STORE_BYTES,
            shares_machine_with_broker=True,
            shows_worker_output=bool(os.environ.get("HEADRACE_BENCH_LOGS")),
        )
        # Serve ends with the cluster, which is ours alone.
        self._stack.callback(ray.shutdown)
        serve.start(proxy_location="Disabled")


def model_handle() -> Any:
    """Return a handle of the running model, for streaming calls of ``infer``."""
    return handle_of_model(MODEL_NAME).options(stream=True, method_name="infer")
