"""A leak is found in samples, and noise is not taken for one."""

import math
import random
from collections.abc import Callable

import pytest

from tests.soak.course import JUDGED_FROM, Kind, course
from tests.soak.sampler import readings_of, role_of
from tests.soak.samples import ProcessSample, Sample, judge, rate_per_s
from tests.soak.trends import trend

MEBIBYTE = 1024 * 1024
HOUR_S = 3600.0


def samples_of(
    resident_mib: Callable[[float], float],
    descriptors: Callable[[float], float] = lambda _at_s: 40,
    *,
    role: str = "consumer",
    duration_s: float = HOUR_S,
    every_s: float = 5.0,
) -> list[Sample]:
    """Return samples of one process whose numbers are functions of the time."""
    times = [number * every_s for number in range(int(duration_s / every_s))]
    return [
        Sample(
            at_s,
            {
                7: ProcessSample(
                    role, int(resident_mib(at_s) * MEBIBYTE), int(descriptors(at_s)), threads=9
                )
            },
            {"asyncio tasks of a consumer": 25.0},
            latencies_s=(0.1, 0.3, 0.9),
            finished=1000,
        )
        for at_s in times
    ]


def findings(samples: list[Sample]) -> dict[str, str]:
    judged = judge(samples, JUDGED_FROM * samples[-1].at_s)
    return {each.what: each.finding for each in judged if each.is_judged}


def test_what_warms_up_and_then_stays_is_flat() -> None:
    rng = random.Random(3)
    found = findings(samples_of(lambda at_s: 200 - 60 * 0.5 ** (at_s / 60) + rng.uniform(-1, 1)))

    assert found["consumer 1: resident memory"] == "flat"
    assert set(found.values()) == {"flat"}


@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_three_percent_an_hour_is_found_in_noise(seed: int) -> None:
    rng = random.Random(seed)
    found = findings(samples_of(lambda at_s: 200 + 6 * at_s / HOUR_S + rng.uniform(-2, 2)))

    assert found["consumer 1: resident memory"] == "grows"


def test_a_leak_is_found_though_a_sample_in_four_is_far_off() -> None:
    rng = random.Random(1)

    def resident_mib(at_s: float) -> float:
        return 200 + 10 * at_s / HOUR_S + (80 if rng.random() < 0.25 else 0)

    assert findings(samples_of(resident_mib))["consumer 1: resident memory"] == "grows"


def test_file_descriptors_that_stay_open_are_found() -> None:
    found = findings(samples_of(lambda _at_s: 200, lambda at_s: 40 + at_s / 100))

    assert found["consumer 1: file descriptors"] == "grows"
    assert found["consumer 1: resident memory"] == "flat"


def test_a_short_soak_of_a_noisy_process_cannot_tell() -> None:
    times = [5.0 * number for number in range(30)]
    # A sine has no trend, and a few samples of it have one by accident.
    found = trend(times, [200 + 3 * math.sin(number) for number in range(30)])

    assert found is not None
    assert found.low_per_hour < 0 < found.high_per_hour
    assert found.finding(0.0) == "unclear"


def test_processes_of_others_are_shown_and_not_judged() -> None:
    samples = samples_of(lambda at_s: 100 + at_s / 30, role="raylet")
    [memory] = [each for each in judge(samples, 0.0) if "memory" in each.what]

    assert (memory.finding, memory.is_judged, memory.is_good) == ("grows", False, True)


def test_a_process_that_was_there_only_briefly_is_not_judged() -> None:
    samples = samples_of(lambda _at_s: 100.0)
    late = ProcessSample("consumer", 5 * MEBIBYTE, 9, 9)
    mixed = [
        Sample(each.at_s, {**each.processes, **({8: late} if each.at_s > 3_000 else {})})
        for each in samples
    ]

    assert {each.what for each in judge(mixed, 0.0)} == {
        "consumer 1: resident memory",
        "consumer 1: file descriptors",
    }


def test_rate_is_of_what_ended_between_samples() -> None:
    assert rate_per_s(samples_of(lambda _at_s: 1.0), 100.0) == pytest.approx(200.0)


@pytest.mark.parametrize("minutes", [4, 10, 60])
def test_nothing_restarts_consumers_while_they_are_judged(minutes: float) -> None:
    events = course(60 * minutes)

    assert [each.at_s for each in events] == sorted(each.at_s for each in events)
    assert {each.kind for each in events} == set(Kind)
    late = {each.kind for each in events if each.at_s >= JUDGED_FROM * 60 * minutes}
    assert late == set(Kind) - {Kind.ROLLING_RESTART}
    joins = [each.kind for each in events if each.kind in (Kind.JOIN, Kind.LEAVE)]
    assert joins == [Kind.JOIN, Kind.LEAVE] * (len(joins) // 2)


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("ray::ServeReplica:headrace-route-chaos:consumer-chaos", "consumer"),
        ("ray::ServeReplica:headrace-model-chaos:model-chaos.handle", "model"),
        ("ray::ServeReplica:headrace:status-board", "status board"),
        ("ray::ServeController.listen_for_change", "serve controller"),
        ("/usr/bin/java -Xmx768m -cp x kafka.Kafka server.properties", "broker"),
        ("ray::IDLE", None),
    ],
)
def test_processes_are_known_by_their_titles(title: str, role: str | None) -> None:
    assert role_of(title) == role


def test_readings_are_taken_from_the_exposition() -> None:
    text = (
        "# TYPE ray_headrace_event_loop_tasks gauge\n"
        'ray_headrace_event_loop_tasks{route="a"} 20\n'
        'ray_headrace_event_loop_tasks{route="b"} 30\n'
        "# TYPE ray_object_store_memory gauge\n"
        'ray_object_store_memory{Location="MMAP_SHM"} 100\n'
        'ray_object_store_memory{Location="SPILLED"} 11\n'
    )

    assert readings_of(text) == {"asyncio tasks of a consumer": 25.0, "object store, bytes": 111.0}
