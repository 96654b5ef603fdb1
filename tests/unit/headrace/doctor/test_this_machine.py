"""What this machine says of itself, and the probe of a Ray that is not there."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from handoff.clock import SystemClock
from headrace.doctor.machine import machine_findings
from headrace.doctor.ray_probe import RayFacts, probe_ray
from headrace.doctor.this_machine import read_clock, read_machine
from schemas.settings.file import Settings


def settings_of(folder: Path, **kafka: Any) -> Settings:
    return Settings.model_validate(
        {
            "kafka": kafka,
            "models": {"m": {"kind": "embedder", "source": "wheel:x"}},
            "routes": {
                "r": {
                    "model": "m",
                    "requests_topic": "in",
                    "results_topic": "out",
                    "dead_letters_topic": "dead",
                    "group": "g",
                }
            },
            "weights": {"cache": str(folder / "not-made-yet")},
        }
    )


def test_this_machine_is_read(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, broker="embedded", bootstrap="127.0.0.1:19092")

    machine = read_machine(settings)

    assert machine.files is not None
    assert machine.memory_bytes is not None
    assert [each.use for each in machine.disks][1] == "the weights"
    assert all(0 < each.free_bytes <= each.total_bytes for each in machine.disks)
    assert 19092 in [each.number for each in machine.ports]
    assert {each.about for each in machine_findings(machine)} >= {"machine", "disk", "ports"}
    assert abs(read_clock(SystemClock()).now_ms - SystemClock().epoch_ms()) < 60_000


class Ended:
    returncode = 1
    stdout = ""
    stderr = "a warning\nRuntimeError: the socket is gone\n"


def test_a_ray_that_hangs_or_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_arguments: Any, **_options: Any) -> Any:
        raise subprocess.TimeoutExpired("python", 1.0)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert probe_ray(1.0) == RayFacts(runs=None, problem="has not answered within 1 s")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: Ended)
    assert "the socket is gone" in probe_ray().problem
