"""One or three nodes of a real Apache Kafka, each with a proxy before the listener for clients."""

import asyncio
import os
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from headrace.brokers.kafka_home import (
    FORMAT_TIMEOUT_S,
    LOG4J2,
    START_TIMEOUT_S,
    ExtraListener,
    _find_home,
    _find_java,
    broker_properties,
)
from headrace.brokers.process import BrokerProcess
from tests.chaos.stage.ports import reserve_port
from tests.chaos.stage.proxy import Proxy

_HEAP = {1: ["-Xms256m", "-Xmx768m"], 3: ["-Xms192m", "-Xmx512m"]}
# A short life on few cores: optimising compilation would cost more time than it saves.
_JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Node:
    """One broker and controller, and the proxy through which the service's clients reach it."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.directory = directory
        self.port = reserve_port()
        self.controller_port = reserve_port()
        self._proxied_port = reserve_port()
        self.proxy = Proxy(reserve_port(), self._proxied_port)
        self._process: BrokerProcess | None = None

    def configure(self, voters: str, cluster_size: int, metadata_limit_characters: int) -> Path:
        """Write the node's files and return its configuration's path."""
        self.directory.mkdir(parents=True)
        listener = ExtraListener(name="PROXIED", protocol="PLAINTEXT", port=self._proxied_port)
        properties = broker_properties(
            port=self.port,
            controller_port=self.controller_port,
            log_dir=self.directory / "kafka",
            extra_listeners=[listener],
        )
        replicas, in_sync = str(cluster_size), str(cluster_size // 2 + 1)
        properties |= {
            "node.id": str(self.number),
            "controller.quorum.voters": voters,
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},"
            f"PROXIED://127.0.0.1:{self.proxy.port}",
            "offset.metadata.max.bytes": str(metadata_limit_characters),
            "group.min.session.timeout.ms": "1000",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "min.insync.replicas": in_sync,
            "default.replication.factor": replicas,
            "log.cleaner.backoff.ms": "500",
            "log.cleaner.dedupe.buffer.size": "8000000",
            "file.delete.delay.ms": "2000",
            "leader.imbalance.check.interval.seconds": "15",
            "unclean.leader.election.enable": "false",
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    def launch(self, java: list[str]) -> None:
        """Start the process; ``wait_ready`` waits until it answers."""
        self._process = BrokerProcess(
            [*java, "kafka.Kafka", str(self.directory / "server.properties")],
            log_file=self.directory / "broker.log",
        )

    async def wait_ready(self) -> None:
        """Return when the broker answers."""
        await asyncio.to_thread(self._running().wait_ready, "127.0.0.1", self.port, START_TIMEOUT_S)

    def kill(self) -> None:
        """End it like a power cut."""
        self._running().kill()

    async def stop(self) -> None:
        await asyncio.to_thread(self._running().stop)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._running().process_id, number)

    def _running(self) -> BrokerProcess:
        if self._process is None:
            raise RuntimeError(f"node {self.number} was not launched")
        return self._process


class Cluster:
    """Nodes that start, die and return; ``bootstrap`` bypasses the proxies.

    Args:
        directory: Where the nodes keep their data; must not exist.
        size: 1 or 3.
        metadata_limit_characters: ``offset.metadata.max.bytes``.
    """

    def __init__(self, directory: Path, size: int, metadata_limit_characters: int) -> None:
        self.nodes = [Node(number, directory / f"node{number}") for number in range(1, size + 1)]
        self._directory = directory
        self._metadata_limit_characters = metadata_limit_characters
        self._home = _find_home(None)
        self._java: list[str] = []

    @property
    def bootstrap(self) -> str:
        """HOST:PORT of every node, bypassing the proxies."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def proxied_bootstrap(self) -> str:
        """HOST:PORT of every node's proxy."""
        return ",".join(f"127.0.0.1:{node.proxy.port}" for node in self.nodes)

    async def start(self) -> None:
        """Format the storage, start every node and wait for all."""
        self._directory.mkdir(parents=True)
        log4j2 = self._directory / "log4j2.properties"
        log4j2.write_text(LOG4J2)
        size = len(self.nodes)
        voters = ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in self.nodes)
        head = [_find_java(), *_HEAP[size], *_JVM, f"-Dlog4j2.configurationFile={log4j2}"]
        self._java = [*head, "-cp", f"{self._home}/libs/*"]
        cluster_id = "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
        for node in self.nodes:
            path = node.configure(voters, size, self._metadata_limit_characters)
            await self.run_tool(
                "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(path)
            )
            await node.proxy.start()
        for node in self.nodes:
            node.launch(self._java)
        for node in self.nodes:
            await node.wait_ready()

    async def restart(self, node: Node) -> None:
        """Start a node that is down, and wait for it."""
        node.launch(self._java)
        await node.wait_ready()

    async def run_tool(self, *arguments: str) -> str:
        """Run one of Kafka's command-line classes and return its output.

        Raises:
            RuntimeError: It failed; the message has its output.
        """
        command = [*self._java, *arguments]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{arguments[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    async def stop(self) -> None:
        """End every node at once: their data is no longer needed."""
        for node in self.nodes:
            await node.proxy.stop()
        for node in self.nodes:
            if node._process is not None:
                await asyncio.to_thread(node._process.kill)
