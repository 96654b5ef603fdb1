"""A whole service on this machine: broker, Ray, topics and the Serve applications.

`headrace up`, the demo, benchmarks and tests all run this one class.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import ray
from ray import serve

from consumer.replica.reports import RouteStatus
from headrace.brokers import RunningBroker, start_broker
from headrace.brokers.readiness import answers_metadata
from headrace.errors import ServiceError
from headrace.service.applications import (
    ApplicationSpec,
    logging_options,
    model_application_name,
    route_application_name,
    specs_of,
    title_of,
)
from headrace.service.changes import Change, RunningApplication, plan, plan_lines
from headrace.service.deployment_lines import failure_line, outline
from headrace.service.joining import join_ray
from headrace.service.local_ray import start_local_ray
from headrace.service.placing import one_node_for, unplaced_lines
from headrace.service.running import (
    close_handles,
    cluster_nodes,
    is_serve_running,
    running_applications,
)
from headrace.service.stop_times import application_stop_timeout_s, service_stop_timeout_s
from headrace.service.stopping import delete_applications
from headrace.status.client import quiet_ray, read_deployments, read_statuses
from headrace.topics import create_missing_topics, describe_report, find_unfit_topics
from schemas.settings.autoscaling import most_replicas
from schemas.settings.file import Settings
from schemas.settings.models import missing_template, weight_sources
from schemas.settings.secrets import own_secrets
from serve_models.weights.sources import ModelSourceError, resolve_all

__all__ = ["LocalService", "RayChoice", "quiet_ray", "read_statuses"]

RayChoice = Literal["auto", "local"]

SPARE_CPUS = 1
OBJECT_STORE_BYTES = 512 * 1024 * 1024
_LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}


class LocalService:
    """Starts a settings file's service, and stops it again as a context manager.

    Stops only what it started itself: a service that runs already is changed to the settings, and
    stays when this one stops (``is_joined``). Start it from a thread that lives as long as the
    service must: a local broker dies with the thread that started it.

    Args:
        settings: Port 0 in ``kafka.bootstrap`` means a new local broker on a free port.
        data_dir: Where a local broker keeps its data.
        use_ray: ``auto`` joins a running cluster, or else starts one; ``local`` always starts one.
        say: Takes one line on each step, for a person.
        show_plan: Takes the changes of a running service before they are made; ``say`` takes them
            if unset.
        metrics_port: Where a Ray that is started here has its metrics; a free port if unset.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        data_dir: Path,
        use_ray: RayChoice = "auto",
        say: Callable[[str], None] = lambda _line: None,
        show_plan: Callable[[Sequence[Change]], None] | None = None,
        metrics_port: int | None = None,
    ) -> None:
        self.settings = settings
        self._data_dir = data_dir
        self._use_ray = use_ray
        self._metrics_port = metrics_port
        self._say = say
        self._stack = ExitStack()
        self._owns_ray = False
        self._is_up = False
        self._has_left_ray = False
        self.is_joined = False
        self._show_plan = show_plan or self._say_plan
        self.broker: RunningBroker | None = None

    def start(self) -> Self:
        """Return when the application runs; else stop what was started.

        Raises ``ServiceError``, or ``BrokerStartError`` of ``headrace.brokers``.
        """
        with ExitStack() as undo:
            undo.callback(self._stack.close)
            self._start_broker()
            self._create_topics()
            self._start_ray()
            self._deploy()
            undo.pop_all()
        return self

    def stop(self) -> None:
        """Drain the application, then stop what was started here; stopping twice does nothing."""
        self._stack.close()

    def leave_ray(self) -> None:
        """Stop nothing on Ray when this service stops: Ray does not answer any more."""
        self._has_left_ray = True

    def statuses(self) -> dict[str, RouteStatus]:
        """Return what each route's consumers report; a route that has not reported is missing."""
        return read_statuses()

    def console(self) -> str | None:
        """Return a line on where the console is; ``None`` if the settings have none."""
        from headrace.console.client import console_line  # noqa: PLC0415 - only `up` asks

        return console_line() if self.settings.console.enabled else None

    def deployments(self) -> dict[str, str]:
        return read_deployments()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_broker(self) -> None:
        kafka = self.settings.kafka
        if kafka.broker == "external":
            return
        host, port = local_address(self.settings)
        if port and answers_metadata(host, port):
            self._say(f"Kafka: the broker at {kafka.bootstrap} answers already")
            return
        self.broker = self._stack.enter_context(
            start_broker(kafka.broker, data_dir=self._data_dir / kafka.broker, port=port)
        )
        self._say(f"Kafka: {self.broker.description}, at {self.broker.bootstrap}")
        # Another spelling of the same address would look like a change to the next `headrace up`.
        if not port:
            self.settings = with_bootstrap(self.settings, self.broker.bootstrap)

    def _create_topics(self) -> None:
        for report in create_missing_topics(self.settings):
            differs = report.found.partitions != report.wanted.partitions
            if report.is_created or report.problem or differs:
                self._say(f"Topic {report.topic}: {describe_report(report)}")
        for problem in find_unfit_topics(self.settings):
            self._say(f"Warning: {problem}")

    def _start_ray(self) -> None:
        if ray.is_initialized():
            return
        num_cpus = logical_cpus(self.settings)
        if self._use_ray == "auto" and join_ray():
            self._on_ray(ray.shutdown)
            self._say(describe_cluster(self._cluster_cpus(), num_cpus))
            for line in unplaced_lines(self.settings, cluster_nodes()):
                self._say(f"Warning: {line}")
            if variables := sorted(own_secrets(self.settings)):
                self._say(
                    f"Ray: replicas take {' and '.join(variables)} from the environment in which "
                    "Ray was started, as Ray would store what it is given from here"
                )
            return
        node = one_node_for(self.settings)
        self._find_models()
        start_local_ray(
            num_cpus=num_cpus,
            object_store_bytes=OBJECT_STORE_BYTES,
            shares_machine_with_broker=has_broker_here(self.settings),
            labels=node.labels,
            resources=node.resources,
            metrics_port=self._metrics_port,
            variables=own_secrets(self.settings),
        )
        self._owns_ray = True
        self._on_ray(ray.shutdown)
        self._say(f"Ray: started on this machine, {num_cpus} logical CPUs")

    def _on_ray(self, step: Callable[[], object]) -> None:
        """Take a step at the stop, unless Ray is left by then."""
        self._stack.callback(lambda: None if self._has_left_ray else step())

    def _cluster_cpus(self) -> float:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return resources.get("CPU", 0.0)

    def _find_models(self) -> None:
        """Fail at once if a model's files are missing: its replicas would fail later."""
        for name, model in self.settings.models.items():
            if (template := missing_template(model)) is not None:
                raise ServiceError(f"models.{name}.chat_template: there is no file {template}")
            try:
                resolve_all(weight_sources(model), self.settings.weights.cache)
            except ModelSourceError as error:
                raise ServiceError(f"models.{name}.{error}") from None

    def _deploy(self) -> None:
        is_new = not is_serve_running()
        # For Serve's controller; one that runs already keeps what it has.
        logs = logging_options(self.settings.logging).get("logging_config")
        serve.start(proxy_location="Disabled", logging_config=logs)
        # On a Ray of our own Serve ends with the cluster.
        if self._owns_ray:
            self._on_ray(close_handles)
        elif is_new:
            self._on_ray(serve.shutdown)
        self.is_joined = bool(running_applications())
        if not self.is_joined:
            self._on_ray(self._delete)
        failures = self._apply()
        if not self.is_joined and not serves_any_route(self.settings, failures):
            lines = "\n".join(f"{title_of(name)}: {outline(why)}" for name, why in failures.items())
            raise ServiceError(f"the service did not come up:\n{lines}")
        self._is_up = True

    def apply(self, settings: Settings) -> dict[str, str]:
        """Change what runs to ``settings``; return, by name, why applications do not run.

        Raises ``ServiceError`` if a RayService deploys what runs.
        """
        self.settings = settings
        self._create_topics()
        return self._apply()

    def _apply(self) -> dict[str, str]:
        specs = specs_of(self.settings)
        running = running_applications()
        if any(each.is_declared for each in running.values()):
            raise ServiceError(
                "a config file deploys what runs here (of a RayService, or by `serve deploy`): "
                "change that one; `headrace render` writes it"
            )
        changes = plan(running, specs)
        if running:
            self._show_plan(changes)
        else:
            self._say("Serve: deploying, loading models")
        # Imports Ray Serve's part of Headrace: a typo in the settings should not wait for that.
        from headrace.service.adapters import adapter_problems  # noqa: PLC0415 - see above
        from headrace.service.deploying import carry_out  # noqa: PLC0415 - see above

        failures = carry_out(
            changes,
            specs,
            self.settings.kafka,
            stop_timeout_s=self._stop_timeout_s(running),
            say=self._say,
        )
        for name, why in failures.items():
            self._say(
                f"{title_of(name)} did not come up: {failure_line(why)}. {what_to_do(name, specs)}"
            )
        for problem in adapter_problems(changes):
            self._say(f"{problem}; its requests fail until it can be loaded")
        self._say("Serve: the service runs" if not failures else "Serve: the others run")
        return failures

    def _stop_timeout_s(self, running: Mapping[str, RunningApplication]) -> float:
        # What runs may be of other settings, and take longer to drain.
        running_s = [application_stop_timeout_s(each.options) for each in running.values()]
        return max([service_stop_timeout_s(self.settings), *running_s])

    def _say_plan(self, changes: Sequence[Change]) -> None:
        for line in plan_lines(changes):
            self._say(line)

    def _delete(self) -> None:
        if self._is_up:
            self._say("Draining: finishing what is in flight, committing, leaving the group")
        timeout_s = self._stop_timeout_s(running_applications())
        if not delete_applications(timeout_s):
            self._say(
                f"Serve: the service has not stopped within {timeout_s:g} s. What was started "
                "here is ended now; where Serve ran before, it goes on stopping: see `serve "
                "status`. What was not committed is computed again after the next start"
            )


def serves_any_route(settings: Settings, failures: Collection[str]) -> bool:
    for name, route in settings.routes.items():
        models = map(model_application_name, settings.models_behind(route.model))
        if not {route_application_name(name), *models} & set(failures):
            return True
    return False


def what_to_do(application: str, specs: Sequence[ApplicationSpec]) -> str:
    callers = [title_of(each.name) for each in specs if application in each.calls]
    waiting = f"{' and '.join(callers)} wait for it, and lose nothing. " if callers else ""
    return f"{waiting}Put it right, and run `headrace up` again"


def local_address(settings: Settings) -> tuple[str, int]:
    """Return a local broker's address; raises ``ServiceError`` if it is not on this machine."""
    kafka = settings.kafka
    host, _, port = kafka.bootstrap.rpartition(":")
    if host not in {"127.0.0.1", "localhost"}:
        raise ServiceError(
            f"kafka.bootstrap: {kafka.bootstrap} is not this machine, so no {kafka.broker} broker "
            "can be started there; set it to 127.0.0.1:PORT, or kafka.broker to external"
        )
    return "127.0.0.1", int(port)


def has_broker_here(settings: Settings) -> bool:
    """Whether a broker runs on this machine: one of ours, or one whose address is local."""
    addresses = settings.kafka.bootstrap.split(",")
    hosts = {each.rpartition(":")[0].strip("[]") for each in addresses}
    return settings.kafka.broker != "external" or bool(hosts & _LOCAL_HOSTS)


def with_bootstrap(settings: Settings, bootstrap: str) -> Settings:
    kafka = settings.kafka.model_copy(update={"bootstrap": bootstrap})
    return settings.model_copy(update={"kafka": kafka})


def describe_cluster(cluster_cpus: float, wanted_cpus: int) -> str:
    """Return a line on the joined Ray cluster, with a warning if it is too small."""
    if cluster_cpus >= wanted_cpus:
        return f"Ray: joined the cluster that runs here, {cluster_cpus:g} CPUs"
    return (
        f"Ray: joined the cluster that runs here; it has {cluster_cpus:g} CPUs where the replicas "
        f"set {wanted_cpus} aside, so some may wait for room. --own-ray starts another"
    )


def logical_cpus(settings: Settings) -> int:
    """Return the CPUs that all replicas of all models and routes reserve, and one to spare.

    They are Ray's bookkeeping, not the machine's: small machines run many idle replicas.
    """
    models = sum(
        most_replicas(model.replicas, model.autoscaling) * model.num_cpus
        for model in settings.models.values()
    )
    consumers = sum(
        most_replicas(route.consumers, route.autoscaling) * route.consumer_num_cpus
        for route in settings.routes.values()
    )
    return math.ceil(models + consumers) + SPARE_CPUS
