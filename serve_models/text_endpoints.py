"""Which endpoints each kind of text model answers."""

from schemas.bodies import Accepted
from schemas.model_settings import (
    ClassifierSettings,
    EmbedderSettings,
    RerankerSettings,
    TextModelSettings,
)
from serve_models.classification_model import LabellingModel
from serve_models.classification_requests import ClassifyEndpoint
from serve_models.embedding_model import EmbeddingTextModel
from serve_models.embedding_requests import EmbeddingsEndpoint
from serve_models.reranking_model import PairModel
from serve_models.scoring import CrossEncoderScorer, EmbeddingScorer
from serve_models.scoring_requests import RerankEndpoint, ScoreEndpoint
from serve_models.text_requests import Endpoints, Served


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
