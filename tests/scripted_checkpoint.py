"""Tiny checkpoints for vLLM whose answers the test writes.

Each token of the answer follows from the one before it: embeddings are one-hot, the layer adds
nothing, and the head maps a token to the next of ``SCRIPT``. So a real engine answers with real
reasoning, tool calls and endless texts, within milliseconds, whatever its settings.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models

END = "<end>"
IMAGE = "<image>"
_AROUND_IMAGES = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
CALL = '\n{"name": "weather", "arguments": {"city": "Paris"}}\n'
SCRIPT: Mapping[str, tuple[str, ...]] = {
    "[reason]": ("<think>", "Clouds", " are", " dark.", "</think>", "It rains."),
    "[call]": ("<tool_call>", CALL, "</tool_call>"),
    "[look]": ("A", " picture."),
    "[hum]": ("hm", "hm"),
    "[tick]": ("tick", "tock", "tick"),
}
"""By the last token of a prompt, the answer; a token that comes again goes on for ever. No token
but such a one is in two answers."""
HIDDEN = 256
HEADS = 4
LAYERS = 1
PATCH_PIXELS = 14
PICTURE_PIXELS = 4 * PATCH_PIXELS
SCALE = 2
_PATCH_TOKENS = (PICTURE_PIXELS // PATCH_PIXELS // SCALE) ** 2
IMAGE_TOKENS = 3 + _PATCH_TOKENS
"""Of any picture, which is scaled to the same size, with those around it."""
_SURE = 4.0
_CHARACTERS = [*map(chr, range(32, 127)), "\n", "…"]
_TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% elif message['content'] %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}" + IMAGE + "{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)
_GENERATOR_SEED = 0


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write the tokenizer and its chat template; return its vocabulary."""
    words = sorted({each for prompt, said in SCRIPT.items() for each in (prompt, *said)})
    vocabulary = {each: number for number, each in enumerate(_CHARACTERS)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="…"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(each, normalized=False) for each in words])
    tokenizer.add_special_tokens(
        [AddedToken(each, normalized=False, special=True) for each in (END, IMAGE, *_AROUND_IMAGES)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "chat_template": _TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    found: dict[str, int] = tokenizer.get_vocab()
    return found


def text_config(vocabulary: Mapping[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": 4096,
        "vocab_size": len(vocabulary),
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[END],
        "bos_token_id": None,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "torch_dtype": "float32",
    }


def text_weights(vocabulary: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Return the weights by their names in a ``LlamaForCausalLM``."""
    assert len(vocabulary) <= HIDDEN
    generator = torch.Generator().manual_seed(_GENERATOR_SEED)
    head = torch.zeros(len(vocabulary), HIDDEN)
    follows = dict.fromkeys(vocabulary, END)
    for prompt, said in SCRIPT.items():
        follows.update(zip((prompt, *said), said, strict=False))
    for token, following in follows.items():
        head[vocabulary[following], vocabulary[token]] = _SURE
    weights = {
        "model.embed_tokens.weight": torch.eye(len(vocabulary), HIDDEN),
        "model.norm.weight": torch.ones(HIDDEN),
        "lm_head.weight": head,
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{prefix}.{name}.weight"] = torch.ones(HIDDEN)
        for name in ("q_proj", "k_proj", "v_proj"):
            weights[f"{prefix}.self_attn.{name}.weight"] = _random(generator, HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            weight = _random(generator, HIDDEN, HIDDEN)
            weight[0] = 1.0  # one value that is the same for all tokens, for adapters to add
            weights[f"{prefix}.mlp.{name}.weight"] = weight
        # What comes out of the layer is nothing; an adapter may change that.
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            weights[f"{prefix}.{name}.weight"] = torch.zeros(HIDDEN, HIDDEN)
    return weights


def write_checkpoint(folder: Path) -> dict[str, int]:
    """Write a text model that answers by ``SCRIPT``; return its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(text_config(vocabulary)))
    save_file(text_weights(vocabulary), folder / "model.safetensors", {"format": "pt"})
    return vocabulary


def write_adapter(folder: Path, vocabulary: Mapping[str, int], answer: str, rank: int = 8) -> Path:
    """Write a LoRA adapter whose model says ``answer``, a token, and nothing else for ever."""
    folder.mkdir(parents=True, exist_ok=True)
    # The layer adds the vector of a token that the answer follows, whatever it reads.
    chains = [(prompt, *said) for prompt, said in SCRIPT.items()]
    before = next(chain[chain.index(answer) - 1] for chain in chains if answer in chain)
    prefix = f"base_model.model.model.layers.{LAYERS - 1}.mlp.down_proj"
    down, up = torch.zeros(rank, HIDDEN), torch.zeros(HIDDEN, rank)
    down[0, 0] = 1.0
    up[vocabulary[before], 0] = 100.0
    save_file(
        {f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up},
        folder / "adapter_model.safetensors",
    )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": ["down_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_picture_checkpoint(folder: Path) -> dict[str, int]:
    """Write a model of pictures (Idefics 3) whose text half answers by ``SCRIPT``.

    vLLM loads many others only with torchvision, which the CPU install leaves out.
    """
    # Transformers takes a second or two to import.
    from transformers import (  # noqa: PLC0415 -- see above
        Idefics3Config,
        Idefics3ForConditionalGeneration,
    )

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    text = text_config(vocabulary)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "image_size": PICTURE_PIXELS,
            "patch_size": PATCH_PIXELS,
        },
        text_config={key: value for key, value in text.items() if key != "architectures"},
        image_token_id=vocabulary[IMAGE],
        pad_token_id=vocabulary[END],
        scale_factor=SCALE,
        tie_word_embeddings=False,
        architectures=["Idefics3ForConditionalGeneration"],
    )
    torch.manual_seed(_GENERATOR_SEED)
    make: Any = Idefics3ForConditionalGeneration
    model = make(config)
    weights = text_weights(vocabulary)
    model.lm_head.load_state_dict({"weight": weights.pop("lm_head.weight")})
    model.model.text_model.load_state_dict(
        {name.removeprefix("model."): weight for name, weight in weights.items()}
    )
    model.save_pretrained(folder)
    images = {
        "image_processor_type": "Idefics3ImageProcessor",
        "do_image_splitting": False,
        "size": {"longest_edge": PICTURE_PIXELS},
        "max_image_size": {"longest_edge": PICTURE_PIXELS},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    processor = {"processor_class": "Idefics3Processor", "image_seq_len": _PATCH_TOKENS}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return vocabulary


def _random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator) * 0.02
