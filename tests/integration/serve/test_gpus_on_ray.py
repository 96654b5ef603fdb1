"""What Ray gives a replica, and what the replica makes of it, on a real, local Ray."""

import os
import time
from typing import Any

import pytest
import ray

from headrace.service.running import cluster_room
from serve_models.replicas.gpus import given_gpus, hide_gpus
from serve_models.replicas.runs_on import report_runs_on, reported_runs_on

pytestmark = pytest.mark.serve


class Replica:
    """Looks for its GPUs as model replicas do."""

    def look(self) -> tuple[list[str], str | None]:
        gpus = given_gpus()
        if not gpus:
            hide_gpus()
        return gpus, os.environ.get("CUDA_VISIBLE_DEVICES")

    def report(self) -> None:
        report_runs_on("mine", "cpu", "bfloat16")


def test_a_replica_uses_the_gpus_that_ray_gave_it(local_serve: None) -> None:
    actor: Any = ray.remote(Replica)
    with_part = actor.options(num_cpus=0.1, num_gpus=0.5).remote()
    without = actor.options(num_cpus=0.1, num_gpus=0).remote()

    (part, visible), (none, hidden) = ray.get([with_part.look.remote(), without.look.remote()])
    assert len(part) == 1
    assert visible == part[0]
    assert (none, hidden) == ([], "")

    ray.get(without.report.remote())
    assert reported_runs_on()["mine"] == ["cpu", "bfloat16"]


def test_what_waits_for_room_is_known(local_serve: None) -> None:
    actor: Any = ray.remote(Replica)
    needs = {"CPU": 0.5, "GPU": 3.0}
    waiting = actor.options(num_cpus=0.5, num_gpus=3).remote()

    for _ in range(300):
        room = cluster_room()
        if room.pending:
            break
        time.sleep(0.1)
    assert room.pending is not None
    assert room.waits_for(needs)
    assert not room.waits_for({"CPU": 0.25})
    assert room.total["GPU"] == 2.0
    ray.kill(waiting)
