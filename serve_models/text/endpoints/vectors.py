"""Vectors to response bodies: truncation, quantisation, JSON and base64. Pure."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.bodies.embeddings import EncodingFormat, OutputDtype

_INT8_LARGEST = 127.0
_LEAST_SHARE_OF_A_SAMPLE = 0.75
_QUOTES = '""'


@dataclass(frozen=True, slots=True)
class VectorForm:
    """The form in which a request wants its vectors.

    Attributes:
        dimensions: Leading components to keep; all where ``None``.
        normalize: Scale to length 1, after truncation.
    """

    dimensions: int | None = None
    normalize: bool = True
    output_dtype: OutputDtype = "float"


def form_vectors(vectors: NDArray[np.float32], form: VectorForm) -> NDArray[Any]:
    """Bring vectors, float32 [rows, dims], into the form of a request.

    Returns:
        [rows, dimensions] as float32 or int8; [rows, ceil(dimensions / 8)] as int8 for ``binary``
            and uint8 for ``ubinary``.
    """
    if form.dimensions is not None:
        vectors = vectors[:, : form.dimensions]
    if form.normalize:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.maximum(lengths, 1e-12)
    match form.output_dtype:
        case "float":
            return np.ascontiguousarray(vectors, dtype="<f4")
        case "int8":
            return _scale_to_int8(vectors)
        case "binary":
            # As in sentence_transformers.util.quantize_embeddings.
            return (np.packbits(vectors > 0, axis=-1).astype(np.int16) - 128).astype(np.int8)
        case "ubinary":
            return np.packbits(vectors > 0, axis=-1)


def _scale_to_int8(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Scale each vector so that its largest component becomes 127, and round.

    One factor per vector keeps its direction, so cosine similarity holds to about 1e-4 without a
    calibration set; dot products and lengths are lost. (``quantize_embeddings`` takes ranges per
    component from a whole corpus, which one request does not have.)
    """
    largest = np.max(np.abs(vectors), axis=1, keepdims=True)
    factors = np.where(largest > 0, _INT8_LARGEST / np.maximum(largest, 1e-30), 0.0)
    scaled: NDArray[np.int8] = np.rint(vectors * factors).astype(np.int8)
    return scaled


def least_vector_bytes(
    sample: NDArray[np.float32], form: VectorForm, encoding_format: EncodingFormat
) -> int:
    """Return a lower bound of the bytes of one of a model's vectors in a response body.

    Base64 has a fixed size. An integer has at least a digit and a comma. Nearly all floats have all
    their digits, so no vector takes less than three quarters of the bytes of ``sample``, any vector
    of the model, float32 [dims]. A sample with zeros is no measure: another vector may have any
    number of them.
    """
    formed: NDArray[Any] = form_vectors(sample[np.newaxis], form)[0]
    if encoding_format == "base64":
        return len(_QUOTES) + (formed.nbytes + 2) // 3 * 4
    if form.output_dtype != "float":
        return formed.size * len("0,") + 1
    least_bytes = formed.size * len("0.0,") + 1
    if not formed.all():
        return least_bytes
    sample_bytes = len(orjson.dumps(formed, option=orjson.OPT_SERIALIZE_NUMPY))
    return max(least_bytes, int(sample_bytes * _LEAST_SHARE_OF_A_SAMPLE))


def encode_response_body(
    vectors: NDArray[Any],
    truncated: Sequence[bool],
    encoding_format: EncodingFormat,
    model: str,
    prompt_tokens: int,
) -> bytes:
    """Return a response as UTF-8 JSON; ``vectors`` are ``form_vectors``'s, C-contiguous."""
    data: list[dict[str, Any]] = []
    for index, vector in enumerate(vectors):
        embedding = (
            base64.b64encode(vector.data).decode("ascii") if encoding_format == "base64" else vector
        )
        item = {"object": "embedding", "index": index, "embedding": embedding}
        if truncated[index]:
            item["truncated"] = True
        data.append(item)
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
