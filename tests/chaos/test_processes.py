"""Which ends of a consumer process a fault explains."""

from pathlib import Path

import pytest

from tests.chaos.processes import Member


async def ended(folder: Path) -> Member:
    member = Member("consumer1", 0, folder)
    # Status 1, as of one that finds no broker.
    await member.spawn("no_such_module")
    await member.process.wait()
    return member


@pytest.mark.parametrize(
    ("is_cut_off", "has_started", "is_explained"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
async def test_only_a_start_without_a_broker_explains_an_end(
    tmp_path: Path, *, is_cut_off: bool, has_started: bool, is_explained: bool
) -> None:
    member = await ended(tmp_path)
    member.has_started = has_started
    reason = member.unforeseen_end(is_cut_off=is_cut_off)
    assert reason == (None if is_explained else "it ended with status 1")
    member.failure = "the model is gone"
    if not is_explained:
        assert member.unforeseen_end(is_cut_off=is_cut_off) == "the model is gone"


async def test_a_kill_explains_every_end(tmp_path: Path) -> None:
    member = await ended(tmp_path)
    member.has_started = True
    await member.kill()
    assert member.unforeseen_end(is_cut_off=False) is None
