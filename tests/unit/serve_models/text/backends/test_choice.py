"""What a text model runs on."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve_models.text.backends.agreement import Agreement
from serve_models.text.backends.choice import (
    CheckpointFacts,
    Choice,
    choose_backend,
    read_facts,
)

DECODER = CheckpointFacts("qwen3")
POOLING = {"pooling_mode": "lasttoken", "include_prompt": True}


@pytest.mark.parametrize("asked", ["torch", "openvino", "onnx", "vllm"])
def test_a_named_backend_is_taken_whatever_the_rest(asked: Any) -> None:
    for device in ("cpu", "cuda", "mps"):
        assert choose_backend(asked, device, DECODER, has_vllm=False).backend == asked


@pytest.mark.parametrize(
    ("device", "facts", "has_vllm", "backend", "reason"),
    [
        ("cuda:1", DECODER, True, "vllm", "qwen3 is a decoder"),
        ("cuda", DECODER, False, "torch", "vLLM is not installed"),
        ("cuda", CheckpointFacts("bert"), True, "torch", "bert is no decoder"),
        ("cuda", CheckpointFacts("qwen3", "its module CNN"), True, "torch", "its module CNN"),
        # What a CPU computes with int8 moves the vectors, so it is never chosen by itself.
        ("cpu", DECODER, True, "torch", "on cpu"),
        ("cpu", CheckpointFacts("bert"), True, "torch", "on cpu"),
        ("mps", DECODER, True, "torch", "on mps"),
    ],
)
def test_auto_goes_by_device_and_architecture(
    device: str, facts: CheckpointFacts, has_vllm: bool, backend: str, reason: str
) -> None:
    choice = choose_backend("auto", device, facts, has_vllm=has_vllm)
    assert choice.backend == backend
    assert reason in choice.reason


def test_auto_keeps_settings_that_only_torch_has() -> None:
    choice = choose_backend("auto", "cuda", DECODER, has_vllm=True, only_in_torch="compile")
    assert choice == Choice("torch", "compile is set")


def test_a_choice_is_told_with_the_agreement_of_a_conversion() -> None:
    assert Choice("torch", "on cpu").facts() == ["torch (on cpu)"]
    agreement = Agreement("cosine", 0.99312, 0.98, 48)
    assert Choice("openvino", "as set").facts(agreement) == [
        "openvino (as set)",
        "cosine to float32 on 48 sample texts: mean 0.9931, minimum 0.9800",
    ]


def write_checkpoint(
    path: Path, pooling: dict[str, Any] | None = None, more: tuple[str, ...] = ()
) -> Path:
    types = ["sentence_transformers.models.Transformer"]
    types += ["sentence_transformers.models.Pooling"] if pooling is not None else []
    modules = [
        {"idx": idx, "name": str(idx), "path": f"{idx}_x" if idx else "", "type": each}
        for idx, each in enumerate([*types, *more])
    ]
    (path / "config.json").write_text('{"model_type": "qwen3"}')
    (path / "modules.json").write_text(json.dumps(modules))
    if pooling is not None:
        (path / "1_x").mkdir()
        (path / "1_x" / "config.json").write_text(json.dumps(pooling))
    return path


@pytest.mark.parametrize(
    ("pooling", "more", "unknown"),
    [
        (POOLING, ("sentence_transformers.models.Normalize",), ""),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, (), ""),
        ({"pooling_mode_cls_token": True}, (), ""),
        ({"pooling_mode": "weightedmean"}, (), "its pooling by weightedmean"),
        ({"pooling_mode": ["mean", "cls"]}, (), "its pooling by mean, cls"),
        ({}, (), "its pooling by nothing"),
        ({**POOLING, "include_prompt": False}, (), "its pooling without the prompt"),
        (POOLING, ("sentence_transformers.models.CNN",), "its module CNN"),
        (POOLING, ("my_module.Own",), "its module Own"),
    ],
)
def test_vllm_is_not_chosen_for_what_it_would_do_otherwise(
    tmp_path: Path, pooling: dict[str, Any], more: tuple[str, ...], unknown: str
) -> None:
    facts = read_facts(write_checkpoint(tmp_path, pooling, more))
    assert facts == CheckpointFacts("qwen3", unknown)


def test_a_checkpoint_without_modules_has_nothing_unknown(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert read_facts(tmp_path) == CheckpointFacts("llama")


def test_a_directory_that_says_nothing_is_no_decoder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    assert not read_facts(tmp_path).is_decoder
