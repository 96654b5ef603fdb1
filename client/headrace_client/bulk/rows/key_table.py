"""A set of 16-byte keys in SQLite that takes new ones fast, in constant memory.

Keys are hashes, so each goes to a page of its own in a large tree. New keys therefore go to a small
tree first, which stays in SQLite's cache. A tree that is full moves to the next, larger one in the
order of the keys, which visits each page once for many keys. A Bloom filter answers for most new
keys, without a look into any tree.
"""

import sqlite3
from collections.abc import Iterable
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt

from headrace_client.bulk.rows.identity import IDENTITY_BYTES

FILTER_BYTES = 1 << 24
"""At 10 million keys 1 new one in 200 is looked up in vain, at 50 million 1 in 3."""
MOVED_AT_ONCE_KEYS = (1 << 16, 1 << 20)
"""When the first tree moves to the second, and the second to the third."""
_PROBES = 4
_ASKED_AT_ONCE_KEYS = 512
_INSERTED_AT_ONCE_KEYS = (256, 16, 1)
"""A statement lets other threads run, and waits for its turn after it: one for each key is slow."""
_LOADED_AT_ONCE_KEYS = 1 << 16


class KeyTable:
    """Keys, each with a number and the row that brought it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: str,
        *,
        filter_bytes: int = FILTER_BYTES,
        moved_at_once_keys: tuple[int, ...] = MOVED_AT_ONCE_KEYS,
    ) -> None:
        self._connection = connection
        self._moved_at_once_keys = moved_at_once_keys
        # The names of tables are ours. One question for any number of keys is compiled once.
        names = [*(f"{table}_recent_{each}" for each in range(len(moved_at_once_keys))), table]
        marks = ",".join("?" * _ASKED_AT_ONCE_KEYS)
        self._questions = [
            f"SELECT key, number, row FROM {name} WHERE key IN ({marks})"  # noqa: S608
            for name in names
        ]
        self._insertions = [
            (rows, f"INSERT INTO {names[0]} VALUES " + ",".join(["(?,?,?)"] * rows))  # noqa: S608
            for rows in _INSERTED_AT_ONCE_KEYS
        ]
        self._moves = [
            (f"INSERT INTO {to} SELECT * FROM {name} ORDER BY key", f"DELETE FROM {name}")  # noqa: S608
            for name, to in pairwise(names)
        ]
        self._filter = _KeyFilter(filter_bytes)
        self._counts: list[int] = []
        for name in names:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name} "
                "(key BLOB PRIMARY KEY, number INTEGER NOT NULL, row INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )
            self._counts.append(self._load(name))

    def known(self, keys: list[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return number and row of those of the keys that are in the table."""
        found: dict[bytes, tuple[int, int]] = {}
        asked = self._filter.perhaps(keys)
        for question in self._questions:
            asked = [key for key in asked if key not in found]
            for start in range(0, len(asked), _ASKED_AT_ONCE_KEYS):
                some: list[bytes | None] = [*asked[start : start + _ASKED_AT_ONCE_KEYS]]
                some += [None] * (_ASKED_AT_ONCE_KEYS - len(some))  # null is no key
                for key, number, row in self._connection.execute(question, some):
                    found[key] = (number, row)
        return found

    def insert(self, keys: list[tuple[bytes, int, int]]) -> None:
        """Add keys that are not in the table."""
        if not keys:
            return
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN")
        start = 0
        for rows, insertion in self._insertions:
            while start + rows <= len(keys):
                self._connection.execute(insertion, [*chain(*keys[start : start + rows])])
                start += rows
        self._filter.add(key for key, _, _ in keys)
        self._counts[0] += len(keys)
        for level, limit in enumerate(self._moved_at_once_keys):
            if self._counts[level] < limit:
                break
            for statement in self._moves[level]:
                self._connection.execute(statement)
            self._counts[level + 1] += self._counts[level]
            self._counts[level] = 0

    def _load(self, table: str) -> int:
        rows = self._connection.execute(f"SELECT key FROM {table}")  # noqa: S608
        count = 0
        while some := rows.fetchmany(_LOADED_AT_ONCE_KEYS):
            self._filter.add(key for (key,) in some)
            count += len(some)
        return count


class _KeyFilter:
    """A Bloom filter: a key that it does not know was never added."""

    def __init__(self, size_bytes: int) -> None:
        self._bits = np.zeros(size_bytes, dtype=np.uint8)
        self._mask = np.uint64(size_bytes * 8 - 1)

    def perhaps(self, keys: list[bytes]) -> list[bytes]:
        """Return the keys that may have been added."""
        if not keys:
            return keys
        places = self._places(keys)
        found = (self._bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & 1
        return [keys[index] for index in np.flatnonzero(found.all(axis=1))]

    def add(self, keys: Iterable[bytes]) -> None:
        places = self._places(keys).ravel()
        marks = np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
        np.bitwise_or.at(self._bits, places >> np.uint64(3), marks)

    def _places(self, keys: Iterable[bytes]) -> npt.NDArray[np.uint64]:
        halves = np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, IDENTITY_BYTES // 8)
        steps = np.arange(_PROBES, dtype=np.uint64)
        # An odd step never comes back to where it was.
        places: npt.NDArray[np.uint64] = (
            halves[:, :1] + steps * (halves[:, 1:] | np.uint64(1))
        ) & self._mask
        return places
