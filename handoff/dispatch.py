"""How much to hand to the model replicas now: one pure choice."""


def chunk_records(
    *,
    queued: int,
    room_records: int,
    smallest_window: int,
    most_records: int,
    calls_per_window: int,
) -> int:
    """Return how many records to dispatch in one handle call now; 0 to wait.

    A call costs the same whatever it carries, so a chunk goes out when it is full, or when it
    takes everything that waits. A full chunk is one of ``calls_per_window`` parts of the smallest
    window: a replica then always has one to start while another's outcomes come back, and no
    replica is ahead of another by more than a part.

    Args:
        queued: Records that wait.
        room_records: How many more may be in flight.
        smallest_window: The smallest window of one replica.
        most_records: The route's ``flow.chunk_records``.
        calls_per_window: Into how many calls the model's replicas want their window divided. Few
            where a batch is computed together; many where each record ends at its own time, so
            that what ends is made up for at once.
    """
    full = max(1, min(most_records, smallest_window // calls_per_window))
    wanted = min(full, queued)
    return wanted if room_records >= wanted else 0
