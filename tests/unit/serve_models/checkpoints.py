"""Real checkpoints to compare with the libraries: the MiniLM encoder under a seeded random head."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

TEXTS = [
    "Where is the nearest library?",
    " ",
    "x",
    "Größe, 長さ, длина 🙂",
    "the quick brown fox " * 20,
    "one text that is far over the length " * 90,
    "[MASK] [SEP] as a user may write it",
]


def save_classifier(minilm_path: Path, directory: Path, labels: list[str], **config: Any) -> Path:
    """Save the encoder with a head, as ``save_pretrained`` of Transformers does."""
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(
        minilm_path,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        **config,
    )
    # As they are, every text gets the same probabilities: the pooler is untrained, the head small.
    assert model.bert.pooler is not None
    torch.nn.init.normal_(model.bert.pooler.dense.weight, std=0.2)
    torch.nn.init.normal_(model.classifier.weight, std=0.2)
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(minilm_path).save_pretrained(directory)
    return directory


def save_tiny(model: PreTrainedModel, minilm_path: Path, directory: Path, **options: Any) -> Path:
    """Save a model with MiniLM's tokenizer, and changes of that."""
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(minilm_path, **options).save_pretrained(directory)
    return directory


def tiny_roberta(*, labels: int | None, positions: int) -> PreTrainedModel:
    """Make a model that counts positions from behind the padding's index, which here is 0."""
    torch.manual_seed(7)
    options: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    config = RobertaConfig(
        vocab_size=30_522,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=positions,
        pad_token_id=0,
        type_vocab_size=2,
        **options,
    )
    model_class = RobertaModel if labels is None else RobertaForSequenceClassification
    model: PreTrainedModel = model_class(config)
    return model
