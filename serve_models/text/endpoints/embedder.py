"""The endpoints of an embedder."""

from collections.abc import Sequence
from typing import Any

from schemas.settings.models import EmbedderSettings
from serve_models.text.endpoints.base import Endpoint, Served
from serve_models.text.endpoints.embeddings import EmbeddingsEndpoint
from serve_models.text.endpoints.reading import ReadingModel
from serve_models.text.endpoints.rerank import RerankEndpoint, ScoreEndpoint
from serve_models.text.endpoints.scoring import EmbeddingScorer


def embedder_endpoints(
    model: ReadingModel, served: Served, settings: EmbedderSettings
) -> Sequence[Endpoint[Any]]:
    scorer = EmbeddingScorer(model)
    return (
        EmbeddingsEndpoint(model, served, normalize=settings.normalize),
        RerankEndpoint(scorer, served),
        ScoreEndpoint(scorer, served),
    )
