"""Reads this machine's limits, memory, disks, ports and clock."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from handoff.clock import Clock
from headrace.doctor.clocks import OwnClock
from headrace.doctor.machine import Disk, Machine, Port
from schemas.settings.file import Settings

_SHARED = Path("/dev/shm")  # noqa: S108 - measured, not written to
_RAY_DIRECTORY = "/tmp/ray"  # noqa: S108 - Ray's own
_TIME_ERROR = 5
"""What adjtimex returns while nothing keeps the clock right."""
_TIMEX_BYTES = 256
_RAY = ("gcs_server", "raylet", "ray", "python")


def read_machine(settings: Settings) -> Machine:
    memory = psutil.virtual_memory()
    return Machine(
        files=_files(),
        memory_bytes=memory.total,
        available_bytes=memory.available,
        shared_bytes=shutil.disk_usage(_SHARED).total if _SHARED.is_dir() else None,
        disks=list(_disks(settings)),
        ports=list(_ports(settings)),
    )


def read_clock(clock: Clock) -> OwnClock:
    return OwnClock(clock.epoch_ms(), _is_synchronized())


def _files() -> tuple[int, int] | None:
    try:
        import resource  # noqa: PLC0415 - Windows has none
    except ImportError:
        return None
    may, might = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2**31
    return (
        most if may == resource.RLIM_INFINITY else may,
        most if might == resource.RLIM_INFINITY else might,
    )


def _disks(settings: Settings) -> Iterator[Disk]:
    ray_directory = os.environ.get("RAY_TMPDIR") or _RAY_DIRECTORY
    cache = settings.weights.cache or Path(
        os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    )
    for path, use in (
        (Path(ray_directory), "Ray's logs and spilled objects"),
        (Path(cache), "the weights"),
    ):
        there = _nearest(path)
        try:
            usage = shutil.disk_usage(there)
        except OSError:
            continue
        yield Disk(path=str(path), use=use, total_bytes=usage.total, free_bytes=usage.free)


def _nearest(path: Path) -> Path:
    """Return the directory, or the one in which it would be made."""
    return next((each for each in (path, *path.parents) if each.is_dir()), Path("/"))


def _ports(settings: Settings) -> Iterator[Port]:
    holders = _holders()
    wanted = [
        (6379, "Ray's head", _RAY, ""),
        (8265, "Ray's dashboard", _RAY, ""),
    ]
    kafka = settings.kafka
    if kafka.broker != "external":
        _, _, port = kafka.bootstrap.rpartition(":")
        wanted.append(
            (
                int(port),
                f"the local broker ({kafka.broker})",
                ("java", "python", "docker", "headrace"),
                "kafka.bootstrap",
            )
        )
    for number, use, expected, setting in wanted:
        if number:
            yield Port(
                number=number,
                use=use,
                holder=holders.get(number),
                expected=expected,
                setting=setting,
            )


def _holders() -> dict[int, str]:
    """Return the programs that listen by port; an empty name where this user may not know it."""
    found: dict[int, str] = {}
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return found
    for each in connections:
        if each.status != psutil.CONN_LISTEN or not each.laddr:
            continue
        try:
            name = "" if each.pid is None else psutil.Process(each.pid).name()
        except psutil.Error:
            name = ""
        found[each.laddr.port] = name or found.get(each.laddr.port, "")
    return found


def _is_synchronized() -> bool | None:
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError):
        return None
    # With modes 0, the first field, it only reads.
    state = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR
