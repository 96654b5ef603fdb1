import base64
from typing import Any, Literal

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers.util import quantize_embeddings

from schemas.bodies.embeddings import EmbeddingsResponse, OutputDtype
from serve_models.text.endpoints.vectors import VectorForm, encode_response_body, form_vectors


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(20, 384)).astype(np.float32)


def cosines(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    found: NDArray[np.float64] = (left * right).sum(1) / lengths
    return found


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
@pytest.mark.parametrize("dims", [384, 100])
def test_bits_are_packed_as_sentence_transformers_packs_them(
    vectors: NDArray[np.float32], precision: Literal["binary", "ubinary"], dims: int
) -> None:
    ours = form_vectors(vectors[:, :dims], VectorForm(output_dtype=precision))
    theirs = quantize_embeddings(vectors[:, :dims], precision=precision)
    assert isinstance(theirs, np.ndarray)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_int8_keeps_the_direction(vectors: NDArray[np.float32]) -> None:
    quantised = form_vectors(vectors, VectorForm(output_dtype="int8"))
    assert quantised.dtype == np.int8
    assert np.abs(quantised).max(axis=1).tolist() == [127] * len(vectors)
    assert cosines(vectors, quantised).min() > 0.9999


@given(st.integers(1, 64), st.floats(1e-20, 1e20))
def test_int8_holds_at_any_scale(dims: int, scale: float) -> None:
    vectors = (np.random.default_rng(dims).normal(size=(3, dims)) * scale).astype(np.float32)
    quantised = form_vectors(vectors, VectorForm(normalize=False, output_dtype="int8"))
    assert cosines(vectors, quantised).min() > 0.999


@pytest.mark.parametrize("output_dtype", ["float", "int8", "binary", "ubinary"])
def test_a_zero_vector_stays_finite(output_dtype: OutputDtype) -> None:
    formed = form_vectors(np.zeros((1, 8), np.float32), VectorForm(output_dtype=output_dtype))
    assert np.isfinite(formed).all()


def test_dimensions_truncate_and_then_normalise(vectors: NDArray[np.float32]) -> None:
    formed = form_vectors(vectors, VectorForm(dimensions=64))
    assert formed.shape == (20, 64)
    np.testing.assert_allclose(np.linalg.norm(formed, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(cosines(formed, vectors[:, :64]), 1, atol=1e-6)
    raw = form_vectors(vectors, VectorForm(dimensions=64, normalize=False))
    np.testing.assert_array_equal(raw, vectors[:, :64])


@pytest.mark.parametrize(
    ("output_dtype", "read"),
    [("float", "<f4"), ("int8", "i1"), ("binary", "i1"), ("ubinary", "u1")],
)
def test_numbers_and_base64_say_the_same(
    vectors: NDArray[np.float32], output_dtype: OutputDtype, read: str
) -> None:
    formed = form_vectors(vectors[:2], VectorForm(dimensions=24, output_dtype=output_dtype))
    numbers = orjson.loads(encode_response_body(formed, [False, True], "float", "m", 9))
    encoded = orjson.loads(encode_response_body(formed, [False, True], "base64", "m", 9))
    for body in (numbers, encoded):
        EmbeddingsResponse.model_validate(body)
        assert [item["index"] for item in body["data"]] == [0, 1]
        assert "truncated" not in body["data"][0]
        assert body["data"][1]["truncated"] is True
        assert body["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    for number, text in zip(numbers["data"], encoded["data"], strict=True):
        decoded = np.frombuffer(base64.b64decode(text["embedding"]), dtype=read)
        np.testing.assert_array_equal(np.array(number["embedding"], dtype=read), decoded)
