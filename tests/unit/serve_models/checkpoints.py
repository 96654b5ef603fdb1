"""Real checkpoints to compare with the libraries: the MiniLM encoder under a seeded random head."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

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
