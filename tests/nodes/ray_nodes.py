"""A Ray cluster of real processes on this machine, whose nodes can be killed."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.stage.ports import reserve_port
from tests.chaos.stage.processes import ROOT
from tests.nodes.ray_host import HEAD

_GONE_PATIENCE_S = 10.0


class RayNodes:
    """A head without CPUs, as on Kubernetes, and workers, each labelled ``place=NAME``.

    Args:
        folder: For the head's store and the host's log.
        cpus: Logical CPUs of each worker.
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._cpus = cpus
        self._port = reserve_port()
        self._host: subprocess.Popen[str] | None = None
        self._processes: dict[str, list[int]] = {}
        self.address = ""

    @property
    def names(self) -> list[str]:
        return sorted(self._processes)

    def start(self, workers: tuple[str, ...] = ("a", "b")) -> None:
        """Start the head, then the workers; the thread that calls must outlive them."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
            # Tests load no weights; a shared machine's memory says nothing about these nodes.
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (self._folder / "ray.log").open("ab") as log:
            self._host = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.nodes.ray_host"),
                    *(str(self._folder / "gcs"), str(self._port)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        for name in (HEAD, *workers):
            self.start_node(name)

    def start_node(self, name: str) -> None:
        cpus = 0 if name == HEAD else self._cpus
        labels = {} if name == HEAD else {"place": name}
        order = {"do": "start", "name": name, "labels": labels, "num_cpus": cpus}
        answer = self._ask(order)
        self._processes[name] = answer["processes"]
        self.address = answer["address"]

    def kill(self, name: str) -> None:
        """End all processes of a node with SIGKILL, and forget it."""
        victims = self.processes(name)
        for process in victims:
            process.kill()
        _, alive = psutil.wait_procs(victims, timeout=_GONE_PATIENCE_S)
        if any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in alive):
            raise RuntimeError(f"processes of {name} outlived SIGKILL: {alive}")
        del self._processes[name]
        self._ask({"do": "forget", "name": name})

    def processes(self, name: str) -> list[psutil.Process]:
        """Return a node's processes, its workers among them, parents first."""
        found: list[psutil.Process] = []
        for pid in self._processes.get(name, ()):
            try:
                process = psutil.Process(pid)
                found += [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self) -> None:
        if self._host is None:
            return
        remaining = [each for name in self.names for each in self.processes(name)]
        self._host.communicate(timeout=60)
        for process in remaining:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._host = None
        self._processes.clear()

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        host = self._host
        if host is None or host.stdin is None or host.stdout is None:
            raise RuntimeError("the cluster was not started")
        host.stdin.write(json.dumps(order) + "\n")
        host.stdin.flush()
        line = host.stdout.readline()
        if not line:
            raise RuntimeError(f"the host of the nodes ended; see {self._folder / 'ray.log'}")
        answer: dict[str, Any] = json.loads(line)
        return answer
