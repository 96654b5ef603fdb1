"""Says how a job stands, and hears what its runner is told; it never holds the job up."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace_client.registry.announcements import JOBS_TOPIC, Announcement, Command

ANNOUNCE_EVERY_S = 5.0


class Announcer:
    """Publishes one job's announcements in the background; call ``announce`` about every 5 s.

    A broker that is away, or a topic that does not exist, costs the job nothing: ``problem`` says
    for a person why the job is not announced now.

    Args:
        options: aiokafka's connection options: bootstrap servers, TLS, SASL.
        now_ms: The wall clock, in epoch milliseconds.
        topic: The jobs topic.
    """

    def __init__(
        self, options: Mapping[str, Any], now_ms: Callable[[], int], *, topic: str = JOBS_TOPIC
    ) -> None:
        self.problem: str | None = None
        self._options = options
        self._now_ms = now_ms
        self._topic = topic

    async def start(self) -> None:
        """Begin to connect; returns at once and does not raise."""

    def announce(self, announcement: Announcement) -> list[Command]:
        """Publish how the job stands, and return what its runner has been told since the last call.

        Returns at once. A command that came while no runner ran is returned after the start: the
        job's last ``pause`` or ``cancel``. A finished state forgets the job's commands.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Publish what was announced last, within 5 s, and disconnect."""
