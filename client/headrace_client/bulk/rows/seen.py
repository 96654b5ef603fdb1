"""What has been seen before, on disk: items by their identity, and the custom_ids of lines.

Both live in the job's own database, through its connection, so that what they hold is committed
with the job's checkpoint or not at all. They never commit. Where no transaction is open they begin
one; the owner of the connection commits it.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from headrace_client.bulk.rows.identity import IDENTITY_BYTES

_ASKED_AT_ONCE = 512
_ASKED = ",".join("?" * _ASKED_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Assigned:
    """The items of some rows.

    Attributes:
        items: The item of each row, in their order.
        first_rows: The row in which that item was first seen: the row itself if it is new.
        new: How many of the items are new. They are numbered in the order of their first rows.
    """

    items: list[int]
    first_rows: list[int]
    new: int


class _Keys:
    """A table of 16-byte keys, each with a number and the row that brought it."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._connection = connection
        self._question = f"SELECT key, number, row FROM {table} WHERE key IN ({_ASKED})"  # noqa: S608 - our own names
        self._insertion = f"INSERT INTO {table} (key, number, row) VALUES (?, ?, ?)"  # noqa: S608 - our own names
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            "(key BLOB PRIMARY KEY, number INTEGER NOT NULL, row INTEGER NOT NULL) WITHOUT ROWID"
        )

    def known(self, keys: list[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return number and row of those of the keys that are in the table."""
        found: dict[bytes, tuple[int, int]] = {}
        for start in range(0, len(keys), _ASKED_AT_ONCE):
            asked = keys[start : start + _ASKED_AT_ONCE]
            # One statement for any count, which SQLite compiles once; null is no key.
            padded = asked + [None] * (_ASKED_AT_ONCE - len(asked))
            for key, number, row in self._connection.execute(self._question, padded):
                found[key] = (number, row)
        return found

    def insert(self, keys: list[tuple[bytes, int, int]]) -> None:
        if not keys:
            return
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")
        # Neighbours in the table are written together.
        self._connection.executemany(self._insertion, sorted(keys))


class SeenItems:
    """Item numbers by identity; memory is SQLite's page cache, however many there are."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._keys = _Keys(connection, "seen_items")

    def assign(
        self, identities: Sequence[bytes], rows: Sequence[int], *, next_item: int
    ) -> Assigned:
        """Give rows their items: known ones by identity, new ones from ``next_item`` on.

        Repeating rows that were assigned before, as after a crash, gives the same items again.
        """
        known = self._keys.known(list(dict.fromkeys(identities)))
        fresh: list[tuple[bytes, int, int]] = []
        items: list[int] = []
        first_rows: list[int] = []
        for key, row in zip(identities, rows, strict=True):
            there = known.get(key)
            if there is None:
                there = known[key] = (next_item + len(fresh), row)
                fresh.append((key, *there))
            items.append(there[0])
            first_rows.append(there[1])
        self._keys.insert(fresh)
        return Assigned(items, first_rows, len(fresh))


class CustomIds:
    """The custom_ids of lines, to find those that occur twice."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._keys = _Keys(connection, "custom_ids")

    def repeats(self, custom_ids: Sequence[str], rows: Sequence[int]) -> dict[int, int]:
        """Add custom_ids; return the rows whose custom_id an earlier row has, with that row.

        A row that was added before is no repeat of itself.
        """
        keys = [
            blake2b(each.encode("utf-8", "surrogatepass"), digest_size=IDENTITY_BYTES).digest()
            for each in custom_ids
        ]
        known = self._keys.known(list(dict.fromkeys(keys)))
        fresh: list[tuple[bytes, int, int]] = []
        repeated: dict[int, int] = {}
        for key, row in zip(keys, rows, strict=True):
            there = known.get(key)
            if there is None:
                known[key] = (0, row)
                fresh.append((key, 0, row))
            elif there[1] != row:
                repeated[row] = there[1]
        self._keys.insert(fresh)
        return repeated
