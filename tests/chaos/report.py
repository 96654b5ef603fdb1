"""The results files of a chaos run. Pure, except for the writing."""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tests.chaos.checks.promises import Verdict
from tests.chaos.faults.planted import SHOWS_AS, Bug
from tests.chaos.run import Outcome

DELIVERIES = ("at_least_once", "exactly_once")


def chaos_report(seed: int, outcomes: Sequence[Outcome], broker: str) -> dict[str, Any]:
    """Return the result of a run with this seed, over all its stages."""
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults_by_kind)
    return {
        "seed": seed,
        "faults": dict(sorted(faults.items())),
        "faults_total": faults.total(),
        "deliveries": {
            delivery: _totals([each for each in outcomes if each.plan.delivery == delivery])
            for delivery in DELIVERIES
        },
        "stages": [_stage(outcome) for outcome in outcomes],
        "broker": broker,
        "python": platform.python_version(),
    }


def planted_report(seed: int, caught: Mapping[Bug, Outcome]) -> dict[str, Any]:
    """Return each planted bug, and how the checker caught it."""
    return {
        "seed": seed,
        "planted": {
            bug.value: {
                "caught": is_caught(bug, outcome.verdict),
                "expected": sorted(SHOWS_AS[bug]),
                "violations": dict(outcome.verdict.violations),
                "faults": outcome.faults_by_kind,
                "accepted": outcome.verdict.accepted,
                "lost": outcome.verdict.lost,
                "doubled": outcome.verdict.doubled,
                "example": next((each.detail for each in outcome.verdict.examples), None),
            }
            for bug, outcome in caught.items()
        },
    }


def is_caught(bug: Bug, verdict: Verdict) -> bool:
    """Return whether the checker found what the bug does wrong; other violations do not count."""
    return any(verdict.violations[rule] for rule in SHOWS_AS[bug])


def write(path: Path, report: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _totals(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    verdicts = [outcome.verdict for outcome in outcomes]
    violations: Counter[str] = Counter()
    for verdict in verdicts:
        violations.update(verdict.violations)
    return {
        "faults": sum(len(outcome.faults) for outcome in outcomes),
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "lost": sum(verdict.lost for verdict in verdicts),
        "doubled": sum(verdict.doubled for verdict in verdicts),
        "doubled_unexplained": sum(verdict.unexplained for verdict in verdicts),
        "stalled_partitions": sum(verdict.stalled_partitions for verdict in verdicts),
        "hanging_transactions": sum(verdict.hanging_transactions for verdict in verdicts),
        "given_up": sum(verdict.given_up for verdict in verdicts),
        "points_checked": sum(outcome.points_checked for outcome in outcomes),
        "longest_metadata_characters": max(
            (outcome.longest_metadata_characters for outcome in outcomes), default=0
        ),
        "violations": dict(violations),
    }


def _stage(outcome: Outcome) -> dict[str, Any]:
    return {
        "delivery": outcome.plan.delivery,
        "stage": outcome.stage_name,
        "duration_s": outcome.duration_s,
        "faults": outcome.faults_by_kind,
        "accepted": outcome.verdict.accepted,
        "violations": dict(outcome.verdict.violations),
        "examples": [f"{each.rule}: {each.detail}" for each in outcome.verdict.examples],
        "consumers_replaced_by_health": outcome.member_failures,
    }
