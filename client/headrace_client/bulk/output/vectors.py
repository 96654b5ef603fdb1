"""Answers of /v1/embeddings as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from headrace_client.bulk.output.answered import Failure
from headrace_client.bulk.output.layout import VectorDtype


@dataclass(frozen=True, slots=True)
class DecodedVectors:
    vectors: NDArray[Any]
    """[inputs, dimensions] in OUT's dtype; zeros where a failure is."""
    failures: Mapping[int, Failure]
    """By position: vectors that are not finite or cannot be read."""
    prompt_tokens: int
    truncated: int


class VectorDecoder:
    def __init__(self, dtype: VectorDtype, dimensions: int | None = None) -> None: ...

    def decode(self, body: Mapping[str, Any], inputs: int) -> DecodedVectors:
        """The vectors of a response body, as orjson read it, for a request of so many inputs.

        Raises:
            AnswerUnreadable: the body is not what the endpoint answers.
            ModelChanged: its vectors are of another length than the job's.
        """
        raise NotImplementedError
