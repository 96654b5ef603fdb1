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
    """Return the fewest replicas that have done everything by the horizon; a fraction counts.

    The work is what remains and what arrives until then. Running replicas work all the time,
    starting ones once they are there, and a new one only after a cold start. One that could not
    work for ``least_help_s`` by the horizon is judged by the time at which it could have, and not
    counted where the others have done everything by then: it would only be paid for.

    That time is each replica's own. Would those that start already be judged by the time of one
    that is asked for now, which moves on with the clock, they would seem to have ever more time,
    and be stopped one by one before they had worked.

    Args:
        remaining_records: What is not done.
        arrival_records_per_s: What arrives meanwhile.
        replica_records_per_s: What one replica does; above 0.
        running: Replicas that run.
        starting_s: Of each replica that was asked for: when it is expected to run.
        cold_start_s: The same of one that is asked for now.
        horizon_s: When everything is to be done; above 0.
        least_help_s: The least time of work for which a replica is started; above 0.
    """

    def work_s(by_s: float) -> float:
        """Replica-seconds until then."""
        return (remaining_records + arrival_records_per_s * by_s) / replica_records_per_s

    wanted, workers, sum_of_starts_s = float(running), running, 0.0

    def short_s(by_s: float) -> float:
        """Replica-seconds that those counted so far leave undone then."""
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
