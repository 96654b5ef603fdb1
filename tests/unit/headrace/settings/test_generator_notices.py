"""What `headrace check` says of generators beyond what is illegal."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.settings.generator_notices import describe_generators
from schemas.settings.file import Settings


def settings(drain_timeout_s: float = 30.0, **generator: Any) -> Settings:
    return Settings.model_validate(
        {
            "models": {
                "chat": {
                    "kind": "generator",
                    "source": "hub:org/model",
                    "graceful_shutdown_timeout_s": 900,
                    **generator,
                }
            },
            "routes": {
                "chat": {
                    "model": "chat",
                    "requests_topic": "requests",
                    "results_topic": "results",
                    "dead_letters_topic": "dead-letters",
                    "group": "chat",
                    "drain_timeout_s": drain_timeout_s,
                }
            },
        }
    )


def checkpoint(folder: Path, config: object, *files: str) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    for file in files or ("model.safetensors",):
        (folder / file).write_bytes(b"")
    return folder


def notices(given: Settings, directory: Path | None = None) -> list[str]:
    return list(describe_generators(given, lambda _: directory))


def test_a_plain_generator_needs_no_word(tmp_path: Path) -> None:
    assert notices(settings()) == []
    assert notices(settings(), checkpoint(tmp_path, {"model_type": "llama"})) == []
    assert notices(settings(), checkpoint(tmp_path, [])) == []


@pytest.mark.parametrize(
    ("section", "num_gpus", "said"),
    [
        ({"quant_method": "awq", "bits": 4}, 0, "AWQ, 4 bits; vLLM's CPU build runs it"),
        ({"quant_method": "gptq", "bits": 8}, 0, "set num_gpus"),
        ({"quant_method": "fp8"}, 1, "a GPU needs compute capability 8.9"),
        ({"quant_method": "bitsandbytes"}, 1, "no longer loads it"),
    ],
)
def test_a_quantised_checkpoint_is_told_where_it_runs(
    tmp_path: Path, section: dict[str, Any], num_gpus: int, said: str
) -> None:
    directory = checkpoint(tmp_path, {"quantization_config": section})
    (notice,) = notices(settings(num_gpus=num_gpus), directory)
    assert notice.startswith("models.chat.source: ")
    assert said in notice


def test_gguf_files_alone_are_no_checkpoint(tmp_path: Path) -> None:
    (notice,) = notices(settings(), checkpoint(tmp_path, {}, "model-q4.gguf"))
    assert "GGUF files only" in notice
    assert notices(settings(), checkpoint(tmp_path, {}, "model.safetensors")) == []


def test_a_reasoning_model_is_given_time_at_a_stop() -> None:
    reasons = {"engine_args": {"reasoning_parser": "qwen3"}}
    (notice,) = notices(settings(30.0, **reasons))
    assert notice.startswith("routes.chat.drain_timeout_s: ")
    assert "models.chat.graceful_shutdown_timeout_s" in notice
    assert notices(settings(600.0, **reasons)) == []
    assert notices(settings(30.0)) == []
