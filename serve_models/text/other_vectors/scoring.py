"""Scores of documents for queries by sparse vectors and by many vectors. Pure."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from schemas.bodies.rerank import PairsBody
from serve_models.text.endpoints.scoring import EmbeddingScorer
from serve_models.text.endpoints.similarity import similarities
from serve_models.text.models.base import Row, Rows
from serve_models.text.models.embedding import EmbeddingTextModel
from serve_models.text.other_vectors.multi_vector import LateInteraction
from serve_models.text.other_vectors.sparse import dense_of


class LateInteractionModel(EmbeddingTextModel, Protocol):
    """An embedder with many vectors a text."""

    late_interaction: LateInteraction


class SparseScorer(EmbeddingScorer):
    """Compares sparse vectors by the checkpoint's similarity, mostly the dot product."""

    def scores(self, body: PairsBody, rows: Sequence[Row]) -> Rows:
        queries = len(body.query_texts)
        width = self._model.width
        vectors = [dense_of(row, width)[np.newaxis] for row in rows[:queries]]
        # One document at a time: dense vectors have as many components as the vocabulary.
        return np.concatenate(
            [
                similarities(
                    self._model.similarity,
                    vectors[number % queries],
                    dense_of(document, width)[np.newaxis],
                )
                for number, document in enumerate(rows[queries:])
            ]
        )


class MultiVectorScorer(EmbeddingScorer):
    """Compares the vectors of queries and documents by late interaction."""

    def __init__(self, model: LateInteractionModel) -> None:
        super().__init__(model)
        self._measure = model.late_interaction

    def scores(self, body: PairsBody, rows: Sequence[Row]) -> Rows:
        queries = len(body.query_texts)
        return np.array(
            [
                late_interaction(self._measure, rows[number % queries], document)
                for number, document in enumerate(rows[queries:])
            ],
            np.float32,
        )


def late_interaction(measure: LateInteraction, query: Rows, document: Rows) -> float:
    """Compare a query, float32 [vectors, width], with a document, likewise; higher is more alike.

    As ``maxsim_pairwise`` and ``mean_maxsim_pairwise`` of Sentence Transformers.
    """
    if not len(query) or not len(document):
        return 0.0
    best = (query @ document.T).max(axis=1)
    return float(best.mean() if measure == "meanmaxsim" else best.sum())
