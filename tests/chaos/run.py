"""A stage run through a schedule: faults, then quiet, then the verdict."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.chaos.checks.promises import Verdict
from tests.chaos.faults.faults import Faults
from tests.chaos.faults.schedule import Fault, Kind, count_by_kind
from tests.chaos.stage.stage import PARTITIONS, TRANSACTION_TIMEOUT_S, Plan, Stage

log = logging.getLogger(__name__)

_SETTLE_PATIENCE_S = 90.0
_CAUGHT_PATIENCE_S = 5.0
_READER_PATIENCE_S = 15.0
_FAULT_PATIENCE_S = 150.0
_OPEN_STATES = ("Ongoing", "PrepareCommit", "PrepareAbort")


class Doer(Protocol):
    async def do(self, fault: Fault) -> None:
        """Inject a fault; return when the stage can be judged again."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a stage.

    Attributes:
        stage_name: What the stage was, for people.
        plan: What it consisted of.
        faults: Which faults came.
        verdict: The checker's.
        duration_s: From the first fault to the verdict.
        points_checked: Committed offsets that were compared with the outcomes seen.
        longest_metadata_characters: The longest commit metadata seen.
        member_failures: Consumer loops that failed and were replaced, and why.
    """

    stage_name: str
    plan: Plan
    faults: Sequence[Fault]
    verdict: Verdict
    duration_s: float
    points_checked: int
    longest_metadata_characters: int
    member_failures: list[str] = field(default_factory=list)

    @property
    def faults_by_kind(self) -> dict[str, int]:
        """How often each kind came."""
        return count_by_kind(self.faults)


async def run_stage(
    plan: Plan,
    faults: Sequence[Fault],
    folder: Path,
    *,
    is_on_serve: bool = False,
    on_fault: Callable[[Fault, Stage], None] = lambda _fault, _stage: None,
    stops_at: Collection[str] = (),
) -> Outcome:
    """Start a stage, inject all faults, let it come to rest, judge it, and stop it.

    Args:
        plan: The stage.
        faults: The faults, in order.
        folder: For data and logs; created if missing.
        is_on_serve: Consumers and models are replicas of a real local Ray Serve.
        on_fault: Called after each fault.
        stops_at: Stop when one of these rules is broken, as for a planted bug.
    """
    stage, doer = _set(plan, folder, is_on_serve=is_on_serve)
    done: list[Fault] = []
    is_caught = False
    try:
        # Until it is up, records wait and nothing stands still.
        await stage.during("start", stage.start, is_clean=True)
        start_s = stage.clock.monotonic()
        # Some records first, so that there is something to lose.
        await stage.until(
            lambda: stage.checker.finished_records > 100, 60, "the first outcomes are seen"
        )
        for fault in faults:
            await asyncio.sleep(fault.pause_s)
            await _do(doer, fault, stage)
            done.append(fault)
            on_fault(fault, stage)
            stage.observer.check()
            if is_caught := not stage.checker.violations.keys().isdisjoint(stops_at):
                break
        await come_to_rest(stage, _CAUGHT_PATIENCE_S if is_caught else _SETTLE_PATIENCE_S)
        return Outcome(
            stage_name=_name(plan, is_on_serve=is_on_serve),
            plan=plan,
            faults=done,
            verdict=stage.checker.verdict(),
            duration_s=round(stage.clock.monotonic() - start_s, 1),
            points_checked=stage.observer.points_checked,
            longest_metadata_characters=stage.observer.longest_metadata_characters,
            member_failures=stage.member_failures,
        )
    finally:
        await stage.stop()


def _set(plan: Plan, folder: Path, *, is_on_serve: bool) -> tuple[Stage, Doer]:
    if not is_on_serve:
        stage = Stage(plan, folder)
        return stage, Faults(stage)
    # Ray takes seconds to import, and most stages do without.
    from tests.chaos.stage.serve_stage import ServeFaults, ServeStage  # noqa: PLC0415 - see above

    on_serve = ServeStage(plan, folder)
    return on_serve, ServeFaults(on_serve)


def _name(plan: Plan, *, is_on_serve: bool) -> str:
    nodes = "one node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    return f"Ray Serve, {nodes}" if is_on_serve else nodes


async def _do(doer: Doer, fault: Fault, stage: Stage) -> None:
    try:
        async with asyncio.timeout(_FAULT_PATIENCE_S):
            await doer.do(fault)
    except TimeoutError:
        detail = f"#{fault.number} {fault.kind.value} within {_FAULT_PATIENCE_S:.0f} s"
        stage.checker.failed("never_over", detail)


async def come_to_rest(stage: Stage, patience_s: float) -> None:
    """Let every accepted record get its outcome, and every transaction end.

    A transaction that hangs must not hang the harness: each wait for the reader is bounded, and
    what blocks it is a violation.

    Args:
        stage: All faults are over.
        patience_s: How long the outcomes may take.
    """
    checker = stage.checker
    stage.load.pause()
    await stage.until(stage.is_balanced, 60, "all partitions are held at the end")
    # The reader sees what was accepted last first.
    await stage.observer.caught_up(_READER_PATIENCE_S)
    give_up_at_s = stage.clock.monotonic() + patience_s
    while checker.unfinished_records and stage.clock.monotonic() < give_up_at_s:
        await asyncio.sleep(0.2)
        stage.observer.check()
    # Repeats would follow within a session, and a zombie's transaction within its timeout.
    await asyncio.sleep(TRANSACTION_TIMEOUT_S + 1.0)
    has_seen_all = await stage.observer.caught_up(_READER_PATIENCE_S)
    for partition in range(PARTITIONS):
        if unfinished := checker.unfinished_of(stage.observer.log(partition)):
            log.warning("partition %d: unfinished %s", partition, unfinished[:10])
    stage.note_models()
    undecided = await stage.observer.undecided()
    checker.hanging(undecided)
    if not has_seen_all and not undecided:
        checker.failed("never_came", f"the reader at the end, within {_READER_PATIENCE_S:.0f} s")
    if stage.plan.delivery == "exactly_once":
        checker.hanging(await _open_transactions(stage))


async def _open_transactions(stage: Stage) -> list[str]:
    """List the open transactions with Kafka's own tool."""
    listed = await stage.cluster.run_tool(
        "org.apache.kafka.tools.TransactionsCommand",
        "--bootstrap-server",
        stage.cluster.bootstrap,
        "list",
    )
    return [line for line in listed.splitlines() if any(state in line for state in _OPEN_STATES)]


def kinds_for(plan: Plan, kinds: Sequence[Kind]) -> list[Kind]:
    """Return the kinds that apply to the plan."""
    if plan.delivery == "exactly_once":
        return list(kinds)
    return [kind for kind in kinds if kind is not Kind.TRANSACTION_COORDINATOR_MOVE]
