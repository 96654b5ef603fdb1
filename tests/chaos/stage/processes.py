"""The harness's child processes: consumers and models that end with it and not before."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from handoff.clock import SystemClock
from tests.chaos.faults import planted
from tests.chaos.stage.ports import reserve_port

ROOT = Path(__file__).parents[3]
_PR_SET_PDEATHSIG = 1
_SAID_OF_ANOTHER_TOPIC = ("created again", "the topic is gone")
_libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process of the harness.

    Args:
        name: For logs.
        log_file: Where its standard error goes.
    """

    def __init__(self, name: str, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self.was_killed = False
        self._process: asyncio.subprocess.Process | None = None

    async def spawn(self, *arguments: str, environment: dict[str, str] | None = None) -> None:
        """Start ``python -m ARGUMENTS``."""
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process, after ``spawn``."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not spawned")
        return self._process

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is stopped by a signal."""
        return self._process is not None and self._process.returncode is None

    @property
    def has_ended(self) -> bool:
        """Whether it was started and has ended."""
        return self._process is not None and self._process.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it is alive."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        if self._process is not None:
            self.was_killed = True
            self.signal(signal.SIGKILL)
            await self._process.wait()


class Model(Child):
    """A model replica that restarts on its port whenever it has died.

    Args:
        name: For logs.
        folder: Where its log goes.
        module: What runs; its first argument is the port.
        arguments: Its other arguments.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        module: str = "tests.chaos.stage.model_replica",
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__(name, folder / f"{name}.log")
        self.port = reserve_port()
        self._command = (module, str(self.port), *arguments)
        self.down_at_s: list[float] = []
        self._clock = SystemClock()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and restart it whenever it ends."""
        self._note_down()
        await self.spawn(*self._command)
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it for good."""
        if self._keeping is not None:
            self._keeping.cancel()
        await self.kill()

    @property
    def deaths(self) -> int:
        """How often it has died; its start counts as one."""
        return len(self.down_at_s) - 1

    def _note_down(self) -> None:
        self.down_at_s.append(self._clock.epoch_ms() / 1000)

    async def _keep(self) -> None:
        while True:
            await self.process.wait()
            self._note_down()
            await asyncio.sleep(0.2)
            await self.spawn(*self._command)


class Member(Child):
    """A consumer replica.

    Args:
        name: Of this process; a replacement has another.
        rank: Of the replica; a replacement keeps it.
        folder: Where its configuration and log go.
    """

    def __init__(self, name: str, rank: int, folder: Path) -> None:
        super().__init__(name, folder / f"{name}.log")
        self.rank = rank
        self.partitions: list[int] = []
        self.lost_to_retention_records = 0
        self.failure: str | None = None
        self.has_started = False
        self.has_joined = asyncio.Event()
        self._config_file = folder / f"{name}.json"
        self._reading: asyncio.Task[None] | None = None

    async def start(self, config: dict[str, Any], bug: planted.Bug | None) -> None:
        """Start the process; ``has_joined`` is set when the group has given it its partitions, or
        none."""
        self._config_file.write_text(json.dumps({**config, "name": self.name, "rank": self.rank}))
        environment = {planted.VARIABLE: bug.value} if bug else {}
        await self.spawn(
            "tests.chaos.stage.member", str(self._config_file), environment=environment
        )
        self._reading = asyncio.create_task(self._read())

    def has_port(self, port: int) -> bool:
        """Return whether a connection from this local port belongs to this process."""
        try:
            connections = psutil.Process(self.process.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(each.laddr.port == port for each in connections)

    def unforeseen_end(self, *, is_cut_off: bool, is_recreated: bool = False) -> str | None:
        """Return why a process ended, if no fault explains it.

        A process that cannot reach the broker when it starts says so and ends: Serve starts
        another. So does one whose topic is another by now, with a log of its own. Nothing else
        makes a consumer end by itself: no fault is so long that a client gives up, and no instance
        id is in use twice.

        Args:
            is_cut_off: Whether the brokers could not be reached just now.
            is_recreated: Whether the requests topic was created again just now.
        """
        if self.was_killed or (is_cut_off and not self.has_started):
            return None
        if is_recreated and any(each in (self.failure or "") for each in _SAID_OF_ANOTHER_TOPIC):
            return None
        return self.failure or f"it ended with status {self.process.returncode}"

    async def command(self, **command: Any) -> None:
        """Send the process a command; a dead one ignores it."""
        stdin = self.process.stdin
        if self.is_alive and stdin is not None:
            with contextlib.suppress(OSError):
                stdin.write(json.dumps(command).encode() + b"\n")
                await stdin.drain()

    async def drain(self, timeout_s: float) -> bool:
        """Stop it cleanly; return False if it had to be killed."""
        await self.command(drain=True)
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def _read(self) -> None:
        stdout = self.process.stdout
        if stdout is None:
            return
        while line := await stdout.readline():
            try:
                report = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.partitions = report["partitions"]
            self.failure = report["failure"]
            counters = report["counters"]
            self.lost_to_retention_records = counters.get("lost_to_retention_records", 0)
            self.has_started = True
            self.has_joined.set()
        self.partitions = []
        self.has_joined.set()
