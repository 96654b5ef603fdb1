"""The scripted checkpoint with quantised weights, as the usual tools write them.

Each format is written by hand: the tools take long to install, and need data to calibrate.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.scripted_checkpoint import text_config, text_weights, write_tokenizer

GROUP = 32
_PACKED = 8
"""Numbers of 4 bits in one of 32."""
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

Tensors = dict[str, torch.Tensor]
Quantise = Callable[[torch.Tensor], Tensors]


def write_quantised(folder: Path, method: str) -> dict[str, int]:
    """Write the checkpoint with its linear layers quantised; return its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    quantise, section = METHODS[method]
    weights: Tensors = {}
    for name, weight in text_weights(vocabulary).items():
        if "_proj." not in name:
            weights[name] = weight.to(torch.bfloat16)
            continue
        for part, values in quantise(weight).items():
            weights[f"{name.removesuffix('.weight')}.{part}"] = values.contiguous()
    config = {
        **text_config(vocabulary),
        "torch_dtype": "bfloat16",
        "quantization_config": dict(section),
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return vocabulary


def _groups_of_4_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return numbers from 0 to 15, where 8 is nothing, and a scale for each group of inputs."""
    outputs, inputs = weight.shape
    grouped = weight.reshape(outputs, inputs // GROUP, GROUP)
    scales = (grouped.abs().amax(-1) / 7).clamp(min=1e-6)
    numbers = (grouped / scales[..., None]).round().clamp(-8, 7).to(torch.int32) + 8
    return numbers.reshape(outputs, inputs), scales


def _pack(numbers: torch.Tensor, dimension: int, order: tuple[int, ...]) -> torch.Tensor:
    moved = numbers.movedim(dimension, -1)
    parts = moved.reshape(*moved.shape[:-1], -1, _PACKED)
    packed = torch.zeros(parts.shape[:-1], dtype=torch.int64)
    for place, position in enumerate(order):
        packed |= parts[..., position].to(torch.int64) << (4 * place)
    wrapped = torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)
    return wrapped.movedim(-1, dimension)


def _awq(weight: torch.Tensor) -> Tensors:
    numbers, scales = _groups_of_4_bits(weight)
    zeros = torch.full((scales.shape[1], weight.shape[0]), 8, dtype=torch.int32)
    return {
        "qweight": _pack(numbers.T, 1, _AWQ_ORDER),
        "qzeros": _pack(zeros, 1, _AWQ_ORDER),
        "scales": scales.T.to(torch.float16),
    }


def _gptq(weight: torch.Tensor) -> Tensors:
    numbers, scales = _groups_of_4_bits(weight)
    # The format has zero points less one.
    zeros = torch.full((scales.shape[1], weight.shape[0]), 7, dtype=torch.int32)
    inputs = weight.shape[1]
    return {
        "qweight": _pack(numbers.T, 0, tuple(range(_PACKED))),
        "qzeros": _pack(zeros, 1, tuple(range(_PACKED))),
        "scales": scales.T.to(torch.float16),
        "g_idx": torch.arange(inputs, dtype=torch.int32) // GROUP,
    }


def _w4a16(weight: torch.Tensor) -> Tensors:
    numbers, scales = _groups_of_4_bits(weight)
    return {
        "weight_packed": _pack(numbers, 1, tuple(range(_PACKED))),
        "weight_scale": scales.to(torch.bfloat16),
        "weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
    }


def _w8a8(weight: torch.Tensor) -> Tensors:
    scales = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=1e-6)
    return {
        "weight": (weight / scales).round().clamp(-128, 127).to(torch.int8),
        "weight_scale": scales.to(torch.float32),
    }


def _fp8(weight: torch.Tensor) -> Tensors:
    scale = (weight.abs().amax() / 448).clamp(min=1e-6)
    return {
        "weight": (weight / scale).to(torch.float8_e4m3fn),
        "weight_scale": scale.to(torch.float32).reshape(()),
    }


def _compressed(form: str, weights: Mapping[str, Any], inputs: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": dict(weights), "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


_INT = {"type": "int", "symmetric": True, "dynamic": False}
METHODS: Mapping[str, tuple[Quantise, Mapping[str, Any]]] = {
    "awq": (
        _awq,
        {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True},
    ),
    "gptq": (
        _gptq,
        {
            "quant_method": "gptq",
            "bits": 4,
            "group_size": GROUP,
            "desc_act": False,
            "sym": True,
            "lm_head": False,
        },
    ),
    "w4a16": (
        _w4a16,
        _compressed(
            "pack-quantized",
            {**_INT, "num_bits": 4, "strategy": "group", "group_size": GROUP},
            None,
        ),
    ),
    "w8a8": (
        _w8a8,
        _compressed(
            "int-quantized",
            {**_INT, "num_bits": 8, "strategy": "channel"},
            {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "dynamic": True,
                "strategy": "token",
            },
        ),
    ),
    "fp8": (_fp8, {"quant_method": "fp8", "activation_scheme": "dynamic"}),
}
