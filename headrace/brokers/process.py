"""Runs a broker as a child process that never outlives its parent."""

import contextlib
import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.brokers.readiness import answers_metadata
from headrace.brokers.running import BrokerStartError

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 20
_STOP_TIMEOUT_S = 10.0


class BrokerProcess:
    """A child process that logs to a file; on Linux it dies with the thread that started it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.log_file = log_file
        with log_file.open("ab") as log:
            try:
                # The preexec function makes one system call with a library loaded beforehand.
                self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=None if environment is None else dict(environment),
                    cwd=directory,
                    # A terminal's Ctrl-C is for the service, which needs its broker to drain.
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),  # noqa: PLW1509 - see above
                )
            except OSError as error:
                raise BrokerStartError(f"cannot run {command[0]}: {error}") from error

    @property
    def process_id(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, host: str, port: int, timeout_s: float) -> None:
        """Wait until the broker answers; else kill it and raise ``BrokerStartError``."""
        give_up_at = time.monotonic() + timeout_s  # noqa: TID251 - waits for a real process
        while not answers_metadata(host, port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(timeout=0.1)
                raise BrokerStartError(f"the broker ended with status {status}.\n{self.log_tail()}")
            if time.monotonic() > give_up_at:  # noqa: TID251 - waits for a real process
                self.kill()
                raise BrokerStartError(
                    f"the broker did not answer at {host}:{port} within {timeout_s:.0f} s.\n"
                    f"{self.log_tail()}"
                )

    def stop(self) -> None:
        if self.is_alive():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_STOP_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        if self.is_alive():
            self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        return describe_log(self.log_file)


def describe_log(log_file: Path) -> str:
    """Return the end of a log file, headed by its path, without Java's stack frames."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(no log: {error})"
    telling = [line for line in lines if line.strip() and not line.startswith("\tat ")]
    return "\n".join([f"The end of {log_file}:", *(telling[-_LOG_TAIL_LINES:] or ["(empty)"])])


def _die_with_parent() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return set_death_signal
