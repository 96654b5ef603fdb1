"""Samples the processes of a service, and what Ray exports of it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.processes import is_replica_title
from headrace.service.applications import consumer_deployment_name, model_deployment_name
from schemas.metrics import metric
from tests.chaos.stage.serve_stage import MODEL, ROUTE
from tests.soak.samples import ProcessSample

_ANSWER_PATIENCE_S = 5.0
_OBJECT_STORE = "ray_object_store_memory"
_BY_WORD = {
    "ray::ServeController": "serve controller",
    "kafka.Kafka": "broker",
    "gcs_server": "gcs",
    "/raylet/raylet": "raylet",
    "dashboard/agent.py": "ray agent",
    "runtime_env/agent": "ray agent",
}


def role_of(title: str) -> str | None:
    """Return what a process of the service does, by its command line; ``None``: nothing of it."""
    for deployment, role in (
        (consumer_deployment_name(ROUTE), "consumer"),
        (model_deployment_name(MODEL), "model"),
    ):
        if is_replica_title(title, deployment):
            return role
    if title.startswith("ray::ServeReplica"):
        return "status board"
    return next((role for word, role in _BY_WORD.items() if word in title), None)


def sample_processes() -> dict[int, ProcessSample]:
    """Return the processes of the service that this one has started, by id."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            role = role_of(" ".join(process.cmdline()))
            if role is not None:
                found[process.pid] = ProcessSample(
                    role=role,
                    resident_bytes=int(process.memory_info().rss),
                    file_descriptors=process.num_fds(),
                    threads=process.num_threads(),
                )
        except psutil.Error:
            continue
    return found


def sample_metrics(port: int) -> dict[str, float]:
    """Return what Ray exports of tasks and objects; nothing if it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_ANSWER_PATIENCE_S) as response:
            text = response.read().decode()
    except (URLError, OSError):
        return {}
    return readings_of(text)


def readings_of(exposition: str) -> dict[str, float]:
    """Return the readings that a soak keeps of an exposition."""
    values: dict[str, list[float]] = defaultdict(list)
    for family in text_string_to_metric_families(exposition):
        for each in family.samples:
            values[each.name].append(each.value)
    found: dict[str, float] = {}
    kept: Sequence[tuple[str, str, Callable[[list[float]], float]]] = (
        ("asyncio tasks of a consumer", metric("event_loop_tasks").exported, _mean),
        ("object store, bytes", _OBJECT_STORE, sum),
    )
    for name, series, merge in kept:
        if series in values:
            found[name] = merge(values[series])
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
