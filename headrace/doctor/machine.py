"""Whether this machine has room: files, memory, disks, ports. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from headrace.preflight.findings import Finding

LEAST_FILES = 4_096
"""Each broker, replica and object of Ray takes some; Ray itself asks for 65,536."""
LEAST_MEMORY_BYTES = 2 * 2**30
LEAST_SHARED_BYTES = 2**30
RAY_STOPS_AT = 0.95
"""Ray spills no object to a disk that is fuller (``local_fs_capacity_threshold``)."""
WARN_AT = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system of ``path``, which ``use`` needs: ``Ray's spilled objects``."""

    path: str
    use: str
    total_bytes: int
    free_bytes: int

    @property
    def used_share(self) -> float:
        return 1.0 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that ``use`` wants.

    Attributes:
        holder: The program that listens there; ``None``: it is free, ``""``: not known which.
        expected: Parts of the names of programs that belong there.
        setting: What chooses the port.
    """

    number: int
    use: str
    holder: str | None = None
    expected: Sequence[str] = field(default=())
    setting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """This machine; ``None`` is what it does not say.

    Attributes:
        files: How many files a process may open, and how many it may be allowed to.
        shared_bytes: Room of ``/dev/shm``, where Ray keeps its objects.
    """

    files: tuple[int, int] | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    shared_bytes: int | None = None
    disks: Sequence[Disk] = ()
    ports: Sequence[Port] = ()


def machine_findings(machine: Machine) -> list[Finding]:
    return [
        *_files(machine),
        *_memory(machine),
        *(_disk(each) for each in machine.disks),
        *(_port(each) for each in machine.ports),
    ]


def _files(machine: Machine) -> Iterator[Finding]:
    if machine.files is None:
        return
    may, might = machine.files
    # Ray raises it by itself, as far as it is let.
    if might < LEAST_FILES:
        yield Finding(
            "error",
            "machine",
            "open files",
            f"a process may open {might:,}: Ray and the consumers run out of them",
            "raise the hard limit to 65536 (`ulimit -Hn`, LimitNOFILE= of systemd, or the "
            "container's nofile)",
        )
    elif may < LEAST_FILES:
        yield Finding(
            "warning",
            "machine",
            "open files",
            f"a process may open {may:,}, and may be allowed {might:,}",
            "run `ulimit -n 65536` before `headrace up`, or set it for the user",
        )
    else:
        yield Finding("ok", "machine", "open files", f"{may:,}")


def _memory(machine: Machine) -> Iterator[Finding]:
    total, available = machine.memory_bytes, machine.available_bytes
    if total is not None and available is not None:
        says = f"{_size(available)} of {_size(total)} are available"
        if available < LEAST_MEMORY_BYTES:
            fix = "stop other programs, lower replicas or flow.max_bytes, or add memory"
            yield Finding("warning", "machine", "memory", says, fix)
        else:
            yield Finding("ok", "machine", "memory", says)
    if machine.shared_bytes is not None and machine.shared_bytes < LEAST_SHARED_BYTES:
        yield Finding(
            "warning",
            "machine",
            "shared memory",
            f"is {_size(machine.shared_bytes)} (/dev/shm): Ray keeps its objects on disk, slowly",
            "give the container more (--shm-size=4g; on Kubernetes an emptyDir with medium: "
            "Memory)",
        )


def _disk(disk: Disk) -> Finding:
    says = f"{disk.used_share:.0%} full, {_size(disk.free_bytes)} free, for {disk.use}"
    fix = "free room there, or name another directory"
    if disk.used_share >= RAY_STOPS_AT:
        return Finding("error", "disk", disk.path, says, fix)
    if disk.used_share >= WARN_AT:
        return Finding("warning", "disk", disk.path, says, fix)
    return Finding("ok", "disk", disk.path, says)


def _port(port: Port) -> Finding:
    where = f"port {port.number}"
    if port.holder is None:
        return Finding("ok", "ports", where, f"free, for {port.use}")
    if not port.holder:
        says = f"in use, for {port.use} or by another program: this user may not see which"
        return Finding("ok", "ports", where, says)
    if any(each in port.holder for each in port.expected):
        return Finding("ok", "ports", where, f"{port.holder} listens, as {port.use}")
    fix = "stop that program" + (f", or set another port in {port.setting}" if port.setting else "")
    return Finding(
        "error" if port.setting else "warning",
        "ports",
        where,
        f"{port.holder} listens there, where {port.use} would",
        fix,
    )


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
