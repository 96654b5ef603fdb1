"""How many records the next handle call carries."""

CALLS_PER_WINDOW = 8
"""A window is divided into so many full calls. More of them would cost more; with fewer, a record
that ends would be replaced later, and a replica may be ahead of another by more."""


def full_chunk_records(smallest_window: int, most_records: int | None = None) -> int:
    """Return how many records a full call carries: a part of the smallest window.

    Each replica then has parts to work on while the outcomes of another come back, and no replica
    is ahead of another by more than a part.
    """
    full = max(1, smallest_window // CALLS_PER_WINDOW)
    return full if most_records is None else min(full, most_records)


def chunk_records(
    *,
    queued: int,
    room_records: int,
    smallest_window: int,
    most_records: int | None = None,
) -> int:
    """Return how many records to dispatch in one handle call now; 0 to wait.

    A call costs the same whatever it carries, so it goes out when it is full, or when it takes all
    ``queued`` records. ``room_records`` is how many more may be in flight.
    """
    wanted = min(full_chunk_records(smallest_window, most_records), queued)
    return wanted if room_records >= wanted else 0
