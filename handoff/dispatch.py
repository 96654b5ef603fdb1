"""How many records the next handle call carries."""


def full_chunk_records(
    smallest_window: int, calls_per_window: int, most_records: int | None = None
) -> int:
    """Return how many records a full call carries: a part of the smallest window.

    Each replica then has a part to start while the outcomes of another come back, and no replica is
    ahead of another by more than a part.

    Args:
        smallest_window: The smallest window of one replica.
        calls_per_window: Into how many calls a window is divided. Few for a model that computes
            batches; many for one whose records end one by one, so that each is made up for at once.
        most_records: The most that one call may carry; ``None`` is no limit.
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
    that is queued. ``queued`` is what waits, ``room_records`` how many more may be in flight; the
    others are those of ``full_chunk_records``.
    """
    wanted = min(full_chunk_records(smallest_window, calls_per_window, most_records), queued)
    return wanted if room_records >= wanted else 0
