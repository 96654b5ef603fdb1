"""Reading what becomes of records, from topics that may refuse."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import pytest

from consumer.ports import SourceError
from handoff.clock import SystemClock
from headrace.records import awaiting
from headrace.records.awaiting import OutcomeReader
from headrace.records.outcomes import Outcomes
from headrace.records.reading import LogRange
from headrace_client.wire.names import Place
from schemas.settings.file import KafkaSettings


class Refusing:
    """Stands for a reader whose topics end at 0, and may not be read."""

    def __init__(self, _kafka: KafkaSettings) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None: ...

    async def ranges(self, _topic: str) -> Mapping[int, LogRange]:
        return {0: LogRange(0, 0)}

    async def read(self, topic: str, _ends: Any, *, follow: bool) -> AsyncIterator[Any]:
        if follow:
            raise SourceError(f"{topic} may not be read")
        yield None


async def test_a_topic_that_may_not_be_read_is_an_error_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(awaiting, "LogReader", Refusing)
    outcomes = Outcomes()
    outcomes.await_place(Place("in", 0, 1))
    async with OutcomeReader(KafkaSettings(), ["out", "dead"], SystemClock()) as reader:
        with pytest.raises(SourceError, match="may not be read"):
            await reader.read(
                outcomes, write=lambda _: None, show=lambda: None, note_silence=lambda: None
            )
