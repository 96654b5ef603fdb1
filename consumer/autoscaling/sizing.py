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
    starting ones once they are there, and a new one only after a cold start. One that would be
    there too late is counted with ``least_help_s`` of work beyond the horizon, and not at all where
    the others have done everything before it comes: it would only be paid for.

    Whether a new one is needed at all is judged by the time at which it could have worked that
    long. That time moves on with the clock, so it must not judge those that start already: they
    would seem to have ever more time, and be stopped one by one before they had worked.

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

    def there_s(start_s: float, by_s: float) -> float:
        """How long one works that starts then."""
        return max(by_s - start_s, least_help_s)

    short_s = work_s(horizon_s) - running * horizon_s
    if short_s <= 0:
        return work_s(horizon_s) / horizon_s
    wanted, started_s = float(running), 0.0
    for number, start_s in enumerate(sorted(starting_s)):
        # Of those before it and of the running ones, once it is there.
        left_s = work_s(start_s) - ((running + number) * start_s - started_s)
        if short_s <= 0 or left_s <= 0:
            return wanted
        share = min(1.0, short_s / there_s(start_s, horizon_s))
        wanted += share
        short_s -= share * there_s(start_s, horizon_s)
        started_s += start_s
    horizon_s = max(horizon_s, cold_start_s + least_help_s)
    done_s = running * horizon_s + sum(there_s(start_s, horizon_s) for start_s in starting_s)
    return wanted + max(0.0, work_s(horizon_s) - done_s) / (horizon_s - cold_start_s)
