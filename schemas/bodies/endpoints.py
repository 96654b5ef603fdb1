"""The endpoints whose bodies are known, by url, and the other ways in which urls are written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from schemas.bodies.classify import CLASSIFY_URL, ClassifyBody, ClassifyResponse
from schemas.bodies.embeddings import EMBEDDINGS_URL, EmbeddingsBody, EmbeddingsResponse
from schemas.bodies.rerank import (
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
    """The bodies at a url; ``None`` where the engine behind it decides what it takes or answers."""

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

_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


def find_endpoint(url: str, endpoints: Iterable[str]) -> str | None:
    """Return the one of ``endpoints`` that a url means, however it is written.

    With or without ``/v1``, slashes at the ends and a query; at any host, behind a gateway's path
    before ``/v1``; and ``/v2/rerank``, as vLLM's batch runner takes it. ``None`` where the url
    means none of them, or more than one.
    """
    name = _name_of(url)
    meant = [endpoint for endpoint in endpoints if _name_of(endpoint) == name]
    return meant[0] if len(meant) == 1 else None


def _name_of(url: str) -> str:
    path = re.split(r"[?#]", url.strip(), maxsplit=1)[0]
    if host := _HOST.match(path):
        path = path[host.end() :]
        path = path[max(path.rfind("/v1/"), 0) :]
    path = path.strip("/")
    return "rerank" if path == "v2/rerank" else path.removeprefix("v1/")
