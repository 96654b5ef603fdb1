"""How many front processes, by device and CPUs."""

from pathlib import Path

import pytest

from serve_models.text.front.machine import count_gpus, usable_cpus
from serve_models.text.front.sizing import choose_front_processes
from tests.unit.serve_models.fakes import settings


@pytest.mark.parametrize(
    ("device", "cpus", "devices", "processes"),
    [
        ("cpu", 64, 0, 0),
        ("mps", 10, 0, 0),
        ("cuda", 2, 1, 0),
        ("cuda", 4, 1, 1),
        ("cuda", 8, 1, 5),
        ("cuda:1", 16, 1, 8),
        ("cuda", 96, 8, 8),
        ("cuda", 32, 8, 1),
        ("cuda", 8, 0, 5),
    ],
)
def test_as_many_as_the_cpus_beside_a_gpu_allow(
    device: str, cpus: int, devices: int, processes: int
) -> None:
    assert choose_front_processes(settings(), device, cpus=cpus, devices=devices) == processes


def test_the_setting_decides_on_any_device() -> None:
    assert choose_front_processes(settings(front_processes=2), "cpu", cpus=1, devices=0) == 2
    assert choose_front_processes(settings(front_processes=0), "cuda", cpus=64, devices=1) == 0


@pytest.mark.parametrize(
    ("content", "most"), [("max 100000", None), ("150000 100000", 1), ("50000 100000", 1)]
)
def test_a_containers_limit_counts(tmp_path: Path, content: str, most: int | None) -> None:
    quota = tmp_path / "cpu.max"
    without = usable_cpus(quota)
    quota.write_text(content)
    assert usable_cpus(quota) == (without if most is None else most)


def test_gpus_are_those_of_the_machine(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 3
