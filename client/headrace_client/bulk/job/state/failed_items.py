"""Why items failed: kept, so that rows that repeat them fail alike, after a crash too."""

import sqlite3
import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import Failure
from headrace_client.jobs import RangeSet

_ASKED_AT_ONCE = 500


class FailedItems:
    """Failures by item. They are committed with the checkpoint, which their owner commits.

    Args:
        connection: The job's database; ``None`` where no row repeats another, and failures are
            forgotten once their row is written.
        lock: Held while the database is used.
    """

    def __init__(self, connection: sqlite3.Connection | None, lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock
        self._recent: dict[int, Failure] = {}
        self._forgotten_below = 0
        self._kept = 0
        if connection is not None:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS failed_items (item INTEGER PRIMARY KEY, "
                "code TEXT NOT NULL, message TEXT NOT NULL, retryable INTEGER NOT NULL)"
            )

    def recover(self, durable: RangeSet) -> None:
        """Go back to a checkpoint: only items that are durably written failed for good."""
        if self._connection is None:
            return
        with self._lock:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            stored = self._connection.execute("SELECT item FROM failed_items").fetchall()
            self._connection.executemany(
                "DELETE FROM failed_items WHERE item = ?",
                [(item,) for (item,) in stored if item not in durable],
            )
            self._kept, end = self._connection.execute(
                "SELECT count(*), coalesce(max(item) + 1, 0) FROM failed_items"
            ).fetchone()
        self._forgotten_below = end

    def add(self, failures: Mapping[int, Failure]) -> None:
        self._recent.update(failures)
        if self._connection is None:
            return
        self._kept += len(failures)
        with self._lock:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO failed_items VALUES (?, ?, ?, ?)",
                [(item, f.code, f.message, f.retryable) for item, f in failures.items()],
            )

    def among(self, items: NDArray[np.int64]) -> dict[int, Failure]:
        """Return the failures of those of the items that failed, by place."""
        found: dict[int, Failure] = {}
        if self._recent:
            recent = self._recent
            for place, item in enumerate(items.tolist()):
                if item in recent:
                    found[place] = recent[item]
        if self._kept and self._connection is not None:
            repeats = np.flatnonzero((items >= 0) & (items < self._forgotten_below))
            known = self._stored(self._connection, sorted({int(items[at]) for at in repeats}))
            found |= {int(at): known[int(items[at])] for at in repeats if int(items[at]) in known}
        return found

    def forget(self, below: int) -> None:
        """Note that items below this one are asked for by repeats only."""
        self._forgotten_below = max(self._forgotten_below, below)
        if self._recent:
            self._recent = {item: why for item, why in self._recent.items() if item >= below}

    def _stored(self, connection: sqlite3.Connection, items: list[int]) -> dict[int, Failure]:
        found: dict[int, Failure] = {}
        for start in range(0, len(items), _ASKED_AT_ONCE):
            some = items[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(some))
            with self._lock:
                rows = connection.execute(
                    "SELECT item, code, message, retryable FROM failed_items "  # noqa: S608
                    f"WHERE item IN ({marks})",
                    some,
                ).fetchall()
            for item, code, message, retryable in rows:
                found[item] = Failure(code, message, bool(retryable))
        return found
