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
from serve_models.text.endpoints.embeddings import EmbeddingsEndpoint
from serve_models.text.endpoints.rerank import RerankEndpoint, ScoreEndpoint
from serve_models.text.endpoints.scoring import CrossEncoderScorer, EmbeddingScorer
from serve_models.text.models.classification import ClassificationModel, LabellingModel
from serve_models.text.models.embedding import EmbeddingModel, EmbeddingTextModel
from serve_models.text.models.reranking import PairModel, RerankingModel
from serve_models.text.other_vectors.answers import (
    MultiVectorEmbeddingsEndpoint,
    SparseEmbeddingsEndpoint,
)
from serve_models.text.other_vectors.library_class import read_library_class
from serve_models.text.other_vectors.multi_vector import MultiVectorModel
from serve_models.text.other_vectors.scoring import MultiVectorScorer, SparseScorer
from serve_models.text.other_vectors.sparse import SparseEmbeddingModel


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of text model.

    Attributes:
        load: Makes the model from a checkpoint's directory, settings and torch's name of a device.
        endpoints: Makes the endpoints from the model, what it serves, and its settings.
    """

    load: Callable[[Path, Any, str], Any]
    endpoints: Callable[[Any, Served, Any], Sequence[Endpoint[Any]]]


def _embedder(
    model: EmbeddingTextModel, served: Served, settings: EmbedderSettings
) -> Sequence[Endpoint[Any]]:
    answers, scorer = _BY_VECTORS.get(type(model), (EmbeddingsEndpoint, EmbeddingScorer))
    return embedder_endpoints(model, served, settings, answers=answers, scorer=scorer)


def _load_embedder(path: Path, settings: EmbedderSettings, device: str) -> EmbeddingModel:
    return _CLASSES.get(read_library_class(path), EmbeddingModel)(path, settings, device)


_CLASSES: Mapping[str, type[EmbeddingModel]] = {
    "SparseEncoder": SparseEmbeddingModel,
    "MultiVectorEncoder": MultiVectorModel,
}
"""By the library's name of a checkpoint's class."""
_BY_VECTORS: Mapping[type, tuple[type[EmbeddingsEndpoint], type[EmbeddingScorer]]] = {
    SparseEmbeddingModel: (SparseEmbeddingsEndpoint, SparseScorer),
    MultiVectorModel: (MultiVectorEmbeddingsEndpoint, MultiVectorScorer),
}


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
    EmbedderSettings: Kind(_load_embedder, _embedder),
    ClassifierSettings: Kind(ClassificationModel, _classifier),
    RerankerSettings: Kind(RerankingModel, _reranker),
}


def endpoints_of(model: Any, name: str, settings: TextModelSettings) -> Endpoints:
    served = Served.of(name, settings, takes_images=getattr(model, "takes_images", False))
    return Endpoints(name, KINDS[type(settings)].endpoints(model, served, settings))
