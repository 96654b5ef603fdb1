from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace_client.bulk.output.errors import ModelChangedError, PartsBrokenError
from headrace_client.bulk.output.layout import VectorDtype
from headrace_client.bulk.output.stores import (
    BodyBuffer,
    BodyStore,
    ItemAnswers,
    VectorBuffer,
    VectorStore,
)

ITEMS = 40


def vectors(first: int, count: int) -> NDArray[Any]:
    return np.outer(np.arange(first, first + count), [1, 10, 100]).astype(np.float16)


def bodies(first: int, count: int) -> list[bytes]:
    return [b"%d" % item * (item % 5) for item in range(first, first + count)]


def numbers(*items: int) -> NDArray[np.int64]:
    return np.array(items, np.int64)


@settings(deadline=None)
@given(
    cuts=st.sets(st.integers(1, ITEMS - 1)),
    order=st.randoms(use_true_random=False),
    asked=st.lists(st.integers(-2, ITEMS - 1), max_size=60),
    climbs=st.booleans(),
)
def test_items_come_back_whatever_the_order(
    cuts: set[int], order: Any, asked: list[int], climbs: bool
) -> None:
    edges = [0, *sorted(cuts), ITEMS]
    requests = list(pairwise(edges))
    order.shuffle(requests)
    items = numbers(*(sorted(asked) if climbs else asked))
    expected = [b"" if item < 0 else bodies(item, 1)[0] for item in items.tolist()]
    with TemporaryDirectory() as folder:
        of_bodies: list[ItemAnswers[Any]] = [BodyBuffer(), BodyStore(Path(folder))]
        of_vectors: list[ItemAnswers[Any]] = [
            VectorBuffer(),
            VectorStore(Path(folder), VectorDtype.FLOAT16),
        ]
        for store in (*of_bodies, *of_vectors):
            store.recover(None)
            for first, end in requests:
                make = bodies if store in of_bodies else vectors
                store.put(first, make(first, end - first))
        for store in of_bodies:
            assert list(store.take(items)) == expected
        for store in of_vectors:
            found = store.take(items)
            assert found.dtype == np.float16
            np.testing.assert_array_equal(found, np.outer(np.maximum(items, 0), [1, 10, 100]))
        for store in (*of_bodies, *of_vectors):
            store.close()


def test_a_buffer_forgets_what_is_written() -> None:
    buffer = BodyBuffer()
    buffer.put(0, [b"a", b"b"])
    buffer.put(2, [b"c", b"d"])

    buffer.forget(3)

    assert buffer.take(numbers(2, 3)) == [b"c", b"d"]
    with pytest.raises(KeyError):
        buffer.take(numbers(1))


def test_single_items_after_a_failed_request() -> None:
    buffer = BodyBuffer()
    buffer.put(0, [b"a", b"b", b"c"])
    buffer.put(1, [b"B"])

    assert buffer.take(numbers(0, 1, 2)) == [b"a", b"B", b"c"]


def test_stores_go_back_to_the_checkpoint(tmp_path: Path) -> None:
    vector_store = VectorStore(tmp_path, VectorDtype.FLOAT16)
    body_store = BodyStore(tmp_path)
    vector_store.recover(None)
    body_store.recover(None)
    vector_store.put(0, vectors(0, 4))
    body_store.put(0, bodies(0, 4))
    marks = vector_store.sync(), body_store.sync()
    vector_store.put(4, vectors(90, 2))
    body_store.put(4, bodies(90, 2))
    vector_store.close()
    body_store.close()

    vector_store = VectorStore(tmp_path, VectorDtype.FLOAT16)
    body_store = BodyStore(tmp_path)
    vector_store.recover(marks[0])
    body_store.recover(marks[1])

    np.testing.assert_array_equal(vector_store.take(np.arange(4)), vectors(0, 4))
    assert body_store.take(np.arange(4)) == bodies(0, 4)
    for store in (vector_store, body_store):
        with pytest.raises(PartsBrokenError):
            store.take(numbers(4))
    vector_store.put(4, vectors(4, 1))
    body_store.put(4, bodies(4, 1))
    np.testing.assert_array_equal(vector_store.take(numbers(4, 0)), vectors(4, 1)[[0]] * [[1], [0]])
    assert body_store.take(numbers(4, 1)) == bodies(4, 1) + bodies(1, 1)
    vector_store.close()
    body_store.close()


@pytest.mark.parametrize("name", ["items.vectors", "items.bodies", "items.places"])
def test_a_store_that_lost_what_was_durable(name: str, tmp_path: Path) -> None:
    vector_store = VectorStore(tmp_path, VectorDtype.FLOAT16)
    body_store = BodyStore(tmp_path)
    vector_store.recover(None)
    body_store.recover(None)
    vector_store.put(0, vectors(0, 3))
    body_store.put(0, bodies(0, 3))
    marks = vector_store.sync(), body_store.sync()
    vector_store.close()
    body_store.close()
    (tmp_path / name).write_bytes(b"1")

    store, mark = (vector_store, marks[0]) if "vectors" in name else (body_store, marks[1])
    with pytest.raises(PartsBrokenError, match=name):
        store.recover(mark)
    vector_store.close()
    body_store.close()


def test_vectors_of_another_length(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, VectorDtype.FLOAT32)
    store.recover(None)
    store.put(0, np.zeros((1, 3), np.float32))

    with pytest.raises(ModelChangedError):
        store.put(1, np.zeros((1, 4), np.float32))
    store.close()
