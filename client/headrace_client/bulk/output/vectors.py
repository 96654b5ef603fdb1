"""Answers of /v1/embeddings as arrays: a request at a time, no Python object for a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_client.bulk.output.answered import Failure
from headrace_client.bulk.output.base64_vectors import decode_base64
from headrace_client.bulk.output.errors import AnswerUnreadableError, ModelChangedError
from headrace_client.bulk.output.layout import VectorDtype

_NOT_A_VECTOR = Failure(
    "vector_unreadable",
    "the answer holds no vector for this row: try the row again with --retry-failed",
    retryable=True,
)
_OTHER_KINDS = {
    "sparse_embedding": "sparse vectors",
    "multi_vector_embedding": "many vectors for a text",
}
_NOT_FINITE = Failure(
    "vector_not_finite",
    "the model answered with NaN or infinity: look at the text, or run the model in float32",
    retryable=True,
)
_TOO_LARGE = Failure(
    "vector_not_finite",
    "the vector has components over 65,504, which float16 cannot hold: use --dtype float32",
    retryable=False,
)


@dataclass(frozen=True, slots=True)
class DecodedVectors:
    """The vectors of one response.

    Attributes:
        vectors: [inputs, dimensions] in OUT's dtype; zeros where a failure is.
        failures: By position: vectors that are not finite or cannot be read.
        prompt_tokens: As ``usage`` counts them; 0 where it does not.
        truncated: How many texts the model cut.
    """

    vectors: NDArray[Any]
    failures: Mapping[int, Failure]
    prompt_tokens: int
    truncated: int


class VectorDecoder:
    """Decodes the responses of one job, whose vectors all have the same length.

    Args:
        dtype: Of OUT; requests must ask for its ``output_dtype``, and best for base64.
        dimensions: What rows of an earlier run have.
    """

    def __init__(self, dtype: VectorDtype, dimensions: int | None = None) -> None:
        self._dtype = dtype
        self.dimensions = dimensions

    def decode(self, body: Mapping[str, Any], inputs: int) -> DecodedVectors:
        """The vectors of a response body, as orjson read it, for a request of so many inputs.

        Raises:
            AnswerUnreadableError: the body is not what the endpoint answers.
            ModelChangedError: its vectors are of another length than the job's.
        """
        items = self._items(body, inputs)
        answers = [item.get("embedding") for item in items]
        failures: dict[int, Failure] = {}
        vectors = self._read(answers, failures)
        if self._dtype.is_float:
            self._check_finite(vectors, failures, _NOT_FINITE)
        if self._dtype is VectorDtype.FLOAT16:
            with np.errstate(over="ignore"):
                vectors = vectors.astype(self._dtype.numpy)
            self._check_finite(vectors, failures, _TOO_LARGE)
        usage = body.get("usage") or {}
        truncated = sum("truncated" in item for item in items)
        return DecodedVectors(vectors, failures, usage.get("prompt_tokens") or 0, truncated)

    @staticmethod
    def _items(body: Mapping[str, Any], inputs: int) -> list[Mapping[str, Any]]:
        items = body.get("data")
        if not isinstance(items, list) or len(items) != inputs:
            count = len(items) if isinstance(items, list) else "no"
            raise AnswerUnreadableError(
                f"a request of {inputs} texts was answered with {count} vectors: is the route's "
                "model an embedder, and is the URL /v1/embeddings?"
            )
        kind = items[0].get("object") if items and isinstance(items[0], dict) else None
        if kind in _OTHER_KINDS:
            raise AnswerUnreadableError(
                f"the route's model answers with {_OTHER_KINDS[kind]}, and OUT holds one vector of "
                "one length a row: use `headrace bulk run`, which keeps whole answers"
            )
        if all(item.get("index", at) == at for at, item in enumerate(items)):
            return items
        placed = {item.get("index"): item for item in items}
        if placed.keys() != set(range(inputs)):
            raise AnswerUnreadableError(
                "the vectors of an answer are not numbered 0 and up, each once"
            )
        return [placed[at] for at in range(inputs)]

    def _read(self, answers: Sequence[Any], failures: dict[int, Failure]) -> NDArray[Any]:
        first = next((each for each in answers if each), None)
        if isinstance(first, str):
            size_bytes = _size_in_base64(first)
            self._learn(size_bytes // self._dtype.wire.itemsize)
            decoded = None
            if size_bytes % self._dtype.wire.itemsize == 0 and all(
                isinstance(each, str) for each in answers
            ):
                decoded = decode_base64(list(answers), size_bytes)
            if decoded is not None:
                return decoded.view(self._dtype.wire)
        elif isinstance(first, list):
            self._learn(len(first))
        return self._read_singly(answers, failures)

    def _learn(self, dimensions: int) -> None:
        if self.dimensions is None:
            self.dimensions = dimensions
        elif dimensions != self.dimensions:
            raise ModelChangedError(
                f"an answer has vectors of {dimensions:,} components, and earlier rows of this job "
                f"have {self.dimensions:,}: the model, or its settings, changed while the job ran. "
                "Bring the former model back and run the same command again, or begin anew"
            )

    def _read_singly(self, answers: Sequence[Any], failures: dict[int, Failure]) -> NDArray[Any]:
        """Lists, and answers of which one is broken."""
        dimensions = self.dimensions or 0
        vectors = np.zeros((len(answers), dimensions), self._dtype.wire)
        for at, answer in enumerate(answers):
            vector = self._vector(answer)
            if vector is None or vector.ndim != 1:
                failures[at] = _NOT_A_VECTOR
                continue
            self._learn(len(vector))
            with np.errstate(over="ignore"):
                vectors[at] = vector
        return vectors

    def _vector(self, answer: Any) -> NDArray[Any] | None:
        wire = self._dtype.wire
        if isinstance(answer, list) and answer:
            try:
                return np.array(answer, np.float64 if self._dtype.is_float else wire)
            except (TypeError, ValueError, OverflowError):
                return None
        if isinstance(answer, str) and answer:
            size_bytes = _size_in_base64(answer)
            if size_bytes % wire.itemsize == 0:
                decoded = decode_base64([answer], size_bytes)
                return None if decoded is None else decoded.view(wire)[0]
        return None

    def _check_finite(
        self, vectors: NDArray[Any], failures: dict[int, Failure], failure: Failure
    ) -> None:
        if np.isfinite(vectors).all():
            return
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        vectors[broken] = 0
        failures.update({int(at): failure for at in broken})


def _size_in_base64(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=")
