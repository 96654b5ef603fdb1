"""Arrivals: steady, by the day, in bursts, by the million."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.autoscaling.simulator import Burst, Service

DAY_S = 86_400.0
BULK_RECORDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What arrives in one run.

    Attributes:
        usual: Records of each step.
        bursts: In addition to them.
    """

    usual: list[int]
    bursts: list[Burst]

    def fresh_bursts(self) -> list[Burst]:
        """Return the bursts as they were drawn: a run fills them in."""
        return [Burst(each.at_s, each.records) for each in self.bursts]


def steady(service: Service, hours: float, seed: int) -> Arrivals:
    """Draw a rate that keeps some four replicas busy."""
    rate = 3.7 * service.replica_records_per_s
    return Arrivals(noisy(lambda _now_s: rate, service, hours, seed), [])


def diurnal(service: Service, hours: float, seed: int) -> Arrivals:
    """Draw a day's wave between half a replica's work and half of the maximum's."""
    low = 0.5 * service.replica_records_per_s
    high = 0.5 * service.most_replicas * service.replica_records_per_s

    def rate(now_s: float) -> float:
        return low + (high - low) * (1 - math.cos(2 * math.pi * now_s / DAY_S)) / 2

    return Arrivals(noisy(rate, service, hours, seed), [])


def burst(service: Service, hours: float, seed: int) -> Arrivals:
    """Draw bursts over a trickle, every half an hour or so and of very different sizes."""
    generator = random.Random(seed)
    trickle = 0.2 * service.replica_records_per_s
    most_s = max(service.step_s, service.drain_target_s - service.cold_start_s)
    typical = 0.2 * service.most_replicas * most_s * service.replica_records_per_s
    quiet_s = 4 * (service.drain_target_s + service.cold_start_s)
    bursts = []
    at_s = quiet_s
    while at_s < hours * 3600 - quiet_s:
        bursts.append(Burst(at_s, max(1, round(typical * generator.lognormvariate(0.0, 0.7)))))
        at_s += quiet_s + generator.expovariate(1 / 1200.0)
    return Arrivals(noisy(lambda _now_s: trickle, service, hours, seed), bursts)


def bulk(service: Service, hours: float, seed: int) -> Arrivals:
    """Draw a million records at once, every few hours, and nothing else."""
    generator = random.Random(seed)
    bursts = []
    at_s = 600.0
    while at_s < hours * 3600 - 3 * service.drain_target_s:
        bursts.append(Burst(at_s, BULK_RECORDS))
        at_s += 4 * service.drain_target_s + generator.uniform(0, 7200)
    return Arrivals([0] * round(hours * 3600 / service.step_s), bursts)


def single(service: Service, hours: float, seed: int) -> Arrivals:
    """Draw single records, hours apart: from zero and back."""
    generator = random.Random(seed)
    bursts = []
    at_s = 300.0
    while at_s < hours * 3600 - 1200:
        bursts.append(Burst(at_s, 1))
        at_s += 1200 + generator.expovariate(1 / 3600.0)
    return Arrivals([0] * round(hours * 3600 / service.step_s), bursts)


PATTERNS = {"steady": steady, "diurnal": diurnal, "burst": burst, "bulk": bulk, "single": single}


def noisy(
    rate_per_s: Callable[[float], float], service: Service, hours: float, seed: int
) -> list[int]:
    """Draw about as many as a Poisson process gives in each step; a normal distribution for many.

    Args:
        rate_per_s: The mean rate at a time, in seconds from the start.
        service: Its steps count.
        hours: How long.
        seed: Of the draw.
    """
    generator = random.Random(seed)
    counts = []
    for number in range(round(hours * 3600 / service.step_s)):
        mean = rate_per_s(number * service.step_s) * service.step_s
        counts.append(max(0, round(generator.gauss(mean, math.sqrt(mean)))))
    return counts
