"""Reads which class of Sentence Transformers a checkpoint was saved by."""

from pathlib import Path

from serve_models.text.models.checkpoint_json import read_object

DENSE, SPARSE, MULTI_VECTOR = "SentenceTransformer", "SparseEncoder", "MultiVectorEncoder"


def read_library_class(path: Path) -> str:
    """Return the class's name; that of dense vectors where the checkpoint does not say.

    Checkpoints of the library have it in ``config_sentence_transformers.json``. Those of PyLate and
    of Stanford's ColBERT have names of their own for multi-vector encoders.
    """
    named = read_object(path / "config_sentence_transformers.json").get("model_type")
    if named is not None:
        return MULTI_VECTOR if named == "ColBERT" else str(named)
    architectures = read_object(path / "config.json").get("architectures")
    is_colbert = isinstance(architectures, list) and "HF_ColBERT" in architectures
    return MULTI_VECTOR if is_colbert else DENSE
