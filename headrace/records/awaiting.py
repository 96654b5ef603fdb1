"""Reads what becomes of records that are about to be sent, from the topics of their route."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Self

from handoff.clock import Clock
from headrace.errors import UserError
from headrace.records.outcomes import Outcomes
from headrace.records.reading import LogRange, LogReader
from schemas.settings.file import KafkaSettings

SILENCE_S = 5.0
"""After so long without any outcome a person is told that the service may not run."""


class OutcomeReader:
    """Reads the topics from where they end when it is opened; an async context manager.

    Raises ``UserError`` if a topic does not exist, ``SourceError`` if it cannot be read.
    """

    def __init__(self, kafka: KafkaSettings, topics: Iterable[str], clock: Clock) -> None:
        self._kafka = kafka
        self._topics = tuple(dict.fromkeys(topics))
        self._clock = clock
        self._stack = AsyncExitStack()
        self._readers: list[tuple[str, LogReader, Mapping[int, LogRange]]] = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for topic in self._topics:
                reader = await stack.enter_async_context(LogReader(self._kafka))
                ranges = await reader.ranges(topic)
                if ranges is None:
                    raise UserError(
                        f"there is no topic {topic}, so nothing was sent: `headrace topics create` "
                        "makes those of the routes"
                    )
                ends = {number: LogRange(each.end, each.end) for number, each in ranges.items()}
                self._readers.append((topic, reader, ends))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def read(
        self,
        outcomes: Outcomes,
        *,
        write: Callable[[bytes], None],
        show: Callable[[], None],
        note_silence: Callable[[], None],
    ) -> None:
        """Return when every record that ``outcomes`` awaits has one; ``write`` takes its line."""
        begun_s = self._clock.monotonic()
        is_noted = False

        async def follow(topic: str, reader: LogReader, ends: Mapping[int, LogRange]) -> None:
            nonlocal is_noted
            async with aclosing(reader.read(topic, ends, follow=True)) as parts:
                async for part in parts:
                    for record in part.records:
                        if (line := outcomes.take(record)) is not None:
                            write(line)
                    show()
                    if not outcomes.awaited_records:
                        return
                    is_silent = self._clock.monotonic() - begun_s >= SILENCE_S
                    if is_silent and not outcomes.done_records and not is_noted:
                        is_noted = True
                        note_silence()

        if outcomes.awaited_records:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for each in self._readers:
                        tasks.create_task(follow(*each))
            except ExceptionGroup as failures:
                # The first has ended the others; whoever asks catches it, and no group.
                raise failures.exceptions[0] from None
