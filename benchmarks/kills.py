"""Drains a backlog with a consumer process that is killed with -9 at even progress."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.journal import Computations, JournalReader
from benchmarks.load import BenchmarkFailedError, TopicContent, Topics
from handoff.clock import SystemClock
from schemas.settings.file import KafkaSettings, RouteSettings

_ROOT = Path(__file__).resolve().parents[1]
_LOOK_EVERY_S = 0.005
_LOG_TAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class KilledDrain:
    """The result of a drain with kills.

    Attributes:
        started_ms: Epoch milliseconds at which the first process was started.
        killed_ms: Epoch milliseconds at which each killed process was gone.
        lives: What each process has computed; one more than there were kills.
        results: What a reader with isolation level ``read_committed`` finds.
    """

    started_ms: int
    killed_ms: Sequence[int]
    lives: Sequence[Computations]
    results: TopicContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """The cost of the kills. Counts are of records.

    Attributes:
        lost: Requests without a result.
        published_twice: Results beyond the first of a request.
        computed_twice: Computations begun beyond the first of a request.
        in_flight_at_kills: Computations begun whose process was killed before it had published
            their result, summed over the kills.
        in_course_at_kills: Those of them that had not ended.
        wall_s: From the start of the first process to the last result.
        first_to_last_s: From the first result to the last.
    """

    lost: int
    published_twice: int
    computed_twice: int
    in_flight_at_kills: int
    in_course_at_kills: int
    wall_s: float
    first_to_last_s: float

    @property
    def computed_twice_in_flight(self) -> int:
        """Computed twice, except computations that gave a result of their own."""
        return self.computed_twice - self.published_twice


def count_repeats(drain: KilledDrain, records: int) -> Repeats:
    """Return the cost of the kills, for ``records`` requests. Pure."""
    times_ms = drain.results.timestamps_ms
    results = list(zip(map(int, drain.results.keys), times_ms, strict=True))
    answered = {number for number, _ in results}
    begun = [number for life in drain.lives for number in life.begun]
    killed = list(zip(drain.lives, drain.killed_ms, strict=False))
    in_flight = 0
    alive_from_ms = drain.started_ms
    for life, killed_ms in killed:
        # By its own results: an earlier process may have published one for the same record.
        published = {number for number, ms in results if alive_from_ms < ms <= killed_ms}
        in_flight += len(set(life.begun) - published)
        alive_from_ms = killed_ms
    return Repeats(
        lost=records - len(answered),
        published_twice=len(times_ms) - len(answered),
        computed_twice=len(begun) - len(set(begun)),
        in_flight_at_kills=in_flight,
        in_course_at_kills=sum(len(life.in_course) for life, _ in killed),
        wall_s=(max(times_ms) - drain.started_ms) / 1000,
        first_to_last_s=(max(times_ms) - min(times_ms)) / 1000,
    )


async def drain_with_kills(
    kafka: KafkaSettings,
    route: RouteSettings,
    topics: Topics,
    *,
    records: int,
    kills: int,
    concurrency: int,
    scratch: Path,
) -> KilledDrain:
    """Drain a published backlog, and kill the consumer ``kills`` times on the way.

    The backlog is divided evenly: five kills come after each sixth of the computations. The next
    process is started as soon as the killed one is gone.

    Raises:
        BenchmarkFailedError: A process ended by itself, or the drain got stuck.
    """
    clock = SystemClock()
    started_ms = clock.epoch_ms()
    killed_ms: list[int] = []
    with ExitStack() as open_files:
        journals: list[JournalReader] = []
        for life in range(kills + 1):
            path = scratch / f"{topics.requests}-{life}"
            journal = open_files.enter_context(JournalReader(path.with_suffix(".journal")))
            journals.append(journal)
            arguments = [
                *("--kafka", kafka.model_dump_json()),
                *("--route", route.model_dump_json()),
                *("--journal", str(path.with_suffix(".journal"))),
                *("--concurrency", str(concurrency)),
            ]
            async with _process(arguments, path.with_suffix(".log")) as process:
                if life == kills:
                    await _while_running(
                        process, path, load.wait_for_commits(kafka.bootstrap, topics, records)
                    )
                    process.terminate()
                    await process.wait()
                else:
                    goal = records * (life + 1) // (kills + 1)
                    await _while_running(process, path, _progress(journals, goal))
                    process.kill()
                    await process.wait()
                    killed_ms.append(clock.epoch_ms())
        for journal in journals:
            journal.follow()
    return KilledDrain(
        started_ms=started_ms,
        killed_ms=killed_ms,
        lives=[journal.computations for journal in journals],
        results=await load.read_topic(kafka.bootstrap, topics.results, "read_committed"),
    )


async def _progress(journals: Sequence[JournalReader], goal: int) -> None:
    """Return when ``goal`` different records have been computed, over all processes."""
    *earlier, current = journals
    done = {number for journal in earlier for number in journal.computations.ended}
    seen = 0
    while len(done) < goal:
        # Another process computes, and cannot set an event here.
        await asyncio.sleep(_LOOK_EVERY_S)
        current.follow()
        ended = current.computations.ended
        done.update(ended[seen:])
        seen = len(ended)


async def _while_running(
    process: asyncio.subprocess.Process, path: Path, condition: Awaitable[None]
) -> None:
    waiting = asyncio.ensure_future(condition)
    exit_ = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait(
            [waiting, exit_], timeout=load.STALLED_AFTER_S, return_when=asyncio.FIRST_COMPLETED
        )
        if waiting.done():
            waiting.result()
            return
    finally:
        waiting.cancel()
        exit_.cancel()
    state = "got stuck" if process.returncode is None else f"ended: status {process.returncode}"
    tail = path.with_suffix(".log").read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:]
    raise BenchmarkFailedError(f"the consumer process {state}; its log ends with: {tail}")


@asynccontextmanager
async def _process(
    arguments: Sequence[str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "benchmarks.killed_consumer"),
            *arguments,
            stdout=output,
            stderr=output,
            cwd=_ROOT,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
