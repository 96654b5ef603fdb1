import base64
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace_client.bulk.output.base64_vectors import decode_base64
from headrace_client.bulk.output.errors import AnswerUnreadableError, ModelChangedError
from headrace_client.bulk.output.layout import VectorDtype
from headrace_client.bulk.output.vectors import VectorDecoder


def body_of(embeddings: list[Any], **more: Any) -> dict[str, Any]:
    data = [{"index": at, "embedding": each} for at, each in enumerate(embeddings)]
    return {"object": "list", "data": data, "usage": {"prompt_tokens": 7}} | more


def in_base64(vectors: NDArray[Any]) -> list[str]:
    return [base64.b64encode(vector.tobytes()).decode() for vector in vectors]


@given(st.integers(1, 40), st.lists(st.binary(min_size=40, max_size=40), min_size=1, max_size=9))
def test_base64_is_what_the_standard_library_says(size: int, blobs: list[bytes]) -> None:
    texts = [base64.b64encode(blob[:size]).decode() for blob in blobs]

    decoded = decode_base64(texts, size)

    assert decoded is not None
    assert [row.tobytes() for row in decoded] == [blob[:size] for blob in blobs]


@pytest.mark.parametrize("text", ["AAA", "AA=A", "====", "AA-A", "AAAé", "A A=", "AAAAA"])
def test_no_base64(text: str) -> None:
    assert decode_base64(["AAA=", text], 2) is None


@pytest.mark.parametrize("dtype", VectorDtype)
@pytest.mark.parametrize("dimensions", [1, 2, 3, 384])
@pytest.mark.parametrize("encoding", ["base64", "list"])
def test_vectors_of_each_kind(dtype: VectorDtype, dimensions: int, encoding: str) -> None:
    generator = np.random.default_rng(dimensions)
    sent = (generator.standard_normal((5, dimensions)) * 50).astype(dtype.wire)
    answers = in_base64(sent) if encoding == "base64" else sent.tolist()
    decoder = VectorDecoder(dtype)

    decoded = decoder.decode(body_of(answers), 5)

    assert decoded.vectors.dtype == dtype.numpy
    np.testing.assert_array_equal(decoded.vectors, sent.astype(dtype.numpy))
    assert (decoder.dimensions, dict(decoded.failures)) == (dimensions, {})
    assert decoded.prompt_tokens == 7


def test_vectors_go_to_their_index() -> None:
    body = {
        "data": [
            {"index": 1, "embedding": [1.0], "truncated": True},
            {"index": 0, "embedding": [0.0]},
        ]
    }

    decoded = VectorDecoder(VectorDtype.FLOAT32).decode(body, 2)

    assert decoded.vectors.tolist() == [[0], [1]]
    assert (decoded.truncated, decoded.prompt_tokens) == (1, 0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": None},
        body_of([[1.0]]),
        {"data": [{"index": 1, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]},
    ],
)
def test_a_body_that_is_no_answer(body: dict[str, Any]) -> None:
    with pytest.raises(AnswerUnreadableError):
        VectorDecoder(VectorDtype.FLOAT32).decode(body, 2)


@pytest.mark.parametrize("encoding", ["base64", "list"])
def test_another_length_means_another_model(encoding: str) -> None:
    decoder = VectorDecoder(VectorDtype.FLOAT32, dimensions=3)
    vectors = np.ones((2, 4), np.float32)
    answers = in_base64(vectors) if encoding == "base64" else vectors.tolist()

    with pytest.raises(ModelChangedError, match=r"4 components.*have 3"):
        decoder.decode(body_of(answers), 2)


@pytest.mark.parametrize("broken", [None, "", "AAA", "????????", [], ["x", 1.0], [[1.0, 2.0]], 7])
@pytest.mark.parametrize("encoding", ["base64", "list"])
def test_one_broken_vector_costs_no_other(broken: Any, encoding: str) -> None:
    vectors = np.array([[1, 2], [3, 4]], np.float32)
    answers: list[Any] = in_base64(vectors) if encoding == "base64" else vectors.tolist()

    decoded = VectorDecoder(VectorDtype.FLOAT32, dimensions=2).decode(
        body_of([answers[0], broken, answers[1]]), 3
    )

    assert decoded.vectors.tolist() == [[1, 2], [0, 0], [3, 4]]
    assert {at: each.code for at, each in decoded.failures.items()} == {1: "vector_unreadable"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite_fails_alone(value: float) -> None:
    vectors = np.array([[1, 2], [value, 4]], np.float32)

    decoded = VectorDecoder(VectorDtype.FLOAT32).decode(body_of(in_base64(vectors)), 2)

    assert decoded.vectors.tolist() == [[1, 2], [0, 0]]
    assert {at: each.code for at, each in decoded.failures.items()} == {1: "vector_not_finite"}


def test_what_float16_cannot_hold_fails_and_says_so() -> None:
    vectors = np.array([[1, 2], [70_000, 4]], np.float32)

    decoded = VectorDecoder(VectorDtype.FLOAT16).decode(body_of(in_base64(vectors)), 2)

    assert "float16" in decoded.failures[1].message
    assert decoded.vectors.tolist() == [[1, 2], [0, 0]]


def test_floats_over_float32_are_not_finite() -> None:
    decoded = VectorDecoder(VectorDtype.FLOAT32).decode(body_of([[1e300, 0.0]]), 1)

    assert decoded.failures[0].code == "vector_not_finite"


@pytest.mark.parametrize(
    ("kind", "embedding", "said"),
    [
        ("sparse_embedding", {"indices": [1], "values": [0.5]}, "sparse vectors"),
        ("multi_vector_embedding", [[1.0, 0.0]], "many vectors for a text"),
    ],
)
def test_vectors_of_another_kind_are_named(kind: str, embedding: Any, said: str) -> None:
    body = {"data": [{"object": kind, "index": 0, "embedding": embedding}]}
    with pytest.raises(AnswerUnreadableError, match=f"{said}.*headrace bulk run"):
        VectorDecoder(VectorDtype.FLOAT32).decode(body, 1)
