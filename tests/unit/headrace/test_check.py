"""What ``headrace check`` says of each kind of model."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from headrace.cli.check import describe_model
from schemas.model_settings import ModelSettings

ADAPTER: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"kind": "embedder", "source": "wheel:x", "dtype": "bfloat16"},
            "wheel:x, bfloat16\n/v1/embeddings, /v1/rerank, /v1/score",
        ),
        ({"kind": "classifier", "source": "path:/x"}, "path:/x, float32\n/classify"),
        ({"kind": "reranker", "source": "hub:a/b"}, "hub:a/b, float32\n/v1/rerank, /v1/score"),
        (
            {"kind": "generator", "source": "hub:a/b", "adapters": {"tuned": "path:/y"}},
            "hub:a/b, adapters: tuned\n/v1/chat/completions, /v1/completions",
        ),
        (
            {
                "kind": "pipeline",
                "urls": ["/v1/x"],
                "steps": {"guard": {"model": "safety"}, "answer": {"model": "chat"}},
                "answer": "answer",
            },
            "guard: safety, answer: chat\n/v1/x",
        ),
        ({"kind": "custom", "import_path": "m:C", "urls": ["/b", "/a"]}, "m:C\n/a, /b"),
    ],
)
def test_a_model_is_told_by_its_source_and_what_it_answers(
    settings: dict[str, Any], words: str
) -> None:
    assert describe_model(ADAPTER.validate_python(settings)) == words
