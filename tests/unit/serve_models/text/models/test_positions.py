"""How long texts may be, in checkpoints that count positions from behind the padding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.settings.models import EmbedderSettings, RerankerSettings
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.positions import check_runs, longest_text
from serve_models.text.models.reranking import RerankingModel
from serve_models.text.models.tokenizing import TokenizedText
from tests.unit.serve_models.checkpoints import save_tiny, tiny_roberta

LONG = "word " * 90


@pytest.fixture(scope="module")
def encoder_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roberta")
    return save_tiny(tiny_roberta(labels=None, positions=33), minilm_path, path)


@pytest.fixture(scope="module")
def reranker_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roberta-reranker")
    return save_tiny(tiny_roberta(labels=1, positions=33), minilm_path, path)


def embedder(path: Path, **changes: Any) -> EmbeddingModel:
    values = {"kind": "embedder", "source": "path:/nowhere", **changes}
    return EmbeddingModel(path, EmbedderSettings.model_validate(values), "cpu")


def reranker(path: Path, **changes: Any) -> RerankingModel:
    values = {"kind": "reranker", "source": "path:/nowhere", **changes}
    return RerankingModel(path, RerankerSettings.model_validate(values), "cpu")


def test_an_embedder_cuts_where_the_positions_end(encoder_path: Path) -> None:
    model = embedder(encoder_path)
    assert model.max_seq_length_tokens == 32
    long = model.tokenize([LONG], [None])
    assert (long[0].tokens, long[0].truncated) == (32, True)
    # Four bytes a token.
    assert memoryview(long[0].ids).nbytes == 32 * 4  # type: ignore[arg-type] # an array
    assert np.isfinite(model.run(long)).all()


def test_a_reranker_cuts_where_the_positions_end(reranker_path: Path) -> None:
    model = reranker(reranker_path)
    assert model.max_seq_length_tokens == 32
    long = model.tokenize_pairs([(LONG, LONG)])
    assert (long[0].tokens, long[0].truncated) == (32, True)
    assert np.isfinite(model.run(long)).all()


def test_a_length_beyond_the_positions_is_refused(encoder_path: Path, reranker_path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="33 is over the 32 positions"):
        embedder(encoder_path, max_seq_length_tokens=33)
    with pytest.raises(ModelSettingsError, match="33 is over the 32 positions"):
        reranker(reranker_path, max_seq_length_tokens=33)
    assert embedder(encoder_path, max_seq_length_tokens=32).max_seq_length_tokens == 32


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "does not fit .* set max_seq_length_tokens"),
        (IndexError("index out of range in self"), "index out of range .* max_seq_length_tokens"),
    ],
)
def test_a_length_that_cannot_run_names_the_setting(error: Exception, words: str) -> None:
    def run(texts: Sequence[TokenizedText]) -> Rows:
        raise error

    with pytest.raises(ModelSettingsError, match=f"one text of 8194 tokens.*{words}"):
        check_runs(run, TokenizedText(tokens=8194, truncated=True))


def test_the_whole_length_is_tried_where_it_is_quick() -> None:
    assert len(longest_text(8192, "cuda").split()) == 8192
    assert len(longest_text(8192, "cpu").split()) == 1024
    assert len(longest_text(None, "cuda").split()) == 1
