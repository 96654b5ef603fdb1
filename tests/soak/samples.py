"""What a soak samples, and what of it is judged. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.soak.trends import Finding, Trend, trend

MEMORY_LIMIT_RATIO = 0.01
"""Of its resident memory a process may gain or lose this much an hour."""
WARM_UP_S = 90.0
"""A young process still loads, and fills its caches."""
LEAST_SHARE = 0.5
"""Of the second part: a process that was there for less is not judged."""
_MEBIBYTE = 1024 * 1024
JUDGED_ROLES = ("consumer", "model", "status board", "serve controller")
"""Processes that run our code. The others are Ray's and Kafka's: reported, not judged."""


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process at one moment."""

    role: str
    resident_bytes: int
    file_descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment of the whole service.

    Attributes:
        at_s: Since the beginning.
        processes: By process id.
        readings: Numbers of Ray's metrics, by name: tasks, objects.
        latencies_s: Half, 95 % and 99 % of what ended since the last sample took at most this.
        finished: Records that ended since then.
    """

    at_s: float
    processes: Mapping[int, ProcessSample]
    readings: Mapping[str, float] = field(default_factory=dict)
    latencies_s: tuple[float, float, float] | None = None
    finished: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """What one thing did over the second part of a soak."""

    what: str
    unit: str
    trend: Trend
    finding: Finding
    is_judged: bool

    @property
    def is_good(self) -> bool:
        return self.finding in ("flat", "shrinks") or not self.is_judged


def judge(samples: Sequence[Sample], since_s: float) -> list[Judged]:
    """Judge what was sampled from ``since_s`` on."""
    late = [each for each in samples if each.at_s >= since_s]
    return [*_of_processes(samples, late), *_of_readings(late), *_of_latencies(late)]


def _of_processes(samples: Sequence[Sample], late: Sequence[Sample]) -> Iterator[Judged]:
    born_s: dict[int, float] = {}
    for sample in samples:
        for pid in sample.processes:
            born_s.setdefault(pid, sample.at_s)
    lived: dict[int, list[tuple[float, ProcessSample]]] = defaultdict(list)
    for sample in late:
        for pid, process in sample.processes.items():
            if sample.at_s - born_s[pid] >= WARM_UP_S or born_s[pid] == samples[0].at_s:
                lived[pid].append((sample.at_s, process))
    numbers: dict[str, int] = defaultdict(int)
    for pid in sorted(lived, key=lambda each: (lived[each][0][1].role, each)):
        moments = lived[pid]
        if len(moments) < LEAST_SHARE * len(late):
            continue
        role = moments[0][1].role
        numbers[role] += 1
        name = f"{role} {numbers[role]}"
        times = [at_s for at_s, _ in moments]
        is_judged = role in JUDGED_ROLES
        memory = trend(times, [each.resident_bytes / _MEBIBYTE for _, each in moments])
        if memory is not None:
            finding = memory.finding(MEMORY_LIMIT_RATIO)
            yield Judged(f"{name}: resident memory", "MiB", memory, finding, is_judged)
        descriptors = trend(times, [each.file_descriptors for _, each in moments])
        if descriptors is not None:
            # Connections come and go with members.
            finding = descriptors.finding(MEMORY_LIMIT_RATIO, limit=2.0)
            yield Judged(f"{name}: file descriptors", "", descriptors, finding, is_judged)


def _of_readings(late: Sequence[Sample]) -> Iterator[Judged]:
    names = sorted({name for each in late for name in each.readings})
    for name in names:
        there = [each for each in late if name in each.readings]
        found = trend([each.at_s for each in there], [each.readings[name] for each in there])
        if found is not None:
            finding = found.finding(MEMORY_LIMIT_RATIO, limit=max(5.0, 0.05 * abs(found.level)))
            yield Judged(name, "", found, finding, is_judged=True)


def _of_latencies(late: Sequence[Sample]) -> Iterator[Judged]:
    there = [each for each in late if each.latencies_s is not None]
    for index, share in enumerate(("50 %", "95 %", "99 %")):
        values = [each.latencies_s[index] for each in there if each.latencies_s is not None]
        found = trend([each.at_s for each in there], values)
        if found is not None:
            # A fifth of itself in an hour: disturbances fall on some samples and not on others.
            finding = found.finding(0.2)
            yield Judged(f"latency, {share}", "s", found, finding, is_judged=True)


def rate_per_s(samples: Sequence[Sample], since_s: float) -> float:
    """Return how many records ended a second, from ``since_s`` on."""
    late = [each for each in samples if each.at_s >= since_s]
    took_s = sum(after.at_s - before.at_s for before, after in pairwise(late))
    return sum(each.finished for each in late[1:]) / took_s if took_s else 0.0
