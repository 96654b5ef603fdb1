"""Runs a Ray of our own on this machine, for as long as the process lives."""

import logging
from collections.abc import Mapping

import ray

from headrace.status.client import quiet_ray


def start_local_ray(
    *,
    num_cpus: int,
    object_store_bytes: int,
    labels: Mapping[str, str] | None = None,
    resources: Mapping[str, float] | None = None,
    shows_worker_output: bool = False,
) -> None:
    """Start Ray in the background of this process; ``ray.shutdown`` ends it.

    Its workers, model replicas among them, run at Ray's own niceness of 15. At 0 the generator is
    faster on an idle machine (``generate`` on 2 CPUs: 0.91 against 0.77 of the offline rate, one
    round each), but on a busy one it takes the CPU from a broker beside it for seconds: partitions
    lost their leader. On a machine without a broker, set ``RAY_worker_niceness`` in the
    environment.

    ``num_cpus`` are logical: Ray's bookkeeping.
    """
    quiet_ray()
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=object_store_bytes,
        labels=dict(labels or {}),
        resources=dict(resources or {}),
        include_dashboard=False,
        log_to_driver=shows_worker_output,
        logging_level=logging.ERROR,
    )
