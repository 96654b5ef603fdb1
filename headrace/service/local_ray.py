"""Runs a Ray of our own on this machine, for as long as the process lives."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray

from headrace.status.client import quiet_ray

_NICENESS_VARIABLE = "RAY_worker_niceness"


def start_local_ray(
    *,
    num_cpus: int,
    object_store_bytes: int,
    shares_machine_with_broker: bool,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, float] | None = None,
    shows_worker_output: bool = False,
    metrics_port: int | None = None,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Start Ray in the background of this process; ``ray.shutdown`` ends it.

    Its workers, model replicas among them, run at niceness 0, and beside a broker at Ray's own 15:
    at 0 the generator is faster on an idle machine (``generate`` on 2 CPUs: 0.91 against 0.77 of
    the offline rate, one round each), but on a busy one it takes the CPU from a broker beside it
    for seconds: partitions lost their leader. ``RAY_worker_niceness`` in the environment overrides
    both.

    ``num_cpus`` are logical: Ray's bookkeeping. ``variables`` are in the environment of its
    workers; Ray stores and logs none of them. ``metrics_port`` is where Prometheus
    finds the metrics; unset, Ray takes a free one.
    """
    quiet_ray()
    niceness = niceness_variables(os.environ, beside_broker=shares_machine_with_broker)
    with _environment({**(variables or {}), **niceness}):
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=object_store_bytes,
            labels=dict(labels or {}),
            resources=dict(resources or {}),
            include_dashboard=False,
            _metrics_export_port=metrics_port,
            log_to_driver=shows_worker_output,
            logging_level=logging.ERROR,
        )


def niceness_variables(inherited: Mapping[str, str], *, beside_broker: bool) -> dict[str, str]:
    if beside_broker or _NICENESS_VARIABLE in inherited:
        return {}
    return {_NICENESS_VARIABLE: "0"}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that are started within, and not for later ones."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
