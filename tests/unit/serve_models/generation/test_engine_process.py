"""What an engine's processes find in their environment, and that they end with their replica."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Collection
from typing import Any

import pytest

from serve_models.generation.engine_process import (
    REPLICA_VARIABLE,
    end_with_replica,
    engine_environment,
    set_engine_environment,
)

from .test_placement import generator

# A replica that starts an engine process, says its pid, and would wait for ever.
REPLICA = f"""
import os, subprocess, sys
os.environ[{REPLICA_VARIABLE!r}] = str(os.getpid())
engine = subprocess.Popen(
    [sys.executable, "-c", '''
import sys
from serve_models.generation.engine_process import end_with_replica
end_with_replica()
print("ready", flush=True)
sys.stdin.read()
'''],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
engine.stdout.readline()
print(engine.pid, flush=True)
engine.wait()
"""


def test_nothing_is_sent_anywhere_and_the_hub_is_left_alone() -> None:
    environment = engine_environment(generator(), {}, pid=7, cpus=range(16))
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_LOGGING_LEVEL"] == "WARNING"
    assert environment[REPLICA_VARIABLE] == "7"


@pytest.mark.parametrize(
    ("changes", "threads"),
    [
        ({}, "1"),
        ({"num_cpus": 3.5}, "3"),
        ({"num_cpus": 0.5}, "1"),
        ({"num_cpus": 8, "threads": 2}, "2"),
        ({"num_cpus": 8, "engine_args": {"tensor_parallel_size": 2}}, "4"),
    ],
)
def test_cpu_threads_are_the_settings(changes: dict[str, Any], threads: str) -> None:
    environment = engine_environment(generator(**changes), {}, pid=7, cpus=range(16))
    assert environment["OMP_NUM_THREADS"] == threads
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


@pytest.mark.parametrize(
    ("workers", "cpus", "binding"),
    [
        (1, [0, 1, 2, 3], "0,1,2,3"),
        (1, {12, 3, 8, 5}, "3,5,8,12"),
        (2, [4, 5, 6, 7], "4,5|6,7"),
        (4, [0, 1, 2, 3], "0|1|2|3"),
        (3, [0, 1, 2, 3], "nobind"),
        (1, [0, 1, 2, 3, 4], "nobind"),
        (1, [0, 1, 2], "nobind"),
        (1, [], "nobind"),
    ],
)
def test_threads_are_bound_where_they_are_as_many_as_the_cpus(
    workers: int, cpus: Collection[int], binding: str
) -> None:
    settings = generator(num_cpus=4, engine_args={"tensor_parallel_size": workers})
    environment = engine_environment(settings, {}, pid=7, cpus=cpus)
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == binding


def test_an_operators_own_values_stay_and_a_gpu_needs_none_of_a_cpus() -> None:
    own = {"VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_CPU_OMP_THREADS_BIND": "0-3"}
    environment = engine_environment(generator(num_cpus=2), own, pid=7, cpus=[0, 1])
    assert own.items() <= environment.items()
    on_gpu = engine_environment(generator(num_gpus=1), {}, pid=7, cpus=[0])
    assert "OMP_NUM_THREADS" not in on_gpu
    assert "VLLM_CPU_OMP_THREADS_BIND" not in on_gpu


def test_they_are_set_before_vllm_is_imported() -> None:
    environment = {"PATH": "/bin"}
    set_engine_environment(generator(), environment)
    assert environment["PATH"] == "/bin"
    assert environment[REPLICA_VARIABLE] == str(os.getpid())


def test_a_process_that_no_replica_started_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in (None, str(os.getpid()), "nonsense"):
        if owner is None:
            monkeypatch.delenv(REPLICA_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(REPLICA_VARIABLE, owner)
        end_with_replica()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_an_engine_ends_with_a_replica_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", REPLICA], stdout=subprocess.PIPE, text=True
    ) as replica:
        assert replica.stdout is not None
        engine_pid = int(replica.stdout.readline())
        # Readable, that is ended, once the engine is gone; no waiting by the clock.
        engine = os.pidfd_open(engine_pid)
        replica.send_signal(signal.SIGKILL)
    try:
        ended, _, _ = select.select([engine], [], [], 20)
        assert ended
    finally:
        os.close(engine)
