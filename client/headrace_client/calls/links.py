"""The topics in use: a publisher for each that is written, a stream for each that is read."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from headrace_client.errors import ClientError, KafkaError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader
from headrace_client.routes import Route
from headrace_client.settings import Connection
from headrace_client.wire.names import Headers

log = logging.getLogger(__name__)

_READ_S = 0.5
_READ_RECORDS = 1_000


class Links:
    """Opens topics when they are first used.

    Args:
        connection: The cluster of requests and control topics.
        results: The cluster of results and dead letters.
        on_record: Called with each record of a results topic, and whether it is a dead letter.
        on_failure: Called with what ended a stream; the next use opens it again.
    """

    def __init__(
        self,
        connection: Connection,
        results: Connection,
        *,
        on_record: Callable[[bytes | None, Headers, bool], None],
        on_failure: Callable[[ClientError], None],
    ) -> None:
        self._connection = connection
        self._results = results
        self._on_record = on_record
        self._on_failure = on_failure
        self._publishers: dict[str, RequestPublisher] = {}
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()

    def opened(self, route: Route, results_topic: str) -> RequestPublisher | None:
        """Return the publisher of a route if it and the stream of its results are open."""
        publisher = self._publishers.get(route.requests_topic)
        if publisher is None or publisher.failure is not None or results_topic not in self._streams:
            return None
        return publisher

    async def open(self, route: Route, results_topic: str) -> RequestPublisher:
        """Open what a route needs; raises ``MissingTopicError`` and ``KafkaError``."""
        # The ends of the results must be known before the first request is published.
        await self._stream(results_topic, is_dead_letters=False)
        if not route.fail_with_result and route.dead_letters_topic is not None:
            await self._stream(route.dead_letters_topic, is_dead_letters=True)
        return await self.publisher(route.requests_topic)

    async def publisher(self, topic: str) -> RequestPublisher:
        async with self._opening:
            publisher = self._publishers.get(topic)
            if publisher is not None and publisher.failure is not None:
                await self._publishers.pop(topic).close()
                publisher = None
            if publisher is None:
                publisher = RequestPublisher(self._connection, topic)
                try:
                    await publisher.start()
                except BaseException:
                    await publisher.close()
                    raise
                self._publishers[topic] = publisher
            return publisher

    async def close(self) -> None:
        streams, self._streams = list(self._streams.values()), {}
        for task in streams:
            task.cancel()
        if streams:
            await asyncio.wait(streams)
        publishers, self._publishers = list(self._publishers.values()), {}
        for publisher in publishers:
            await publisher.close()

    async def _stream(self, topic: str, *, is_dead_letters: bool) -> None:
        async with self._opening:
            if topic in self._streams:
                return
            reader = TopicReader(self._results, topic)
            try:
                await reader.start()
                await reader.assign_ends()
            except BaseException:
                await reader.close()
                raise
            self._streams[topic] = asyncio.create_task(
                self._follow(reader, is_dead_letters), name=f"headrace-client reads {topic}"
            )

    async def _follow(self, reader: TopicReader, is_dead_letters: bool) -> None:
        on_record = self._on_record
        try:
            while True:
                for record in await reader.read(_READ_S, _READ_RECORDS):
                    on_record(record.value, record.headers, is_dead_letters)
                # Buffered records come without a pause, in which nobody would hear of them.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise
        except ClientError as error:
            self._end(reader.topic, error)
        except Exception as error:
            log.exception(
                "reading %s failed",
                reader.topic,
                extra={"event": "reading_failed", "topic": reader.topic},
            )
            self._end(reader.topic, KafkaError(f"reading {reader.topic} failed: {error!r}"))
        finally:
            with contextlib.suppress(ClientError):
                await reader.close()

    def _end(self, topic: str, error: ClientError) -> None:
        self._streams.pop(topic, None)
        self._on_failure(error)
