"""Checkpoints with random weights, which cost a device what trained ones of their size do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

_SEED = 7
_POSITIONS = 512


@dataclass(frozen=True, slots=True)
class EncoderSize:
    """The size of a BERT encoder.

    Attributes:
        hidden: The width of its vectors.
        layers: Transformer layers.
        heads: Attention heads of a layer.
    """

    hidden: int
    layers: int
    heads: int


THIN = EncoderSize(hidden=32, layers=1, heads=2)
"""Costs next to nothing, so that what is around the model is what is measured."""
MINILM = EncoderSize(hidden=384, layers=6, heads=12)
"""all-MiniLM-L6-v2's."""
BASE = EncoderSize(hidden=768, layers=12, heads=12)
"""bge-base's."""


def save_encoder(directory: Path, size: EncoderSize, tokenizer: str, max_tokens: int = 256) -> Path:
    """Save a Sentence Transformers checkpoint with mean pooling, and return its folder.

    Args:
        directory: Where to.
        size: The encoder's size.
        tokenizer: The folder of the tokenizer's files.
        max_tokens: Longer texts are cut.
    """
    torch.manual_seed(_SEED)
    words = AutoTokenizer.from_pretrained(tokenizer)
    # Any: Transformers' constructors have no annotations.
    make: Any = BertModel
    encoder = make(
        BertConfig(
            vocab_size=len(words),
            hidden_size=size.hidden,
            intermediate_size=4 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=_POSITIONS,
            pad_token_id=words.pad_token_id,
        )
    )
    plain = directory / "encoder"
    encoder.save_pretrained(plain)
    words.save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=max_tokens)
    saved = directory / "checkpoint"
    model = SentenceTransformer(modules=[transformer, Pooling(size.hidden)], device="cpu")
    model.save(str(saved))
    return saved


@dataclass(frozen=True, slots=True)
class GeneratorSize:
    """The size of a Llama model.

    Attributes:
        hidden: The width of its hidden states.
        layers: Transformer layers.
        heads: Attention heads of a layer.
        kv_heads: Heads of keys and values of a layer.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int


SMALL_LLAMA = GeneratorSize(hidden=2048, layers=24, heads=32, kv_heads=8)
"""Some 1.5 billion weights."""
TINY_LLAMA = GeneratorSize(hidden=64, layers=2, heads=4, kv_heads=2)


def save_generator(directory: Path, size: GeneratorSize, tokenizer: str, device: str) -> Path:
    """Save a generator in bfloat16, and return its folder.

    Args:
        directory: Where to.
        size: The model's size.
        tokenizer: The folder of the tokenizer's files.
        device: torch's name of the device that draws the weights.
    """
    torch.manual_seed(_SEED)
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=size.hidden,
        intermediate_size=4 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=4096,
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        pad_token_id=words.pad_token_id,
    )
    make: Any = LlamaForCausalLM
    with torch.device(device):
        model = make(config)
    model.to(torch.bfloat16).save_pretrained(directory)
    words.save_pretrained(directory)
    return directory
