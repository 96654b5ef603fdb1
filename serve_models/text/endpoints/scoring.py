"""Scores documents for queries: with a cross-encoder, or by the similarity of vectors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from schemas.bodies.rerank import PairsBody
from serve_models.text.endpoints.reading import ReadingModel
from serve_models.text.endpoints.similarity import similarities
from serve_models.text.models.base import Row, Rows
from serve_models.text.models.prompts import Role
from serve_models.text.models.tokenizing import TokenizedText

if TYPE_CHECKING:
    # Front processes import this module, and load no torch.
    from serve_models.text.models.reranking import PairModel


class PairScorer(Protocol):
    """Scores pairs of a query and a document.

    Attributes:
        max_tokens: The model truncates a longer text; ``None`` where there is no limit.
        repeats_query: Whether the model reads a query again with each of its documents.
    """

    max_tokens: int | None
    repeats_query: bool

    def tokenize(self, bodies: Sequence[PairsBody]) -> list[list[TokenizedText]]: ...

    def scores(self, body: PairsBody, rows: Sequence[Row]) -> Rows:
        """Return the score of each document, float32 [documents], from the model's rows."""
        ...

    def truncated(self, body: PairsBody, texts: Sequence[TokenizedText]) -> list[bool]: ...


class CrossEncoderScorer:
    """Reads each pair together: one row for each document."""

    repeats_query = True

    def __init__(self, model: "PairModel") -> None:
        self._model = model
        self.max_tokens = model.max_seq_length_tokens

    def tokenize(self, bodies: Sequence[PairsBody]) -> list[list[TokenizedText]]:
        pairs = [pair for body in bodies for pair in _pairs(body)]
        tokenized = iter(self._model.tokenize_pairs(pairs))
        return [[next(tokenized) for _ in body.document_texts] for body in bodies]

    def scores(self, body: PairsBody, rows: Sequence[Row]) -> Rows:
        outputs = np.stack(rows)
        scores = outputs if body.use_activation is False else self._model.activate(outputs)
        return scores[:, 0]

    def truncated(
        self,
        body: PairsBody,  # noqa: ARG002 -- a pair is one text already
        texts: Sequence[TokenizedText],
    ) -> list[bool]:
        return [text.truncated for text in texts]


class EmbeddingScorer:
    """Reads queries and documents apart: rows are the queries' vectors, then the documents'."""

    repeats_query = False

    def __init__(self, model: ReadingModel) -> None:
        self._model = model
        self.max_tokens = model.max_seq_length_tokens

    def tokenize(self, bodies: Sequence[PairsBody]) -> list[list[TokenizedText]]:
        texts: list[str] = []
        roles: list[Role] = []
        for body in bodies:
            texts += body.query_texts
            roles += ["query"] * len(body.query_texts)
            texts += body.document_texts
            roles += ["document"] * len(body.document_texts)
        tokenized = iter(self._model.tokenize_roles(texts, roles))
        return [
            [next(tokenized) for _ in range(len(body.query_texts) + len(body.document_texts))]
            for body in bodies
        ]

    def scores(self, body: PairsBody, rows: Sequence[Row]) -> Rows:
        queries = len(body.query_texts)
        stacked = np.stack(rows)
        return similarities(self._model.similarity, stacked[:queries], stacked[queries:])

    def truncated(self, body: PairsBody, texts: Sequence[TokenizedText]) -> list[bool]:
        queries = [text.truncated for text in texts[: len(body.query_texts)]]
        documents = [text.truncated for text in texts[len(queries) :]]
        per_document = queries * len(documents) if len(queries) == 1 else queries
        return [one or other for one, other in zip(per_document, documents, strict=True)]


def _pairs(body: PairsBody) -> list[tuple[str, str]]:
    queries, documents = body.query_texts, body.document_texts
    if len(queries) == 1:
        return [(queries[0], document) for document in documents]
    return list(zip(queries, documents, strict=True))
