"""A Ray of our own on this machine, for as long as the process lives."""

import logging
import os

import ray

from headrace.status_client import quiet_ray

_WORKER_NICENESS = "RAY_worker_niceness"


def start_local_ray(
    *, num_cpus: int, object_store_bytes: int, shows_worker_output: bool = False
) -> None:
    """Start Ray in the background of this process; ``ray.shutdown`` ends it.

    Ray runs its workers at niceness 15, so that they never keep its own processes from running.
    Model replicas are workers: with as many threads as CPUs, each step of a batch then waits for
    whatever else the machine does. ``generate`` on 2 CPUs, service to offline: 0.77 at niceness
    15, 0.91 at 0. An operator's own setting of the variable stays.

    Args:
        num_cpus: Logical CPUs, Ray's bookkeeping.
        object_store_bytes: Size of the shared memory for objects.
        shows_worker_output: Print what the workers print.
    """
    quiet_ray()
    os.environ.setdefault(_WORKER_NICENESS, "0")
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=object_store_bytes,
        include_dashboard=False,
        log_to_driver=shows_worker_output,
        logging_level=logging.ERROR,
    )
