"""The endpoints of an embedder."""

from collections.abc import Sequence
from typing import Any

from schemas.settings.models import EmbedderSettings
from serve_models.text.endpoints.base import Endpoint, Served
from serve_models.text.endpoints.embeddings import EmbeddingsEndpoint
from serve_models.text.endpoints.reading import ReadingModel
from serve_models.text.endpoints.rerank import RerankEndpoint, ScoreEndpoint
from serve_models.text.endpoints.scoring import EmbeddingScorer
from serve_models.text.models.images import ImageLimits


def embedder_endpoints(
    model: ReadingModel,
    served: Served,
    settings: EmbedderSettings,
    *,
    answers: type[EmbeddingsEndpoint] = EmbeddingsEndpoint,
    scorer: type[EmbeddingScorer] = EmbeddingScorer,
) -> Sequence[Endpoint[Any]]:
    """Return the endpoints; ``answers`` and ``scorer`` are for the form of the model's rows."""
    pairs = scorer(model)
    return (
        answers(
            model,
            served,
            normalize=settings.normalize,
            image_limits=ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        ),
        RerankEndpoint(pairs, served),
        ScoreEndpoint(pairs, served),
    )
