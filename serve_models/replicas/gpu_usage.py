"""How busy and how full the GPUs of a replica are, by NVIDIA's management library (NVML)."""

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from handoff.exporting import Key

logger = logging.getLogger(__name__)


class GpuUsage:
    """Reads GPUs by the ids that Ray gave: numbers, or UUIDs.

    Without GPUs, without the library (``nvidia-ml-py``) or its driver it reads nothing. Numbers are
    those of the node, or of what its container sees, as Ray's are.
    """

    def __init__(self, gpus: Sequence[str]) -> None:
        self._gpus = tuple(gpus)
        self._nvml: Any = None
        if not gpus:
            return
        try:
            self._nvml = import_module("pynvml")
            self._nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - metrics must not keep a model from its work
            self._nvml = None
            logger.info(
                "the use of GPUs is not reported: %r",
                error,
                extra={"event": "gpu_use_unknown", "error_class": type(error).__name__},
            )

    @property
    def is_known(self) -> bool:
        return self._nvml is not None

    def read(self) -> dict[Key, float]:
        """Return the values of gauges; what a GPU does not tell is left out. Takes milliseconds."""
        found: dict[Key, float] = {}
        for gpu in self._gpus if self.is_known else ():
            found |= self._read(gpu)
        return found

    def _read(self, gpu: str) -> dict[Key, float]:
        nvml = self._nvml
        found: dict[Key, float] = {}
        try:
            if gpu.isdecimal():
                handle = nvml.nvmlDeviceGetHandleByIndex(int(gpu))
            else:
                handle = nvml.nvmlDeviceGetHandleByUUID(gpu)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            found["gpu_memory_used_bytes", gpu] = float(memory.used)
            found["gpu_memory_total_bytes", gpu] = float(memory.total)
            # Last: a part of a GPU (MIG) does not tell.
            rates = nvml.nvmlDeviceGetUtilizationRates(handle)
            found["gpu_utilization_ratio", gpu] = rates.gpu / 100
        except Exception as error:  # noqa: BLE001 - as above
            logger.debug("GPU %s does not tell all of its use: %r", gpu, error)
        return found
