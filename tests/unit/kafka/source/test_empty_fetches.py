"""The pause after an empty fetch, which only the embedded broker needs."""

import asyncio
from types import SimpleNamespace

import pytest

from headrace_client.kafka.mending import space_out_empty_fetches


class Fetcher:
    """Answers each fetch at once."""

    def __init__(self, *answers: bool) -> None:
        self._answers = list(answers)

    async def _proc_fetch_request(self, *_request: object) -> bool:
        return self._answers.pop(0)


@pytest.mark.parametrize(("has_records", "pauses"), [(True, 0), (False, 1)])
async def test_only_an_empty_fetch_is_followed_by_a_pause(
    has_records: bool, pauses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept_s.append(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    consumer = SimpleNamespace(_fetcher=Fetcher(has_records))
    space_out_empty_fetches(consumer)

    assert await consumer._fetcher._proc_fetch_request("assignment", 1, "request") is has_records

    assert len(slept_s) == pauses
    assert all(0 < each <= 0.025 for each in slept_s)


async def test_a_consumer_that_stops_ends_the_pause_of_a_fetch() -> None:
    consumer = SimpleNamespace(_fetcher=Fetcher(False))
    space_out_empty_fetches(consumer)
    fetch = asyncio.create_task(consumer._fetcher._proc_fetch_request("assignment", 1, "request"))
    await asyncio.sleep(0)
    fetch.cancel()

    # Where aiokafka cancels its fetches it awaits them, and takes no cancellation.
    assert await fetch is False
