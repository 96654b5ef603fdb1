"""The cost of a process: CPU seconds and resident memory, sampled from outside."""

import threading
from types import TracebackType
from typing import Self

import psutil

SAMPLE_EVERY_S = 0.2
_MIB = 1024 * 1024


class ProcessNotFoundError(Exception):
    """No process, or more than one, has this title."""


def find_replica(deployment: str) -> psutil.Process:
    """Return the process of a Serve deployment's only replica, started by this process's Ray.

    Ray titles a replica's process ``ray::ServeReplica:APPLICATION:DEPLOYMENT``.

    Raises:
        ProcessNotFoundError: There is not exactly one.
    """
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if is_replica_title(title, deployment):
            found.append(process)
    if len(found) != 1:
        raise ProcessNotFoundError(
            f"{len(found)} processes run a replica of {deployment}, expected 1"
        )
    return found[0]


def is_replica_title(title: str, deployment: str) -> bool:
    """Return whether a process title is that of a replica of ``deployment``."""
    words = title.split()
    if not words or not words[0].startswith("ray::ServeReplica"):
        return False
    return deployment in words[0].split(".")[0].split(":")


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time that a process has used so far, in user and kernel mode."""
    times = process.cpu_times()
    return float(times.user + times.system)


class MemorySampler:
    """Samples a process's resident memory in a thread while it is entered.

    Args:
        process: The process.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-sampler", daemon=True)
        self.samples_bytes: list[int] = []

    @property
    def peak_mib(self) -> float:
        """The largest resident memory of any sample, in MiB."""
        return max(self.samples_bytes) / _MIB

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        try:
            self.samples_bytes.append(int(self._process.memory_info().rss))
        except psutil.Error:
            self._ended.set()
