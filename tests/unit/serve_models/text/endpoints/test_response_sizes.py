"""What cannot be published is refused before the model works, and nothing else is."""

import itertools
from typing import Any

import numpy as np
import orjson
import pytest

from handoff.chunk import STATUS_OK, Chunk, Outcomes
from serve_models.batching.engine import BatchEngine
from serve_models.chunks.failures import Refusal
from serve_models.text.endpoints.vectors import (
    VectorForm,
    encode_response_body,
    form_vectors,
    least_vector_bytes,
)
from serve_models.text.kinds import endpoints_of
from tests.unit.serve_models.fakes import (
    FakeClassifier,
    FakeModel,
    FakePairModel,
    request_line,
    settings,
)
from tests.unit.serve_models.text_engines import running

MODELS: dict[str, Any] = {
    "embedder": FakeModel,
    "classifier": FakeClassifier,
    "reranker": FakePairModel,
}
FORMS: list[dict[str, Any]] = [{}, {"dimensions": 1}, {"dimensions": 3}, {"normalize": False}]
RANKINGS: list[dict[str, Any]] = [{}, {"return_documents": False}, {"top_n": 3}]
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    *(
        ("embedder", "/v1/embeddings", {"encoding_format": encoding, "output_dtype": dtype, **more})
        for encoding, dtype, more in itertools.product(
            ("float", "base64"),
            ("float", "int8", "binary", "ubinary"),
            FORMS,
        )
    ),
    ("classifier", "/classify", {}),
    ("classifier", "/classify", {"use_activation": False}),
    *(
        (kind, url, more)
        for kind, url, more in itertools.product(
            ("embedder", "reranker"), ("/v1/rerank", "/v1/score"), RANKINGS
        )
    ),
]


def line(url: str, texts: int, more: dict[str, Any]) -> bytes:
    inputs = [f'"né" {number} ' + "!" * (number % 5) for number in range(texts)]
    if url in {"/v1/embeddings", "/classify"}:
        return request_line(url, {"input": inputs, **more})
    return request_line(url, {"query": "q", "text_1": "q", "documents": inputs, **more})


async def outcomes_of(
    engine: BatchEngine, lines: list[bytes], max_body_bytes: int = 0
) -> list[tuple[int, bytes]]:
    found: dict[int, tuple[int, bytes]] = {}
    streamed: Outcomes
    async for streamed in engine.infer(Chunk("consumer-1", lines, max_body_bytes=max_body_bytes)):
        for outcome in zip(streamed.indexes, streamed.statuses, streamed.bodies, strict=True):
            found[outcome[0]] = outcome[1:]
    return [found[index] for index in range(len(lines))]


@pytest.mark.parametrize(("kind", "url", "more"), REQUESTS)
async def test_what_fits_is_never_refused(kind: str, url: str, more: dict[str, Any]) -> None:
    async with running(kind, MODELS[kind]()) as engine:
        for texts in (1, 2, 50, 300):
            request = line(url, texts, more)
            ((status, body),) = await outcomes_of(engine, [request])
            assert status == STATUS_OK
            ((status, _),) = await outcomes_of(engine, [request], len(body))
            assert status == STATUS_OK


@pytest.mark.parametrize(("kind", "url", "more"), REQUESTS)
async def test_what_is_far_too_large_is_refused_before_the_model_works(
    kind: str, url: str, more: dict[str, Any]
) -> None:
    model = MODELS[kind]()
    async with running(kind, model) as engine:
        ((_, body),) = await outcomes_of(engine, [line(url, 300, more)])
        model.run = None
        (refused,) = await outcomes_of(engine, [line(url, 300, more)], len(body) // 3)
    error = orjson.loads(refused[1])["error"]
    assert refused[0] == 400
    assert error["code"] == "result_too_large"
    assert error["param"] in {"input", "documents"}
    assert "split the request" in error["message"]
    assert "claim_check" in error["message"]


async def test_a_refusal_says_how_to_ask_for_less() -> None:
    async with running("embedder", FakeModel()) as engine:
        floats, base64, documents = await outcomes_of(
            engine,
            [
                line("/v1/embeddings", 400, {}),
                line("/v1/embeddings", 400, {"encoding_format": "base64"}),
                line("/v1/rerank", 400, {}),
            ],
            4_000,
        )
    assert b"set encoding_format to base64, or split the request" in floats[1]
    assert b"set encoding_format" not in base64[1]
    assert b"set return_documents to false, or split the request" in documents[1]


@pytest.mark.parametrize("scale", [1.0, 1e-4, 30.0])
@pytest.mark.parametrize("components", [1, 2, 7, 384])
@pytest.mark.parametrize("normalize", [True, False])
def test_no_dense_vector_is_smaller_than_its_models_bound(
    scale: float, components: int, normalize: bool
) -> None:
    generator = np.random.default_rng(components)
    vectors = generator.normal(scale=scale, size=(200, components)).astype(np.float32)
    form = VectorForm(normalize=normalize)
    bound_bytes = max(least_vector_bytes(vector, form, "float") for vector in vectors[:20])
    for vector in form_vectors(vectors, form):
        assert bound_bytes <= len(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY))


def test_vectors_with_zeros_among_their_components_may_be_short() -> None:
    sample = np.array([0.0, 0.123456789] * 50, dtype=np.float32)
    bound_bytes = least_vector_bytes(sample, VectorForm(), "float")
    zeros = np.zeros(100, dtype=np.float32)
    assert bound_bytes == len(orjson.dumps(zeros, option=orjson.OPT_SERIALIZE_NUMPY))


def test_in_base64_the_size_is_known_to_the_byte() -> None:
    sample = np.arange(1, 11, dtype=np.float32)
    body = encode_response_body(
        form_vectors(sample[np.newaxis], VectorForm()), [False], "base64", "m", 1
    )
    embedding = orjson.loads(body)["data"][0]["embedding"]
    assert least_vector_bytes(sample, VectorForm(), "base64") == len(embedding) + 2


@pytest.mark.parametrize(
    ("texts", "more", "is_refused"),
    [
        (200, {}, False),
        (400, {}, True),
        (400, {"encoding_format": "base64"}, False),
        (400, {"dimensions": 64}, False),
        (2_000, {"encoding_format": "base64"}, True),
    ],
)
def test_four_hundred_texts_do_not_fit_into_a_mebibyte(
    texts: int, more: dict[str, Any], is_refused: bool
) -> None:
    model = FakeModel()
    model.width = 384
    model.sample = np.random.default_rng(0).normal(size=384).astype(np.float32)
    endpoints = endpoints_of(model, "minilm", settings())

    (prepared,) = endpoints.prepare([line("/v1/embeddings", texts, more)], 1_048_576)

    assert isinstance(prepared, Refusal) is is_refused
    assert bool(model.tokenized_texts) is not is_refused
