"""The use of GPUs, over a stand-in for NVIDIA's library."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from schemas.metrics import GPUS
from serve_models.replicas.gpu_usage import GpuUsage


class FakeNvml(ModuleType):
    def __init__(self) -> None:
        super().__init__("pynvml")
        self.has_driver = True
        self.inits = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        self.inits += 1
        if not self.has_driver:
            raise OSError("no driver")

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index > 1:
            raise OSError("no such GPU")
        return f"gpu {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetMemoryInfo(self, _handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=3 << 30, total=8 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        if handle.startswith("MIG"):
            raise OSError("not supported")
        return SimpleNamespace(gpu=40)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_each_gpu_is_read_by_its_number_or_its_uuid(nvml: FakeNvml) -> None:
    usage = GpuUsage(["1", "GPU-5"])
    found = usage.read()
    assert {key[0] for key in found} == {each.name for each in GPUS}
    assert {key[1] for key in found} == {"1", "GPU-5"}
    assert found["gpu_utilization_ratio", "1"] == pytest.approx(0.4)
    assert found["gpu_memory_used_bytes", "GPU-5"] == 3 << 30


def test_what_a_gpu_does_not_tell_is_left_out(nvml: FakeNvml) -> None:
    found = GpuUsage(["MIG-1", "7"]).read()
    assert set(found) == {
        ("gpu_memory_used_bytes", "MIG-1"),
        ("gpu_memory_total_bytes", "MIG-1"),
    }


def test_without_gpus_the_library_is_not_even_loaded(nvml: FakeNvml) -> None:
    assert not GpuUsage([]).is_known
    assert GpuUsage([]).read() == {}
    assert nvml.inits == 0


def test_without_a_driver_or_the_library_nothing_is_read(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.has_driver = False
    assert GpuUsage(["0"]).read() == {}
    # As if it were not installed.
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert GpuUsage(["0"]).read() == {}
