"""Tells the registry of jobs how this one stands, and hears what it is told."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from headrace_client.bulk.job.progress.report import Report
from headrace_client.clock import epoch_ms
from headrace_client.registry.announcements import Announcement, Counts
from headrace_client.registry.announcing import Announcer, user_name
from headrace_client.settings import Connection


class Announcements:
    """Announces a bulk job, as ``reporting.Commands``; an async context manager.

    Args:
        connection: The cluster.
        topic: The registry's; ``None`` announces nothing.
        about: What of the job does not change.
    """

    def __init__(self, connection: Connection, topic: str | None, about: Announcement) -> None:
        self._about = replace(about, host=socket.gethostname(), user=user_name())
        self._announcer = Announcer(connection, about.job, epoch_ms, topic=topic)

    def __call__(self, report: Report, /) -> Sequence[str]:
        commands = self._announcer.announce(announcement_of(self._about, report))
        return [each.action.value for each in commands]

    async def __aenter__(self) -> Self:
        await self._announcer.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._announcer.stop()


def announcement_of(about: Announcement, report: Report) -> Announcement:
    return replace(
        about,
        state=report.state,
        rows=Counts(
            total=report.rows_total,
            sent=report.rows_read,
            done=report.rows_done - report.rows_failed,
            failed=report.rows_failed,
        ),
        rate_per_s=round(report.rows_per_s, 1),
        tokens_per_s=round(report.tokens_per_s, 1) or None,
        eta_s=None if report.eta_s is None else round(report.eta_s, 1),
        waits_for=() if report.waits is None else (report.waits,),
    )
