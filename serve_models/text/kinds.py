"""What each kind of text model loads, and its endpoints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.settings.models import (
    ClassifierSettings,
    EmbedderSettings,
    RerankerSettings,
    TextModelSettings,
)
from serve_models.text.endpoints.base import Endpoint, Endpoints, Served
from serve_models.text.endpoints.classify import ClassifyEndpoint
from serve_models.text.endpoints.embedder import embedder_endpoints
from serve_models.text.endpoints.rerank import RerankEndpoint, ScoreEndpoint
from serve_models.text.endpoints.scoring import CrossEncoderScorer
from serve_models.text.models.classification import ClassificationModel, LabellingModel
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.reranking import PairModel, RerankingModel


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text model.

    Attributes:
        load: Makes the model from a checkpoint's directory, settings and torch's name of a device.
        endpoints: Makes the endpoints from the model, what it serves, and its settings.
    """

    load: Callable[[Path, Any, str], Any]
    endpoints: Callable[[Any, Served, Any], Sequence[Endpoint[Any]]]


def _classifier(
    model: LabellingModel, served: Served, _settings: ClassifierSettings
) -> Sequence[Endpoint[Any]]:
    return (ClassifyEndpoint(model, served),)


def _reranker(
    model: PairModel, served: Served, _settings: RerankerSettings
) -> Sequence[Endpoint[Any]]:
    scorer = CrossEncoderScorer(model)
    return RerankEndpoint(scorer, served), ScoreEndpoint(scorer, served)


KINDS: Mapping[type[TextModelSettings], Kind] = {
    EmbedderSettings: Kind(EmbeddingModel, embedder_endpoints),
    ClassifierSettings: Kind(ClassificationModel, _classifier),
    RerankerSettings: Kind(RerankingModel, _reranker),
}


def endpoints_of(model: Any, name: str, settings: TextModelSettings) -> Endpoints:
    served = Served.of(name, settings)
    return Endpoints(name, KINDS[type(settings)].endpoints(model, served, settings))
