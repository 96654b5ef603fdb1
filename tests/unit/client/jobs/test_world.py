"""A job in a world that kills, repeats, delays and reorders."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_client.jobs import Answer, Failure, JobState
from tests.unit.client.jobs.planted import PLANTED
from tests.unit.client.jobs.world import Plan, World, live

_SEEDS = 300
# By seed: a life has too many choices to be drawn one by one.
_RNGS = st.integers(0, 2**32 - 1).map(random.Random)


@settings(max_examples=100)
@given(rng=_RNGS)
def test_every_item_is_written_once_whenever_the_process_is_killed(rng: random.Random) -> None:
    live(rng)


def test_what_was_read_at_once_may_be_more_than_is_read_again() -> None:
    live(random.Random(18_886_238))


@pytest.mark.parametrize("name", PLANTED)
def test_the_world_catches_a_planted_bug(name: str) -> None:
    make_job, message = PLANTED[name]

    def live_often() -> None:
        for seed in range(_SEEDS):
            live(random.Random(seed), make_job=make_job)

    with pytest.raises(AssertionError, match=message):
        live_often()


@settings(max_examples=40)
@given(rng=_RNGS)
def test_what_failed_is_tried_again_by_another_run(rng: random.Random) -> None:
    world = live(rng)
    failed = [(item, item + 1) for item, out in world.output if isinstance(out, Failure)]
    answered = [row for row in world.output if isinstance(row[1], Answer)]
    cured = Plan(world.plan.sizes, world.plan.settings, world.plan.partitions)
    world.plan = cured
    world.again(failed)
    for _ in range(50):
        if world.process.job.state(world.now).is_final:
            break
        world.step()
    world.finish()
    world.check_output()
    assert world.output[: len(answered)] == answered
    assert world.process.job.state(world.now) is JobState.DONE


@settings(max_examples=40)
@given(rng=_RNGS)
def test_what_a_killed_process_sent_may_arrive_after_the_next_has_looked(
    rng: random.Random,
) -> None:
    live(rng, with_late_sends=True)


@settings(max_examples=40)
@given(rng=_RNGS)
def test_a_process_may_have_another_window_than_the_one_before(rng: random.Random) -> None:
    live(rng, with_other_windows=True)


@settings(max_examples=40)
@given(rng=_RNGS)
def test_a_cancelled_job_goes_on_later_and_loses_nothing(rng: random.Random) -> None:
    world = World(rng, Plan.draw(rng))
    for _ in range(rng.choice([5, 50, 150])):
        world.step()
    world.process.job.cancel()
    for _ in range(20):
        world.step(with_kills=False)
        assert world.process.job.next_request(world.now) is None
    world.again([])
    world.finish()
    world.check_output()


@settings(max_examples=40)
@given(rng=_RNGS)
def test_a_pause_sends_nothing_and_loses_nothing(rng: random.Random) -> None:
    world = World(rng, Plan.draw(rng))
    for _ in range(rng.choice([5, 50, 150])):
        world.step(with_kills=False)
    world.process.job.pause(world.now)
    for _ in range(50):
        world.step(with_kills=False)
        assert world.process.job.next_request(world.now) is None
    world.process.job.resume()
    world.finish()
    world.check_output()
