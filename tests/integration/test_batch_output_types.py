"""vLLM's batch runner and OpenAI's client accept the result lines of text models.

The types that they validate with say so. The models are fakes, the endpoints the real ones.
"""

from importlib import import_module
from typing import Any

import orjson
import pytest

from schemas.wire.results import encode_response_line
from tests.unit.serve_models.fakes import (
    FakeClassifier,
    FakeModel,
    FakePairModel,
    request_line,
)
from tests.unit.serve_models.text_engines import answers_of, running
from tests.vllm_marks import IMPORTS_VLLM

pytestmark = IMPORTS_VLLM
POOLING = "vllm.entrypoints.pooling"
LONG = "x" * 40
EMBEDDINGS: list[dict[str, Any]] = [
    {},
    {"encoding_format": "base64"},
    {"output_dtype": "int8", "dimensions": 4},
]
PAIRS = {"query": "q", "text_1": "q", "documents": ["a", LONG]}
MODELS: dict[str, Any] = {
    "embedder": FakeModel,
    "classifier": FakeClassifier,
    "reranker": FakePairModel,
}


def type_of(module: str, name: str) -> Any:
    """Return a type of a package that may not be installed, and takes long to import."""
    return getattr(import_module(module), name)


async def body_of(kind: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with running(kind, MODELS[kind]()) as engine:
        ((status, answer),) = await answers_of(engine, [request_line(url, body)])
    assert status == 200
    return dict(answer)


@pytest.mark.parametrize("more", EMBEDDINGS)
async def test_embeddings_are_openais_and_vllms(more: dict[str, Any]) -> None:
    body = await body_of("embedder", "/v1/embeddings", {"input": ["a", LONG], **more})

    line = batch_output_of(body)
    assert isinstance(line.response.body, type_of(f"{POOLING}.embed.protocol", "EmbeddingResponse"))
    assert len(line.response.body.data) == 2
    if "encoding_format" not in more:  # otherwise the client decodes before it validates
        type_of("openai.types", "CreateEmbeddingResponse").model_validate(body)


@pytest.mark.parametrize("kind", ["embedder", "reranker"])
async def test_ranks_and_scores_are_vllms(kind: str) -> None:
    ranked = batch_output_of(await body_of(kind, "/v1/rerank", PAIRS)).response.body
    scored = batch_output_of(await body_of(kind, "/v1/score", PAIRS)).response.body

    assert isinstance(ranked, type_of(f"{POOLING}.scoring.protocol", "RerankResponse"))
    assert isinstance(scored, type_of(f"{POOLING}.scoring.protocol", "ScoreResponse"))
    assert len(ranked.results) == len(scored.data) == 2


@pytest.mark.parametrize("more", [{}, {"use_activation": False}])
async def test_classes_are_vllms(more: dict[str, Any]) -> None:
    body = await body_of("classifier", "/classify", {"input": ["a", LONG], **more})

    response = type_of(f"{POOLING}.classify.protocol", "ClassificationResponse")
    assert len(response.model_validate(body).data) == 2


def batch_output_of(body: dict[str, Any]) -> Any:
    line = encode_response_line("requests-0-1", "a-1", 200, orjson.dumps(body))
    return type_of(
        "vllm.entrypoints.launchers.run_batch", "BatchRequestOutput"
    ).model_validate_json(line)
