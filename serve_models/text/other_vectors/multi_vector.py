"""Runs a multi-vector encoder (ColBERT) of Sentence Transformers batch by batch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.util import batch_to_device

from schemas.settings.models import EmbedderSettings
from serve_models.text.backends.graphs import TextGraph
from serve_models.text.models.base import ModelSettingsError, Row
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.preprocessing import FrontEnd, LibraryFrontEnd
from serve_models.text.models.tokenizing import TokenizedText

LateInteraction = Literal["maxsim", "meanmaxsim"]
"""The library's names: the sum, or the mean, over the query's vectors of the largest dot product
with one of the document's."""


class MultiVectorModel(EmbeddingModel):
    """A loaded multi-vector encoder. Its rows are float32 [vectors, width], one vector a token.

    Which tokens have one depends on the role: queries may be expanded, and punctuation of
    documents left out. A text without a role is encoded as ``encode`` does, as a document.
    """

    _library: Callable[..., Any] = MultiVectorEncoder

    def __init__(self, path: Path, settings: EmbedderSettings, device: str) -> None:
        if settings.similarity is not None:
            raise ModelSettingsError(
                f"similarity: {settings.similarity} compares single vectors, and the checkpoint "
                "has several for each text, compared by its own maxsim; leave similarity out"
            )
        super().__init__(
            path, settings.model_copy(update={"similarity": "dot", "normalize": True}), device
        )
        self.late_interaction: LateInteraction = self._model.similarity_fn_name

    def _make_front_end(self) -> FrontEnd:
        return LibraryFrontEnd(self._model, is_asymmetric=True)

    @torch.inference_mode()
    def run(self, texts: Sequence[TokenizedText]) -> list[Row]:  # type: ignore[override] # rows differ in length
        """Run one batch, as ``MultiVectorEncoder.encode`` would."""
        rows: list[Row] = [np.empty((0, 0), np.float32)] * len(texts)
        for positions, features in self._front_end.batches(texts):
            task = texts[positions[0]].task
            out = self._model(batch_to_device(features, self._model.device), task=task)
            vectors = out["token_embeddings"].float().cpu().numpy()
            masks = out["attention_mask"].bool().cpu().numpy()
            for position, each, mask in zip(positions, vectors, masks, strict=True):
                rows[position] = each[mask]
        return rows

    def graph(self) -> TextGraph | None:
        return None
