"""How busy the GPU was, as the driver counts it: the share of the time in which a kernel ran."""

import shutil
import subprocess
from threading import Thread
from types import TracebackType
from typing import Self

from handoff.clock import SystemClock

_EVERY_MS = 100
_COMMAND = (
    "nvidia-smi",
    "--query-gpu=utilization.gpu",
    "--format=csv,noheader,nounits",
    f"--loop-ms={_EVERY_MS}",
    "--id=0",
)


def mean_busy(samples: list[tuple[int, float]], from_ms: int, to_ms: int) -> float | None:
    """Return the mean of the samples of a time, from 0 to 1; ``None`` without any."""
    within = [share for at_ms, share in samples if from_ms <= at_ms <= to_ms]
    return sum(within) / len(within) if within else None


class BusySampler:
    """Samples the first GPU while it is entered; without a driver it has no samples.

    Attributes:
        samples: Epoch milliseconds, and the share from 0 to 1.
    """

    def __init__(self) -> None:
        self.samples: list[tuple[int, float]] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread = Thread(target=self._read, name="gpu-sampler", daemon=True)

    def __enter__(self) -> Self:
        if shutil.which(_COMMAND[0]):
            self._process = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, text=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._thread.join()

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        clock = SystemClock()
        for line in self._process.stdout:
            percent = line.strip()
            if percent.isdigit():
                self.samples.append((clock.epoch_ms(), int(percent) / 100))
