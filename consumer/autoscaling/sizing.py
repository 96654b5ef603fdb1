"""How many replicas clear a backlog within a time. Arithmetic only."""

from collections.abc import Sequence


def replicas_to_drain(
    *,
    remaining_records: float,
    arrival_records_per_s: float,
    replica_records_per_s: float,
    running: int,
    starting_s: Sequence[float],
    cold_start_s: float,
    horizon_s: float,
    least_help_s: float,
) -> float:
    """Return the fewest replicas that finish by the horizon; a fraction counts.

    The work is what remains and what arrives until then. Running replicas work all the time,
    starting ones once they run (in ``starting_s``), and a new one after a cold start. A replica
    that could not work for ``least_help_s`` by the horizon is judged at the time when it could
    have, and is not counted if the others have finished by then: it would only cost.

    That time is each replica's own. If starting replicas were judged by the time of one that is
    requested now, which moves on with the clock, they would seem to have ever more time, and would
    be stopped one by one before they worked.
    """

    def work_s(by_s: float) -> float:
        return (remaining_records + arrival_records_per_s * by_s) / replica_records_per_s

    wanted, workers, sum_of_starts_s = float(running), running, 0.0

    def short_s(by_s: float) -> float:
        return work_s(by_s) - (workers * by_s - sum_of_starts_s)

    if short_s(horizon_s) <= 0:
        return work_s(horizon_s) / horizon_s
    for start_s in sorted(starting_s):
        by_s = max(horizon_s, start_s + least_help_s)
        left_s = short_s(by_s)
        if left_s <= 0:
            return wanted
        wanted += min(1.0, left_s / (by_s - start_s))
        workers += 1
        sum_of_starts_s += start_s
    by_s = max(horizon_s, cold_start_s + least_help_s)
    return wanted + max(0.0, short_s(by_s)) / (by_s - cold_start_s)
