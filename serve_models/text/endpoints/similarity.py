"""The similarity of two vectors, as a checkpoint measures it. Pure."""

import numpy as np
from numpy.typing import NDArray

from schemas.settings.models import Similarity
from serve_models.text.endpoints.vectors import VectorForm, form_vectors

Rows = NDArray[np.float32]

_NORMALIZED = VectorForm(normalize=True)


def similarities(measure: Similarity, queries: Rows, documents: Rows) -> Rows:
    """Measure pairs as ``similarity_pairwise`` of Sentence Transformers: higher is more alike.

    ``queries`` is float32 [1 or documents, width], ``documents`` is [documents, width], the result
    is [documents].
    """
    match measure:
        case "cosine":
            pairs = form_vectors(queries, _NORMALIZED) * form_vectors(documents, _NORMALIZED)
            alike: Rows = pairs.sum(axis=1)
        case "dot":
            alike = (queries * documents).sum(axis=1)
        case "euclidean":
            alike = -np.linalg.norm(queries - documents, axis=1)
        case "manhattan":
            alike = -np.abs(queries - documents).sum(axis=1)
    return alike
