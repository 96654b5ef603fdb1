"""Which endpoint a url means."""

import pytest

from schemas.bodies.endpoints import ENDPOINTS, find_endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("/v1/embeddings", "/v1/embeddings"),
        ("/v1/embeddings/", "/v1/embeddings"),
        ("v1/embeddings", "/v1/embeddings"),
        ("/embeddings", "/v1/embeddings"),
        (" /v1/embeddings?api-version=1#top", "/v1/embeddings"),
        ("https://api.example.com/v1/embeddings", "/v1/embeddings"),
        ("HTTP://localhost:8000/v1/embeddings/?x=/v1/completions", "/v1/embeddings"),
        ("https://gateway/openai/v1/chat/completions", "/v1/chat/completions"),
        ("https://gateway/v1/proxy/v1/completions", "/v1/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/completions", "/v1/completions"),
        ("/v1/classify", "/classify"),
        ("/classify/", "/classify"),
        ("/score", "/v1/score"),
        ("/rerank", "/v1/rerank"),
        ("/v2/rerank", "/v1/rerank"),
        ("https://api.cohere.com/v2/rerank", "/v1/rerank"),
    ],
)
def test_an_endpoint_is_known_however_it_is_written(url: str, endpoint: str) -> None:
    assert find_endpoint(url, ENDPOINTS) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "/v1",
        "https://host",
        "/v2/embeddings",
        "/v1/v1/embeddings",
        "/V1/Embeddings",
        "/openai/v1/embeddings",
        "/v1/chat",
        "/chat/completions/v1",
        "/v1/audio/transcriptions",
        "https://host/embeddings/v1/",
    ],
)
def test_another_url_is_none(url: str) -> None:
    assert find_endpoint(url, ENDPOINTS) is None


def test_a_url_that_means_two_endpoints_means_none() -> None:
    assert find_endpoint("/words/", ["/words", "/v1/words"]) is None
