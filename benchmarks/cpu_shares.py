"""Whose CPU a drain takes: broker, consumer, model replica and what is left."""

from collections.abc import Mapping

import psutil

from benchmarks.processes import cpu_seconds, is_replica_title

BROKER = "Kafka broker"
CONSUMER = "consumer"
MODEL = "model replica"
REST = "Ray, and this benchmark"


def cpu_by_part(consumer_deployment: str, model_deployment: str) -> dict[str, float]:
    """Return the CPU seconds so far of this process and its descendants, by part.

    A broker that this process did not start is not among them. A process that has ended is missed.
    """
    this = psutil.Process()
    seconds: dict[str, float] = dict.fromkeys((BROKER, CONSUMER, MODEL, REST), 0.0)
    for process in (this, *this.children(recursive=True)):
        try:
            title = " ".join(process.cmdline())
            spent_s = cpu_seconds(process)
        except psutil.Error:
            continue
        if is_replica_title(title, consumer_deployment):
            part = CONSUMER
        elif is_replica_title(title, model_deployment) or _is_below(process, model_deployment):
            part = MODEL
        elif "kafka.Kafka" in title or "noida" in title:
            part = BROKER
        else:
            part = REST
        seconds[part] += spent_s
    return seconds


def between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the CPU seconds of each part from one reading to the next."""
    return {part: max(0.0, after[part] - before[part]) for part in after}


def _is_below(process: psutil.Process, deployment: str) -> bool:
    """Whether a replica of the deployment started the process."""
    try:
        titles = [" ".join(parent.cmdline()) for parent in process.parents()]
    except psutil.Error:
        return False
    return any(is_replica_title(title, deployment) for title in titles)
