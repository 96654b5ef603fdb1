"""Runs a sparse encoder (SPLADE) of Sentence Transformers batch by batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SparseEncoder
from sentence_transformers.util import batch_to_device, select_max_active_dims

from serve_models.text.backends.graphs import TextGraph
from serve_models.text.models.base import Row, Rows
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.tokenizing import TokenizedText

ENTRY = np.dtype([("index", "<i4"), ("value", "<f4")])
"""One component of a sparse vector that is not 0."""
SparseVector = NDArray[Any]
"""The components of a text's vector that are not 0, of ``ENTRY``, by ascending index."""


class SparseEmbeddingModel(EmbeddingModel):
    """A loaded sparse encoder. Its rows are ``SparseVector``s; ``width`` is the vocabulary's."""

    _library: Callable[..., Any] = SparseEncoder

    @torch.inference_mode()
    def run(self, texts: Sequence[TokenizedText]) -> list[Row]:  # type: ignore[override] # rows differ in length
        """Run one batch, as ``SparseEncoder.encode`` would."""
        model = self._model
        rows: list[Row] = [np.empty(0, ENTRY)] * len(texts)
        for positions, features in self._front_end.batches(texts):
            task = texts[positions[0]].task
            options = {} if task is None else {"task": task}
            vectors = model(batch_to_device(features, model.device), **options)[
                "sentence_embedding"
            ]
            if model.max_active_dims is not None:
                vectors = select_max_active_dims(vectors, max_active_dims=model.max_active_dims)
            self._components = int(vectors.shape[1])
            dense = vectors.to_dense() if vectors.is_sparse else vectors
            for position, vector in zip(positions, dense.float().cpu().numpy(), strict=True):
                rows[position] = sparse_of(vector)
        return rows

    def _measure_width(self) -> int:
        return self._components

    def graph(self) -> TextGraph | None:
        return None


def sparse_of(vector: NDArray[np.float32]) -> SparseVector:
    """Return the entries of a vector, float32 [width], that are not 0."""
    indices = np.flatnonzero(vector)
    entries = np.empty(len(indices), ENTRY)
    entries["index"], entries["value"] = indices, vector[indices]
    return entries


def dense_of(entries: SparseVector, width: int) -> Rows:
    """Return the vector of its entries, float32 [width]."""
    vector = np.zeros(width, np.float32)
    vector[entries["index"]] = entries["value"]
    return vector
