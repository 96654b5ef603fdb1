"""Jobs run through a schedule of kills, and what is checked of them."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from handoff.clock import SystemClock
from tests.bulk_chaos.job import BulkJob, draw_texts, write_input
from tests.bulk_chaos.planted import Bug
from tests.bulk_chaos.stage import BulkStage, InFlight, Name, items_in_flight
from tests.chaos.stage.processes import Child
from tests.chaos.stage.stage import Delivery

_DONE_STATUS, _NOT_RUN_STATUS, _PARTIAL_STATUS = 0, 2, 3
_STALL_PATIENCE_S = 90.0
_MIDST_SHARE = 0.75
_MIDST_PATIENCE_S = 10.0
_CUT_OFF_S = 20.0
"""How long after a broker's death a client may end because it found none when it started."""
_FORMATS = (".parquet", ".jsonl")


class Target(StrEnum):
    CLIENT = "client"
    CONSUMER = "consumer"
    MODEL = "model"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill.

    Attributes:
        target: What is killed.
        pause_s: How long after the kill before it.
        victim: Which of several.
        down_s: How long a broker stays down.
        in_midst: The pause begins when the model has computed something since the kill before it.
            Else the kill may hit processes that are still starting.
    """

    target: Target
    pause_s: float
    victim: int = 0
    down_s: float = 0.0
    in_midst: bool = True


def draw_kills(seed: int, count: int, targets: Sequence[Target] = tuple(Target)) -> list[Kill]:
    """A schedule; the same for the same seed. Half of the kills are the client's."""
    rng = random.Random(seed)
    others = [each for each in targets if each is not Target.CLIENT]
    kills = []
    for number in range(count):
        # Each of them comes, whatever the seed.
        target = targets[number % len(targets)] if number < len(targets) else None
        if target is None:
            is_client = Target.CLIENT in targets and (not others or rng.random() < 0.5)
            target = Target.CLIENT if is_client else rng.choice(others)
        kills.append(
            Kill(
                target,
                pause_s=rng.uniform(0.1, 2.5),
                victim=rng.randrange(8),
                down_s=rng.uniform(0.1, 1.5),
                in_midst=rng.random() < _MIDST_SHARE,
            )
        )
    return kills


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run consists of.

    Attributes:
        delivery: The route's delivery.
        seed: Of inputs and moments.
        kills: The schedule.
        rows: Of each job's input. A job that ends before its kills is followed by another.
        request_ms: How long the model takes for a request.
        bug: Planted into every client.
        patience_s: How long a job may stand still.
    """

    delivery: Delivery
    seed: int
    kills: Sequence[Kill]
    rows: int = 12_000
    request_ms: int = 120
    bug: Bug | None = None
    patience_s: float = _STALL_PATIENCE_S


@dataclass(slots=True)
class Verdict:
    """What came of a run.

    Attributes:
        violations: Details, by the rule that was broken.
        kills: How many of each target.
        jobs: Jobs that ran.
        rows: Rows of all outputs, as they must be.
        requests: Requests that were published.
        items_computed_twice: More often than once.
        items_in_flight: Items that no consumer had committed at a kill, over all kills but the
            client's, which explain no computation.
        clients_without_broker: Clients that were started while the broker was away, and said so.
    """

    violations: dict[str, list[str]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    rows: int = 0
    requests: int = 0
    items_computed_twice: int = 0
    items_in_flight: int = 0
    clients_without_broker: int = 0
    duration_s: float = 0.0

    def broke(self, rule: str, detail: str) -> None:
        self.violations.setdefault(rule, []).append(detail)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kills": dict(self.kills)}


async def run_plan(
    plan: Plan,
    folder: Path,
    *,
    on_kill: Callable[[Kill], None] = lambda _kill: None,
) -> Verdict:
    """Start a service, run jobs through all kills, and judge them. A broken rule ends the run.

    Args:
        plan: The run.
        folder: For data and logs.
        on_kill: Called after each kill.
    """
    return await _Run(plan, folder, on_kill).run()


class _Run:
    def __init__(
        self,
        plan: Plan,
        folder: Path,
        on_kill: Callable[[Kill], None],
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._on_kill = on_kill
        self._clock = SystemClock()
        self._stage = BulkStage(plan.delivery, folder, plan.request_ms)
        self._verdict = Verdict()
        self._left = list(plan.kills)
        self._in_flight: list[InFlight] = []
        self._computed_bytes = 0
        self._cut_off_until_s = 0.0
        self._texts = draw_texts(plan.seed, plan.rows)
        self._source = folder / "in.parquet"

    async def run(self) -> Verdict:
        verdict = self._verdict
        write_input(self._source, self._texts)
        try:
            await self._stage.start()
            began_s = self._clock.monotonic()
            jobs: list[BulkJob] = []
            # A job too short for its kill is followed by another, but not without end.
            while self._left and not verdict.violations and len(jobs) <= len(self._plan.kills):
                jobs.append(await self._disturbed(len(jobs)))
            if not verdict.violations:
                await self._compare(jobs)
            requests = await self._stage.requests()
            self._judge_topics(requests)
            verdict.duration_s = round(self._clock.monotonic() - began_s, 1)
        finally:
            await self._stage.stop()
        return verdict

    def _job(self, name: str, suffix: str, *, number: int, bug: Bug | None) -> BulkJob:
        return BulkJob(
            name=name,
            texts=self._texts,
            source=self._source,
            out=self._folder / f"{name}{suffix}",
            # By turns often and hardly ever: then all is read from Kafka again.
            checkpoint_s=0.5 if number // 2 % 2 == 0 else None,
            bug=bug,
        )

    async def _disturbed(self, number: int) -> BulkJob:
        """Run a job through the kills that fall into its time."""
        suffix = _FORMATS[number % 2]
        job = self._job(f"chaos{number}", suffix, number=number, bug=self._plan.bug)
        client = await self._start(job)
        while self._left:
            kill = self._left[0]
            if kill.in_midst:
                await self._until_computed(client)
            if await self._ends_within(client, kill.pause_s):
                if not self._found_no_broker(client):
                    break
                client = await self._start(job)
                continue
            self._left.pop(0)
            await self._do(kill, client)
            self._computed_bytes = self._stage.ledger.stat().st_size
            self._verdict.kills[kill.target.value] += 1
            self._on_kill(kill)
            if kill.target is Target.CLIENT:
                client = await self._start(job)
        await self._finish(job, client)
        return job

    async def _compare(self, jobs: Sequence[BulkJob]) -> None:
        """Run an undisturbed job of each format, and compare the bytes."""
        for number, suffix in enumerate(_FORMATS):
            disturbed = [each for each in jobs if each.out.suffix == suffix]
            if not disturbed:
                continue
            calm = self._job(f"calm{number}", suffix, number=2, bug=None)
            await self._finish(calm, await self._start(calm))
            if self._verdict.violations:
                return
            expected = calm.content()
            for job in disturbed:
                if job.content() != expected:
                    self._verdict.broke("bytes_differ", f"{job.out.name} and {calm.out.name}")

    async def _start(self, job: BulkJob) -> Child:
        stage = self._stage
        return await job.start(stage.cluster.bootstrap, stage.topics, stage.route.group)

    async def _do(self, kill: Kill, client: Child) -> None:
        stage = self._stage
        if kill.target is Target.CLIENT:
            await client.kill()
            return
        committed = await stage.committed()
        match kill.target:
            case Target.CONSUMER:
                await stage.kill_consumer(kill.victim)
            case Target.MODEL:
                await stage.kill_model(kill.victim)
            case _:
                await stage.kill_broker(kill.down_s)
                self._cut_off_until_s = self._clock.monotonic() + _CUT_OFF_S
        self._in_flight.append(InFlight(committed, await stage.ends()))

    async def _finish(self, job: BulkJob, client: Child) -> None:
        """Wait for the job's end, and judge its output."""
        verdict = self._verdict
        verdict.jobs += 1
        has_ended = await self._ends_within(client, self._plan.patience_s)
        while has_ended and self._found_no_broker(client):
            client = await self._start(job)
            has_ended = await self._ends_within(client, self._plan.patience_s)
        if not has_ended:
            verdict.broke("stalled", f"{job.name} after {self._plan.patience_s:.0f} s")
            await client.kill()
            return
        status = client.process.returncode
        if status not in (_DONE_STATUS, _PARTIAL_STATUS):
            said = client.log_file.read_text()[-1000:]
            verdict.broke("client_failed", f"{job.name} ended with {status}: {said}")
            return
        wrong = await asyncio.to_thread(job.wrong_rows)
        if wrong is not None:
            verdict.broke("rows_differ", f"{job.out.name}: {wrong}")
        verdict.rows += len(self._texts)

    def _found_no_broker(self, client: Child) -> bool:
        """Whether the client said that it could not run, just after a broker was killed."""
        was_cut_off = self._clock.monotonic() < self._cut_off_until_s
        is_cut_off = was_cut_off and client.process.returncode == _NOT_RUN_STATUS
        self._verdict.clients_without_broker += is_cut_off
        return is_cut_off

    async def _until_computed(self, client: Child) -> None:
        """Wait until the model has computed something since the last kill."""
        give_up_at_s = self._clock.monotonic() + _MIDST_PATIENCE_S
        while self._stage.ledger.stat().st_size <= self._computed_bytes:
            if client.has_ended or self._clock.monotonic() > give_up_at_s:
                return
            await asyncio.sleep(0.05)

    @staticmethod
    async def _ends_within(client: Child, duration_s: float) -> bool:
        try:
            async with asyncio.timeout(duration_s):
                await client.process.wait()
        except TimeoutError:
            return False
        return True

    def _judge_topics(self, requests: dict[tuple[int, int], Name]) -> None:
        verdict = self._verdict
        verdict.requests = len(requests)
        for failure in self._stage.member_failures:
            verdict.broke("member_failed", failure)
        groups = [name for name in requests.values() if name.end - name.first > 1]
        covered = Counter((name.job, item) for name in groups for item in range(*name[1:3]))
        for name, times in Counter(requests.values()).items():
            if times > 1:
                verdict.broke("published_again", f"{name} {times} times")
        for (job, item), times in covered.items():
            if times > 1:
                verdict.broke("published_again", f"item {item} of {job} in {times} requests")
        twice = sum(
            times - 1 for counts in self._stage.computed().values() for times in counts.values()
        )
        verdict.items_computed_twice = twice
        verdict.items_in_flight = items_in_flight(self._in_flight, requests)
        if twice > verdict.items_in_flight:
            detail = f"{twice} items, and {verdict.items_in_flight} were in flight at the kills"
            verdict.broke("computed_again", detail)
