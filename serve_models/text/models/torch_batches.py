"""What the models of Sentence Transformers have in common."""

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import batch_to_device

from serve_models.text.models.base import Rows, check_length
from serve_models.text.models.positions import positions_of
from serve_models.text.models.preprocessing import FrontEnd
from serve_models.text.models.tokenizing import TokenizedText, limit_of


@torch.inference_mode()
def run_batch(
    model: SentenceTransformer | CrossEncoder,
    front_end: FrontEnd,
    texts: Sequence[TokenizedText],
    output: str,
) -> Rows:
    """Run one batch and return the library's ``output`` of it, float32 [len(texts), width]."""
    rows: Rows | None = None
    for positions, features in front_end.batches(texts):
        tensor = model(batch_to_device(features, model.device))[output]
        part: Rows = tensor.float().cpu().numpy()
        if len(positions) == len(texts):
            return part
        if rows is None:
            rows = np.empty((len(texts), part.shape[1]), dtype=np.float32)
        rows[positions] = part
    if rows is None:
        raise ValueError("texts: a batch holds at least one text")
    return rows


def cut_texts(model: SentenceTransformer | CrossEncoder, max_seq_length_tokens: int | None) -> None:
    """Cut texts at the settings' length, else at what the checkpoint can read.

    Raises ``ModelSettingsError`` if the checkpoint has fewer positions.
    """
    positions = positions_of(model)
    if max_seq_length_tokens is not None:
        check_length(max_seq_length_tokens, positions)
        model.max_seq_length = max_seq_length_tokens
    elif positions is not None:
        own_tokens = limit_of(model.max_seq_length)
        model.max_seq_length = positions if own_tokens is None else min(own_tokens, positions)
