"""What the models of Sentence Transformers have in common, run batch by batch."""

from collections.abc import Sequence

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.util import batch_to_device

from serve_models.front_ends import FrontEnd
from serve_models.text_model import Rows, check_length
from serve_models.tokenizing import TokenizedText


@torch.inference_mode()
def run_batch(
    model: SentenceTransformer | CrossEncoder,
    front_end: FrontEnd,
    texts: Sequence[TokenizedText],
    output: str,
) -> Rows:
    """Run one batch.

    Args:
        model: The model.
        front_end: Its own.
        texts: What to run.
        output: The name that the library gives to what is wanted.

    Returns:
        float32 [len(texts), width].
    """
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


def shorten(model: SentenceTransformer | CrossEncoder, max_seq_length_tokens: int | None) -> None:
    """Cut texts at the settings' length, where they have one.

    Raises:
        ModelSettingsError: The checkpoint has fewer positions.
    """
    if max_seq_length_tokens is None:
        return
    check_length(max_seq_length_tokens, getattr(model.config, "max_position_embeddings", None))
    model.max_seq_length = max_seq_length_tokens
