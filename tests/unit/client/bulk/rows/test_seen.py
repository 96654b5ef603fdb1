import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.rows.identity import IDENTITY_BYTES, identity
from headrace_client.bulk.rows.key_table import KeyTable
from headrace_client.bulk.rows.seen import SeenItems


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def identities(numbers: list[int]) -> list[bytes]:
    return [identity(str(number).encode()) for number in numbers]


def test_identity_is_that_of_payload_and_endpoint() -> None:
    payloads = [(b'"a"', ""), (b'"b"', ""), (b'"a"', "/v1/embeddings"), (b'"a"', "/v1/rerank")]

    found = {identity(payload, url) for payload, url in payloads}

    assert len(found) == 4
    assert {len(each) for each in found} == {IDENTITY_BYTES}
    # It is kept on disk between releases.
    assert identity(b'"a"').hex() == "dbea35bc7f21752194bf49390c6f6a35"


def test_items_are_numbered_in_the_order_of_their_first_rows(database: sqlite3.Connection) -> None:
    seen = SeenItems(database)

    first = seen.assign(identities([5, 6, 5]), [0, 1, 3], next_item=0)
    second = seen.assign(identities([6, 7, 7, 5]), [4, 5, 6, 7], next_item=2)

    assert (first.items, first.first_rows, first.new) == ([0, 1, 0], [0, 1, 0], 2)
    assert (second.items, second.first_rows, second.new) == ([1, 2, 2, 0], [1, 5, 5, 0], 1)


@given(
    batches=st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=12),
    reopened=st.sets(st.integers(0, 11)),
    moved_at_once=st.integers(1, 30),
)
def test_items_are_those_of_a_dictionary(
    batches: list[list[int]], reopened: set[int], moved_at_once: int
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    reference: dict[bytes, tuple[int, int]] = {}
    seen = SeenItems(connection)

    # So few bits that nearly every key may have been seen.
    def opened() -> KeyTable:
        moved = (moved_at_once, 3 * moved_at_once)
        return KeyTable(connection, "seen_items", filter_bytes=8, moved_at_once_keys=moved)

    seen._keys = opened()
    row = 0
    for number, batch in enumerate(batches):
        if number in reopened:
            seen._keys = opened()
        keys = identities(batch)
        rows = list(range(row, row + len(batch)))
        before = len(reference)
        for key, at in zip(keys, rows, strict=True):
            reference.setdefault(key, (len(reference), at))

        assigned = seen.assign(keys, rows, next_item=before)

        assert list(zip(assigned.items, assigned.first_rows, strict=True)) == [
            reference[key] for key in keys
        ]
        assert assigned.new == len(reference) - before
        row += len(batch)
    connection.close()


def test_nothing_is_kept_that_was_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    killed = sqlite3.connect(path, isolation_level=None)
    seen = SeenItems(killed)
    seen.assign(identities([1, 2]), [0, 1], next_item=0)
    killed.execute("COMMIT")
    seen.assign(identities([3]), [2], next_item=2)
    killed.close()

    resumed = sqlite3.connect(path, isolation_level=None)
    again = SeenItems(resumed).assign(identities([2, 9, 3]), [1, 2, 3], next_item=2)
    resumed.close()

    assert again.items == [1, 2, 3]
    assert again.new == 2


def test_rows_read_again_get_their_items(database: sqlite3.Connection) -> None:
    seen = SeenItems(database)
    first = seen.assign(identities([1, 2, 1]), [0, 1, 2], next_item=0)

    assert seen.assign(identities([1, 2, 1]), [0, 1, 2], next_item=2).items == first.items


def test_an_open_transaction_is_left_open(database: sqlite3.Connection) -> None:
    seen = SeenItems(database)
    database.execute("BEGIN")
    seen.assign(identities([1]), [0], next_item=0)
    assert database.in_transaction
    database.execute("ROLLBACK")

    assert seen.assign(identities([1]), [0], next_item=0).new == 1


def test_new_keys_are_hardly_looked_up() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    keys = KeyTable(connection, "keys")
    new = identities(list(range(20_000)))
    keys.insert([(key, 0, 0) for key in new[:10_000]])

    assert len(keys._filter.perhaps(new[10_000:])) < 10
    assert keys._filter.perhaps(new[:10_000]) == new[:10_000]
    connection.close()


def test_full_trees_move_to_larger_ones(database: sqlite3.Connection) -> None:
    keys = KeyTable(database, "keys", moved_at_once_keys=(4, 8))
    new = [(key, number, number) for number, key in enumerate(identities(list(range(13))))]

    for start in range(0, 13, 2):
        keys.insert(new[start : start + 2])

    counts = [
        database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("keys_recent_0", "keys_recent_1", "keys")
    ]
    assert counts == [1, 4, 8]
    assert len(keys.known([key for key, _, _ in new])) == 13
