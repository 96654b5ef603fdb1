"""The pause after an empty fetch, which only the embedded broker needs."""

import asyncio
from types import SimpleNamespace

import pytest

from consumer.kafka.client import internals


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
    internals.space_out_empty_fetches(consumer)

    assert await consumer._fetcher._proc_fetch_request("assignment", 1, "request") is has_records

    assert len(slept_s) == pauses
    assert all(0 < each <= 0.025 for each in slept_s)
