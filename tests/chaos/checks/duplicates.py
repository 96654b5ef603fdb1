"""At-least-once: which repeats an unclean fault explains, and how many. Pure."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.chaos.checks.promises import FaultWindow, Position, Promises, Violation

Repeat = tuple[Position, float, float]
"""A record, when its first outcome was published, and when this one was; epoch seconds."""

UNEXPLAINED = "unexplained_duplicate"
TOO_MANY = "too_many_duplicates"


def judge_duplicates(
    repeats: Iterable[Repeat],
    faults: Iterable[FaultWindow],
    firsts_s: Mapping[int, Sequence[float]],
    promises: Promises,
) -> list[Violation]:
    """Return the repeats that no unclean fault explains, and the faults with too many.

    Of several faults that explain a repeat, the one that began last counts.

    Args:
        repeats: Every outcome after a record's first.
        faults: All faults in order; clean ones explain nothing.
        firsts_s: When each record's first outcome was published, ascending, by partition.
        promises: How much may be repeated.
    """
    reach_s = promises.commit_interval_s + promises.slack_s
    unclean = [each for each in faults if not each.is_clean][::-1]
    counted: Counter[tuple[int, int]] = Counter()
    found: list[Violation] = []
    for position, first_s, second_s in repeats:
        for index, fault in enumerate(unclean):
            starts_s, ends_s = fault.start_s - reach_s, fault.end_s + promises.settle_s
            if starts_s <= first_s <= ends_s and second_s >= fault.start_s:
                counted[index, position[0]] += 1
                break
        else:
            found.append(Violation(UNEXPLAINED, f"{position} at {first_s:.3f} and {second_s:.3f}"))
    for (index, partition), duplicates in counted.items():
        fault = unclean[index]
        starts_s, ends_s = fault.start_s - reach_s, fault.end_s + promises.settle_s
        span_s = reach_s + fault.uncommitted_s
        most = _most_within(firsts_s[partition], starts_s, ends_s, span_s)
        if duplicates > most:
            detail = f"{fault.name}, partition {partition}: {duplicates}, at most {most}"
            found.append(Violation(TOO_MANY, detail))
    return found


def _most_within(times_s: Sequence[float], starts_s: float, ends_s: float, span_s: float) -> int:
    """Return how many of the ascending times lie in the fullest span between two moments."""
    first, last = bisect_left(times_s, starts_s), bisect_right(times_s, ends_s)
    most = 0
    for index in range(first, last):
        most = max(most, bisect_right(times_s, times_s[index] + span_s, index, last) - index)
    return most
