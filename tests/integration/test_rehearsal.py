"""vLLM's own word on a generator's settings, in another process, without an engine."""

import struct
from pathlib import Path
from typing import Any

from headrace.preflight.generators import look_at_generators
from headrace.preflight.weights import find_weights
from schemas.settings.file import Settings
from tests.routes import route_to
from tests.vllm_marks import NEEDS_VLLM

pytestmark = NEEDS_VLLM


def generator(folder: Path, **values: Any) -> dict[str, Any]:
    return {"kind": "generator", "source": f"path:{folder}", **values}


def test_vllm_reads_arguments_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,'
        ' "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 1,'
        ' "max_position_embeddings": 2048, "vocab_size": 512, "torch_dtype": "bfloat16"}'
    )
    # A file without tensors, which is whole.
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    models = {
        "good": generator(tmp_path, engine_args={"dtype": "float32"}),
        "typo": generator(tmp_path, engine_args={"max_nun_seqs": 1}),
        "too-long": generator(tmp_path, engine_args={"max_model_len": 4096}),
        "absent": generator(tmp_path / "gone"),
    }
    routes = {name: route_to(name) for name in models}
    settings = Settings.model_validate({"models": models, "routes": routes})

    findings = look_at_generators(settings, find_weights(settings))

    found = {each.where.split(".")[1]: each for each in findings}
    assert found["good"].level == "ok"
    # Those of vLLM's offline class on a CPU.
    assert found["good"].says == (
        "dtype float32, max_model_len 2048, max_num_seqs 256, max_num_batched_tokens 4096"
    )
    assert found["typo"].level == "error"
    assert "did you mean max_num_seqs" in found["typo"].says
    assert found["too-long"].level == "error"
    assert "engine_args" in found["too-long"].where
    assert "4096" in found["too-long"].says
    assert found["absent"].level == "warning"
    assert "only names were checked" in found["absent"].says
