"""``python -m tests.nodes.ray_host``: starts and holds the nodes of one Ray cluster.

A process of its own keeps Ray out of the test's. It takes a JSON object a line and answers with
one: ``{"do": "start", "name", "labels", "num_cpus"}`` starts a node, the head first, and gives the
ids of its processes; ``{"do": "forget", "name"}`` cleans up after one that was killed. A head that
is started again finds what the first one stored. When stdin ends, all nodes end.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

HEAD = "head"
_OBJECT_STORE_BYTES = 80_000_000


class RayHost:
    """The nodes, by name; ``storage`` is the folder of the head's store."""

    def __init__(self, storage: Path, port: int) -> None:
        self._storage = storage
        self._port = port
        self._cluster = Cluster()
        self._nodes: dict[str, Any] = {}

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "start":
                return self._start(order["name"], order["labels"], order["num_cpus"])
            case "forget":
                self._forget(order["name"])
        return {}

    def stop(self) -> None:
        for node in self._nodes.values():
            node.kill_all_processes(check_alive=False, allow_graceful=False)

    def _start(self, name: str, labels: dict[str, str], num_cpus: int) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if name == HEAD:
            options = {
                "gcs_server_port": self._port,
                "include_dashboard": False,
                "_system_config": {
                    "gcs_storage": "rocksdb",
                    "gcs_storage_path": str(self._storage),
                },
            }
        node = self._cluster.add_node(
            num_cpus=num_cpus,
            labels=labels,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_log_monitor=False,
            **options,
        )
        self._nodes[name] = node
        processes = [each.process.pid for found in node.all_processes.values() for each in found]
        return {"processes": processes, "address": node.gcs_address}

    def _forget(self, name: str) -> None:
        node = self._nodes.pop(name)
        node.kill_all_processes(check_alive=False, allow_graceful=False)
        if name == HEAD:
            self._cluster.head_node = None
        else:
            self._cluster.worker_nodes.discard(node)


def main(storage: Path, port: int) -> None:
    # Ray's own output must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    host = RayHost(storage, port)
    try:
        for line in sys.stdin:
            answers.write(json.dumps(host.answer(json.loads(line))) + "\n")
    finally:
        host.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
