"""A steady load on each route, and what faults publish besides."""

import asyncio
import itertools
from collections.abc import Sequence

import orjson
from aiokafka import AIOKafkaProducer

from handoff.clock import SystemClock

_TICK_S = 0.1
Headers = Sequence[tuple[str, bytes]]


class Load:
    """Publishes requests at a rate that may change.

    Args:
        bootstrap: The cluster, bypassing the proxies.
        topic: The requests topic.
        url: The endpoint of the requests.
        rate_per_s: Records a second, to begin with.
        body: Of each request.
    """

    def __init__(
        self, bootstrap: str, topic: str, url: str, rate_per_s: float, body: dict[str, object]
    ) -> None:
        self.rate_per_s = rate_per_s
        self.usual_rate_per_s = rate_per_s
        self._bootstrap = bootstrap
        self._topic = topic
        self._url = url
        self._body = body
        self._numbers = itertools.count()
        self._producer: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, request_timeout_ms=60_000
        )
        await self._producer.start()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._producer is not None:
            await self._producer.stop()

    def line(self, **body: object) -> bytes:
        """Return a request; without ``body`` it is the load's own."""
        name = f"r{next(self._numbers)}"
        return orjson.dumps(
            {"custom_id": name, "url": self._url, "body": body or {**self._body, "name": name}}
        )

    async def publish(
        self,
        values: Sequence[bytes],
        partition: int | None = None,
        headers: Headers = (),
        topic: str | None = None,
    ) -> None:
        """Publish values on the requests topic, or on another one; return when they are there."""
        if self._producer is None:
            raise RuntimeError("the load was not started")
        sends = [
            await self._producer.send(
                topic or self._topic,
                value,
                partition=partition,
                headers=list(headers),
            )
            for value in values
        ]
        await asyncio.gather(*sends)

    async def _run(self) -> None:
        clock = SystemClock()
        owed, at_s = 0.0, clock.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = clock.monotonic()
            owed += self.rate_per_s * (now_s - at_s)
            at_s = now_s
            values = [self.line() for _ in range(int(owed))]
            owed -= len(values)
            await self.publish(values)
