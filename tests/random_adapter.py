"""A LoRA adapter for any Llama checkpoint, with weights that mean nothing."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ADAPTER_RANK = 8


def write_random_adapter(folder: Path, base: Path) -> Path:
    """Write an adapter for the model in ``base``: it answers, but not as the model does."""
    base_config = json.loads((base / "config.json").read_text())
    hidden, layers = base_config["hidden_size"], base_config["num_hidden_layers"]
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(layers):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        for side, shape in (("lora_A", (ADAPTER_RANK, hidden)), ("lora_B", (hidden, ADAPTER_RANK))):
            weights[f"{name}.{side}.weight"] = torch.randn(shape, generator=generator)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": ADAPTER_RANK,
        "lora_alpha": ADAPTER_RANK,
        "target_modules": ["q_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder
