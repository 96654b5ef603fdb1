from pathlib import Path

import pytest

from schemas.settings.models import GeneratorSettings, weight_sources
from serve_models.generation.local_weights import with_local_weights
from serve_models.generation.placement import placed_engine_args
from serve_models.weights.references import ModelSourceError
from serve_models.weights.sources import resolve_all
from tests.checkpoints import sharded, write_files

COMMIT = "0" * 40


def test_vllm_gets_directories_in_place_of_sources(tmp_path: Path) -> None:
    for name in ("chat", "draft", "tokenizer"):
        write_files(tmp_path / name, sharded())
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"path:{tmp_path / 'chat'}",
            "engine_args": {
                "max_num_seqs": 8,
                "speculative_config": {
                    "model": str(tmp_path / "draft"),
                    "num_speculative_tokens": 3,
                },
                "tokenizer": f"path:{tmp_path / 'tokenizer'}",
            },
        }
    )

    local = with_local_weights(settings, resolve_all(weight_sources(settings), tmp_path))

    arguments = placed_engine_args(local)
    assert arguments["speculative_config"] == {
        "model": str(tmp_path / "draft"),
        "num_speculative_tokens": 3,
    }
    assert arguments["tokenizer"] == str(tmp_path / "tokenizer")
    assert arguments["max_num_seqs"] == 8
    assert "trust_remote_code" not in arguments
    assert settings.engine_args["tokenizer"] == f"path:{tmp_path / 'tokenizer'}"


def test_a_missing_draft_model_is_named_by_its_setting(tmp_path: Path) -> None:
    settings = GeneratorSettings.model_validate(
        {
            "kind": "generator",
            "source": f"path:{write_files(tmp_path / 'chat', sharded())}",
            "engine_args": {"speculative_config": {"model": "s3://bucket/draft"}},
        }
    )

    with pytest.raises(
        ModelSourceError, match=r"^engine_args\.speculative_config\.model: s3://bucket/draft is not"
    ):
        resolve_all(weight_sources(settings), tmp_path)


def test_code_runs_only_where_the_model_trusts_it(tmp_path: Path) -> None:
    keys = {"kind": "generator", "source": f"hub:org/chat@{COMMIT}"}
    for trusts in (False, True):
        settings = GeneratorSettings.model_validate({**keys, "trust_remote_code": trusts})
        arguments = with_local_weights(settings, {"source": tmp_path}).engine_args
        assert arguments.get("trust_remote_code", False) is trusts
