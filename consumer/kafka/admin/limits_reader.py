"""Topics' limits, read at the start and again after a refusal, as settings change."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from consumer.kafka.admin.admin import TopicAdmin
from consumer.kafka.admin.topic_settings import TopicLimits
from consumer.ports import SourceError
from schemas.settings.file import KafkaSettings

log = logging.getLogger(__name__)

_REST_S = 5.0
"""Between two readings. Messages may be refused one by one meanwhile."""


class LimitsReader:
    """Keeps topics' limits up to date; calls ``learn`` after each reading."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        learn: Callable[[Mapping[str, TopicLimits]], None],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._learn = learn
        self._looking: asyncio.Task[None] | None = None
        self._known: Mapping[str, TopicLimits] = {}

    async def read(self) -> None:
        """Read the limits; ``SourceError`` says what to check if the cluster does not answer."""
        async with TopicAdmin(self._settings) as admin:
            self._known = await admin.topic_limits(self._topics, self._known)
        self._learn(self._known)

    def look_again(self) -> None:
        """Read again soon: a message was refused, or the setting may have been corrected."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        try:
            await self.read()
        except SourceError as error:
            log.info(
                "topic settings cannot be read now: %s",
                error,
                extra={"event": "topic_settings_unknown", "error_class": type(error).__name__},
            )
        await asyncio.sleep(_REST_S)
