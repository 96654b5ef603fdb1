"""What calls return: vectors, scores and labels, in the order of the inputs."""

import base64
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

FLOAT = "float"
_NUMPY_TYPES = {FLOAT: "<f4", "int8": "i1", "binary": "i1", "ubinary": "u1"}
OUTPUT_DTYPES = tuple(_NUMPY_TYPES)
_ARRAY_TYPES = {FLOAT: "f", "int8": "b", "binary": "b", "ubinary": "B"}


class Body(dict[str, Any]):
    """A response's body whose fields are attributes too: ``body.choices[0].message.content``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return _wrapped(self[name])
        except KeyError:
            raise AttributeError(f"the response has no {name}; it has {', '.join(self)}") from None


def _wrapped(value: Any) -> Any:
    if isinstance(value, dict):
        return Body(value)
    return [_wrapped(each) for each in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of a list of texts.

    Attributes:
        vectors: A numpy array, one row a text: float32, int8 or uint8. Without numpy a list of
            ``array.array``.
        model: The model's name.
        prompt_tokens: What the model read.
        truncated: The positions of texts that were cut.
    """

    vectors: Any
    model: str
    prompt_tokens: int
    truncated: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> Any:
        return self.vectors[index]


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a reranking: its position in the request, and how well it answers the query."""

    index: int
    relevance_score: float
    document: str | None


@dataclass(frozen=True, slots=True)
class Reranking:
    """Documents from the best to the worst."""

    results: tuple[RankedDocument, ...]
    model: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Scores:
    """One score a document, in their order."""

    scores: tuple[float, ...]
    model: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Label:
    """A text's class; ``probabilities`` by label, empty where the model has none."""

    index: int
    label: str | None
    probs: tuple[float, ...]
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Classification:
    """One label a text, in their order."""

    labels: tuple[Label, ...]
    model: str
    prompt_tokens: int


def join_embeddings(bodies: Sequence[Mapping[str, Any]], output_dtype: str) -> Embeddings:
    """Put the responses of consecutive requests together."""
    vectors: list[Any] = []
    truncated = []
    for body in bodies:
        first = len(vectors)
        for item in in_order(body["data"]):
            if item.get("truncated"):
                truncated.append(first + item["index"])
            vectors.append(item["embedding"])
    return Embeddings(
        stack_vectors(vectors, output_dtype), _model(bodies), _tokens(bodies), tuple(truncated)
    )


def stack_vectors(vectors: Sequence[str | list[float]], output_dtype: str) -> Any:
    """Return vectors in base64, or as lists, as one array; as ``array.array`` without numpy."""
    if find_spec("numpy") is None:
        return [decode_vector(each, output_dtype) for each in vectors]
    numpy = import_module("numpy")
    dtype = numpy.dtype(_NUMPY_TYPES[output_dtype])
    texts = [each for each in vectors if isinstance(each, str)]
    if len(texts) < len(vectors):
        return numpy.asarray([decode_vector(each, output_dtype) for each in vectors], dtype)
    joined = b"".join(map(base64.b64decode, texts))
    return numpy.frombuffer(joined, dtype).reshape(len(vectors), -1)


def decode_vector(vector: str | list[float], output_dtype: str = FLOAT) -> "array[Any]":
    """Return one vector: of base64 (little-endian float32, or a byte a component), or a list."""
    values: array[Any] = array(_ARRAY_TYPES[output_dtype])
    if isinstance(vector, str):
        values.frombytes(base64.b64decode(vector))
    else:
        values.extend(vector)
    return values


def join_scores(bodies: Sequence[Mapping[str, Any]]) -> Scores:
    scores = [float(item["score"]) for body in bodies for item in in_order(body["data"])]
    return Scores(tuple(scores), _model(bodies), _tokens(bodies))


def join_rerankings(
    bodies: Sequence[Mapping[str, Any]], firsts: Iterable[int], top_n: int | None
) -> Reranking:
    """Put parts together: each pair has a score of its own, whatever is beside it."""
    found = []
    for body, first in zip(bodies, firsts, strict=True):
        for item in body["results"]:
            document = item.get("document")
            text = document.get("text") if isinstance(document, dict) else document
            found.append(
                RankedDocument(first + item["index"], float(item["relevance_score"]), text)
            )
    found.sort(key=lambda each: (-each.relevance_score, each.index))
    return Reranking(tuple(found[:top_n]), _model(bodies), _tokens(bodies))


def join_labels(bodies: Sequence[Mapping[str, Any]]) -> Classification:
    labels: list[Label] = []
    for body in bodies:
        first = len(labels)
        labels.extend(
            Label(
                first + item["index"],
                item.get("label"),
                tuple(item.get("probs") or ()),
                item.get("probabilities") or {},
            )
            for item in in_order(body["data"])
        )
    return Classification(tuple(labels), _model(bodies), _tokens(bodies))


def in_order(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: int(item["index"]))


def _model(bodies: Sequence[Mapping[str, Any]]) -> str:
    return str(bodies[0].get("model", "")) if bodies else ""


def _tokens(bodies: Sequence[Mapping[str, Any]]) -> int:
    return sum((body.get("usage") or {}).get("prompt_tokens", 0) for body in bodies)
