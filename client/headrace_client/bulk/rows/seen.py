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
from headrace_client.bulk.rows.key_table import KeyTable


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


class SeenItems:
    """Item numbers by identity. Memory does not grow with their number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._keys = KeyTable(connection, "seen_items")

    def assign(
        self, identities: Sequence[bytes], rows: Sequence[int], *, next_item: int
    ) -> Assigned:
        """Give rows their items: known ones by identity, new ones from ``next_item`` on.

        Rows that were assigned before, as those read again after a crash, get the same items.
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
        self._keys = KeyTable(connection, "custom_ids")

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
