"""Says how a job stands, and hears what its runner is told; it never holds the job up."""

import asyncio
import contextlib
import getpass
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from headrace_client.errors import ClientError
from headrace_client.kafka.publishing import RequestPublisher
from headrace_client.kafka.reading import TopicReader, TopicRecord
from headrace_client.registry.announcements import (
    JOBS_TOPIC,
    Action,
    Announcement,
    Command,
    command_key,
)
from headrace_client.registry.listing import FETCH_BYTES, read_all
from headrace_client.registry.standing import Registry
from headrace_client.settings import Connection
from headrace_client.wire.names import Place

log = logging.getLogger(__name__)

ANNOUNCE_EVERY_S = 5.0
_LOOK_EVERY_S = 1.0
_TRY_AGAIN_S = 30.0
_LAST_WORD_S = 5.0


def user_name() -> str:
    """Return the user's name; empty where it has none, as a container's user id may."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


class Announcer:
    """Announces one job in the background; call ``announce`` about every ``ANNOUNCE_EVERY_S``.

    A broker that is away or a topic that does not exist costs the job nothing: ``problem`` then
    says for a person why the job is not announced. An async context manager.

    Args:
        connection: The cluster.
        job: The job's name; see ``check_job_name``.
        now_ms: The wall clock, in epoch milliseconds.
        topic: The jobs topic; ``None`` announces nothing.
    """

    def __init__(
        self,
        connection: Connection,
        job: str,
        now_ms: Callable[[], int],
        *,
        topic: str | None = JOBS_TOPIC,
    ) -> None:
        self.problem: str | None = None
        self._connection = connection
        self._job = job
        self._now_ms = now_ms
        self._topic = topic
        self._next: Announcement | None = None
        self._heard: list[Command] = []
        self._has_commands = False
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to connect; returns at once and does not raise."""
        if self._topic is not None and self._task is None:
            self._task = asyncio.create_task(self._run(self._topic))

    def announce(self, announcement: Announcement) -> list[Command]:
        """Publish how the job stands; return what its runner was told since the last call.

        Returns at once. What came while no runner ran is returned after the start: the last
        command, unless it is ``resume``. With a finished state the job's commands are forgotten.
        """
        self._next = announcement.at(self._now_ms())
        heard, self._heard = self._heard, []
        return heard

    async def stop(self) -> None:
        """Publish what was announced last, within 5 s, and disconnect."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        await asyncio.wait([task], timeout=_LAST_WORD_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _run(self, topic: str) -> None:
        while True:
            try:
                await self._serve(topic)
            except Exception as error:  # noqa: BLE001 - it must not cost the job anything
                if self.problem is None:
                    log.warning(
                        "job %s is not announced: %s",
                        self._job,
                        error,
                        extra={
                            "event": "job_not_announced",
                            "job": self._job,
                            "error_class": type(error).__name__,
                        },
                    )
                self.problem = str(error) if isinstance(error, ClientError) else repr(error)
            else:
                return
            if self._stopping.is_set():
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TRY_AGAIN_S)

    async def _serve(self, topic: str) -> None:
        async with AsyncExitStack() as open_ones:
            reader = TopicReader(self._connection, topic, fetch_bytes=FETCH_BYTES)
            await open_ones.enter_async_context(reader)
            publisher = RequestPublisher(self._connection, topic)
            await publisher.start()
            open_ones.push_async_callback(publisher.close)
            await self._catch_up(reader, publisher)
            self.problem = None
            under_way: asyncio.Future[Place] | None = None
            while True:
                is_last = self._stopping.is_set()
                if under_way is None or under_way.done() or is_last:
                    if under_way is not None and under_way.done():
                        under_way.result()
                    under_way = self._publish_next(publisher) or under_way
                if is_last:
                    await publisher.flush()
                    return
                self._hear(await reader.read(_LOOK_EVERY_S))

    async def _catch_up(self, reader: TopicReader, publisher: RequestPublisher) -> None:
        """Read the topic to its end: a command may have come while no runner ran."""
        bounds = await reader.bounds()
        registry = await read_all(reader)
        reader.assign({number: each.end for number, each in bounds.items()} | reader.positions)
        command = registry.command_of(self._job)
        if command is not None:
            self._has_commands = True
            if command.action is not Action.RESUME:
                self._heard.append(command)
        for key in registry.keys_to_forget(self._now_ms()):
            publisher.publish(None, key=key)

    def _hear(self, records: list[TopicRecord]) -> None:
        key = command_key(self._job)
        for record in records:
            if record.key != key:
                continue
            registry = Registry()
            registry.take(record.key, record.value)
            command = registry.command_of(self._job)
            if command is not None:
                self._has_commands = True
                self._heard.append(command)

    def _publish_next(self, publisher: RequestPublisher) -> asyncio.Future[Place] | None:
        announcement, self._next = self._next, None
        if announcement is None:
            return None
        published = publisher.publish(announcement.encode(), key=announcement.key)
        if announcement.is_finished and self._has_commands:
            self._has_commands = False
            publisher.publish(None, key=command_key(self._job))
        return published
