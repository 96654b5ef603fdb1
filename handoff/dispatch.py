"""How many records the next handle call carries."""


def full_chunk_records(
    smallest_window: int, calls_per_window: int, most_records: int | None = None
) -> int:
    """Return how many records a full call carries: a part of the smallest window.

    Each replica then has a part to start while the outcomes of another come back, and no replica is
    ahead of another by more than a part. ``calls_per_window`` is small for a model that computes
    batches, and large for one whose records end one by one, so that each is replaced at once.
    """
    full = max(1, smallest_window // calls_per_window)
    return full if most_records is None else min(full, most_records)


def chunk_records(
    *,
    queued: int,
    room_records: int,
    smallest_window: int,
    calls_per_window: int,
    most_records: int | None = None,
) -> int:
    """Return how many records to dispatch in one handle call now; 0 to wait.

    A call costs the same whatever it carries, so it goes out when it is full, or when it takes all
    ``queued`` records. ``room_records`` is how many more may be in flight.
    """
    wanted = min(full_chunk_records(smallest_window, calls_per_window, most_records), queued)
    return wanted if room_records >= wanted else 0
