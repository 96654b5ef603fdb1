"""Which endpoints each kind of text model answers."""

from schemas.bodies.base import Accepted
from schemas.settings.models import (
    ClassifierSettings,
    EmbedderSettings,
    RerankerSettings,
    TextModelSettings,
)
from serve_models.text.endpoints.base import Endpoints, Served
from serve_models.text.endpoints.classify import ClassifyEndpoint
from serve_models.text.endpoints.embeddings import EmbeddingsEndpoint
from serve_models.text.endpoints.rerank import RerankEndpoint, ScoreEndpoint
from serve_models.text.endpoints.scoring import CrossEncoderScorer, EmbeddingScorer
from serve_models.text.models.classification import LabellingModel
from serve_models.text.models.embedding import EmbeddingTextModel
from serve_models.text.models.reranking import PairModel


def embedder_endpoints(
    model: EmbeddingTextModel, name: str, settings: EmbedderSettings
) -> Endpoints:
    """Return ``/v1/embeddings``, and rerank and score by how alike its vectors are."""
    served = _served(name, settings)
    scorer = EmbeddingScorer(model)
    return Endpoints(
        name,
        (
            EmbeddingsEndpoint(model, served, normalize=settings.normalize),
            RerankEndpoint(scorer, served),
            ScoreEndpoint(scorer, served),
        ),
    )


def classifier_endpoints(
    model: LabellingModel, name: str, settings: ClassifierSettings
) -> Endpoints:
    """Return ``/classify``."""
    return Endpoints(name, (ClassifyEndpoint(model, _served(name, settings)),))


def reranker_endpoints(model: PairModel, name: str, settings: RerankerSettings) -> Endpoints:
    """Return ``/v1/rerank`` and ``/v1/score`` by a cross-encoder."""
    served = _served(name, settings)
    scorer = CrossEncoderScorer(model)
    return Endpoints(name, (RerankEndpoint(scorer, served), ScoreEndpoint(scorer, served)))


def _served(name: str, settings: TextModelSettings) -> Served:
    takes_ids = isinstance(settings, EmbedderSettings) and settings.accept_token_ids
    return Served(
        name,
        frozenset({name, *settings.served_names}),
        settings.max_inputs_per_request,
        Accepted(token_ids=takes_ids, empty_texts=settings.accept_empty_texts),
    )
