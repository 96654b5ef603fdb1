"""What a quantised checkpoint says of itself, and where it runs."""

from typing import Any

import pytest

from serve_models.generation.quantization import read_quantization


def tensors(bits: int, inputs: int | None = None, kind: str = "int") -> dict[str, Any]:
    group: dict[str, Any] = {"weights": {"num_bits": bits, "type": kind}, "input_activations": None}
    if inputs:
        group["input_activations"] = {"num_bits": inputs, "type": kind}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("section", "name", "runs_on_cpu"),
    [
        ({"quant_method": "awq", "bits": 4}, "AWQ, 4 bits", True),
        ({"quant_method": "awq", "w_bit": 8}, "AWQ, 8 bits", False),
        ({"quant_method": "gptq", "bits": 4}, "GPTQ, 4 bits", True),
        ({"quant_method": "gptq", "bits": 8}, "GPTQ, 8 bits", False),
        ({"quant_method": "fp8"}, "FP8", True),
        (tensors(4), "compressed-tensors, W4A16 int", True),
        (tensors(8, 8), "compressed-tensors, W8A8 int", True),
        (tensors(8, 8, "float"), "compressed-tensors, W8A8 float", True),
        (tensors(4, 4, "float"), "compressed-tensors, W4A4 float", False),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes", False),
        ({"quant_method": "mxfp4"}, "MXFP4", False),
        ({"quant_algo": "NVFP4"}, "NVFP4", False),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "FP8", False),
        ({"quant_method": "new-one"}, "new-one", False),
        ({"quant_method": "compressed-tensors", "config_groups": []}, "compressed", False),
    ],
)
def test_a_checkpoint_is_told_by_its_configuration(
    section: dict[str, Any], name: str, runs_on_cpu: bool
) -> None:
    found = read_quantization({"quantization_config": section})
    assert found is not None
    assert found.name.startswith(name)
    assert (found.on_cpu is None) == runs_on_cpu
    assert found.on_gpu


def test_older_and_multimodal_checkpoints_have_it_elsewhere() -> None:
    awq = {"quant_method": "awq", "bits": 4}
    assert read_quantization({"text_config": {"quantization_config": awq}}) is not None
    assert read_quantization({"compression_config": tensors(4)}) is not None


def test_a_plain_checkpoint_is_not_quantised() -> None:
    assert read_quantization({"model_type": "llama"}) is None
