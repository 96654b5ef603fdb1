"""The endpoints whose bodies are known, by url."""

from dataclasses import dataclass

from pydantic import BaseModel

from schemas.classify import CLASSIFY_URL, ClassifyBody, ClassifyResponse
from schemas.embeddings import EMBEDDINGS_URL, EmbeddingsBody, EmbeddingsResponse
from schemas.rerank import (
    RERANK_URL,
    SCORE_URL,
    RerankBody,
    RerankResponse,
    ScoreBody,
    ScoreResponse,
)

_OPENAI_REFERENCE = "https://platform.openai.com/docs/api-reference"
_VLLM_SERVER = "https://docs.vllm.ai/en/stable/serving/openai_compatible_server/"


@dataclass(frozen=True, slots=True)
class EndpointSchemas:
    """What goes in and out at a url.

    Attributes:
        documentation: Where its API is described.
        request: The request body's model; ``None`` where the engine behind it decides.
        response: The model of the body of a 200; ``None`` where the engine behind it decides.
    """

    documentation: str
    request: type[BaseModel] | None = None
    response: type[BaseModel] | None = None


ENDPOINTS: dict[str, EndpointSchemas] = {
    EMBEDDINGS_URL: EndpointSchemas(
        f"{_OPENAI_REFERENCE}/embeddings", EmbeddingsBody, EmbeddingsResponse
    ),
    CLASSIFY_URL: EndpointSchemas(_VLLM_SERVER, ClassifyBody, ClassifyResponse),
    RERANK_URL: EndpointSchemas(_VLLM_SERVER, RerankBody, RerankResponse),
    SCORE_URL: EndpointSchemas(_VLLM_SERVER, ScoreBody, ScoreResponse),
    "/v1/completions": EndpointSchemas(f"{_OPENAI_REFERENCE}/completions"),
    "/v1/chat/completions": EndpointSchemas(f"{_OPENAI_REFERENCE}/chat"),
}
"""Every url that a model of ours answers; custom classes and pipelines may answer others."""
