"""Makes reports of a running job, once a second, and shows and announces them."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_client.bulk.job.progress.display import Display
from headrace_client.bulk.job.progress.report import Report
from headrace_client.bulk.job.progress.waits import QUIET_S, Facts, waits_for
from headrace_client.bulk.job.progress.watching import LOOK_EVERY_S, Watch
from headrace_client.bulk.job.running import BulkLoop
from headrace_client.bulk.job.writing import RowWriter
from headrace_client.jobs import Job, JobState, WaitsFor
from headrace_client.jobs.rates import Rates

SHOW_EVERY_S = 1.0
ANNOUNCE_EVERY_S = 5.0
_RATE_WINDOW_S = 30.0
_LOOK_AFTER_S = QUIET_S / 2


class Commands(Protocol):
    """Tells others how a job stands, and returns what they want: pause, resume or cancel."""

    def __call__(self, report: Report, /) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What of a job does not change while it runs.

    Attributes:
        name: The job's id.
        rows_total: Rows to be done in all, where that is known.
        bytes_total: Of the input, where that is known.
        broker, requests_topic: For people.
        waits: Whether the job goes on waiting where nobody answers.
    """

    name: str
    rows_total: int | None
    bytes_total: int | None
    broker: str
    requests_topic: str
    waits: bool = True


class Reporter:
    """Reports until it is cancelled.

    Args:
        about: The job.
        job: The core.
        loop: What runs it.
        writer: OUT.
        display: Where reports are shown.
        watch: What is known of the broker and the service.
        announce: Called every 5 s.
        clock: Seconds.
    """

    def __init__(
        self,
        about: About,
        *,
        job: Job,
        loop: BulkLoop,
        writer: RowWriter,
        display: Display,
        watch: Watch,
        announce: Commands,
        clock: Callable[[], float],
    ) -> None:
        self._about = about
        self._job = job
        self._loop = loop
        self._writer = writer
        self._display = display
        self._watch = watch
        self._announce = announce
        self._clock = clock
        self._began_s = clock()
        self._looked_at_s = self._announced_at_s = self._began_s
        self._rates = Rates(_RATE_WINDOW_S, self._began_s)
        self._counted_rows = writer.rows_written
        self._began_cpu_s = _cpu_s()
        self.gave_up_waiting: str | None = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(SHOW_EVERY_S)
            await self._look()
            report = self.report()
            self._display.show(report)
            if not self._about.waits and self._nobody_answers():
                self.gave_up_waiting = report.waits
                self._loop.stop()
            if self._clock() - self._announced_at_s >= ANNOUNCE_EVERY_S:
                self._announced_at_s = self._clock()
                self._obey(self._announce(report))

    def report(self) -> Report:
        now_s = self._clock()
        progress = self._job.progress(now_s)
        rows = self._writer.rows_written
        self._rates.add(rows - self._counted_rows, 0, 0, now_s)
        self._counted_rows = rows
        rows_per_s = self._rates.per_s(now_s)[0]
        share = None
        if self._about.bytes_total and self._about.rows_total is None:
            share = min(1.0, self._loop.bytes_read / self._about.bytes_total)
        total = self._about.rows_total
        if total is None and self._loop.is_input_ended:
            total = self._loop.rows_read
        return Report(
            job=self._about.name,
            state=progress.state.value,
            rows_done=rows,
            rows_written=self._loop.rows_kept,
            rows_failed=self._writer.rows_failed,
            rows_read=self._loop.rows_read,
            rows_total=total,
            share_read=share,
            rows_per_s=rows_per_s,
            tokens=self._loop.tokens,
            tokens_per_s=progress.tokens_per_s,
            eta_s=_eta_s(rows, total, self._loop.rows_read, share, rows_per_s),
            in_flight_requests=progress.requests_in_flight,
            elapsed_s=now_s - self._began_s,
            cpu_s=_cpu_s() - self._began_cpu_s,
            waits=waits_for(self._facts(progress.requests_in_flight, progress.waits_for)),
        )

    def _facts(self, in_flight: int, waits: WaitsFor) -> Facts:
        since_s = self._clock() - self._loop.last_result_at_s
        return Facts(
            in_flight_requests=in_flight,
            oldest_in_flight_s=max(self._loop.oldest_in_flight_s(), since_s),
            since_result_s=since_s,
            broker_silent_s=self._watch.silent_s(),
            broker=self._about.broker,
            requests_topic=self._about.requests_topic,
            has_consumers=self._watch.has_consumers,
            is_paused=self._job.state(self._clock()) is JobState.PAUSED,
            is_reading=waits is WaitsFor.INPUT,
        )

    def _nobody_answers(self) -> bool:
        silent_s = self._watch.silent_s()
        return self._watch.has_consumers is False or (silent_s is not None and silent_s > QUIET_S)

    async def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._loop.last_result_at_s < _LOOK_AFTER_S:
            self._watch.heard()
            return
        in_flight = self._job.progress(now_s).requests_in_flight
        if in_flight and now_s - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s = now_s
            await self._watch.look()

    def _obey(self, commands: Sequence[str]) -> None:
        for command in commands:
            if command == "pause":
                self._job.pause(self._clock())
            elif command == "resume":
                self._job.resume()
                self._loop.wake()
            elif command == "cancel":
                self._job.cancel()
                self._loop.stop()


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _eta_s(
    done: int, total: int | None, read: int, share: float | None, rows_per_s: float
) -> float | None:
    if total is None and share:
        total = round(read / share)
    if total is None or rows_per_s <= 0:
        return None
    return max(0, total - done) / rows_per_s
