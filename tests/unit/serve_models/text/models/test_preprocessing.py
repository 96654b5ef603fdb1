"""The library's own way of tokenizing, for models that are no plain transformer."""

from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from serve_models.text.models.preprocessing import LibraryFrontEnd
from tests.unit.serve_models.checkpoints import save_tiny, tiny_roberta


def test_only_what_is_over_the_length_counts_as_truncated(
    minilm_path: Path, tmp_path: Path
) -> None:
    path = save_tiny(
        tiny_roberta(labels=None, positions=33), minilm_path, tmp_path, model_max_length=32
    )
    routes = [
        [Transformer(str(path)), Pooling(32)],
        [Transformer(str(path)), Pooling(32)],
    ]
    router = Router.for_query_document(query_modules=routes[0], document_modules=routes[1])
    front_end = LibraryFrontEnd(SentenceTransformer(modules=[router], device="cpu"))
    texts = ["word " * 29, "word " * 30, "word " * 31]
    tokenized = front_end.tokenize(texts, [""] * 3, ["query", "document", "document"])
    assert [text.tokens for text in tokenized] == [31, 32, 32]
    assert [text.truncated for text in tokenized] == [False, False, True]
