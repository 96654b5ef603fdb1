"""Models over an engine that pools by itself: everything but the rows is here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoTokenizer

from schemas.settings.models import ClassifierSettings, EmbedderSettings, RerankerSettings
from serve_models.text.backends.pooled import (
    PooledClassifier,
    PooledEmbedder,
    PooledReranker,
    pooled_model,
)
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.classification import ClassificationModel
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.tokenizing import Padding, TokenizedText
from tests.unit.serve_models.checkpoints import TEXTS, save_classifier
from tests.unit.serve_models.fakes import line
from tests.unit.serve_models.text_engines import answers_of, running

PAIRS = [(text, TEXTS[0]) for text in TEXTS]


class Engine:
    """Runs a torch model on token ids, as an engine of another process would."""

    max_tokens = 64
    vocabulary_tokens = 30_522

    def __init__(self, path: Path, run: Any) -> None:
        self._padding = Padding(AutoTokenizer.from_pretrained(path))
        self._run = run
        self.is_down = False

    @torch.inference_mode()
    def rows(self, texts: Sequence[TokenizedText]) -> Rows:
        rows: Rows = self._run(self._padding.features(texts)).float().numpy()
        return rows

    def shut_down(self) -> None:
        self.is_down = True


def embedder(**changes: Any) -> EmbedderSettings:
    return EmbedderSettings.model_validate(
        {"kind": "embedder", "source": "path:/nowhere", "backend": "vllm", **changes}
    )


@pytest.fixture(scope="module")
def engine(minilm_path: Path) -> Engine:
    model = SentenceTransformer(str(minilm_path), device="cpu")
    return Engine(minilm_path, lambda features: model(features)["sentence_embedding"])


def test_an_embedder_has_pytorchs_vectors_prompts_and_roles(
    minilm_path: Path, engine: Engine
) -> None:
    settings = embedder(prompts={"query": "ask: "}, max_seq_length_tokens=64, device="cpu")
    ours = pooled_model(minilm_path, settings, engine)
    reference = EmbeddingModel(minilm_path, settings.model_copy(update={"dtype": "float32"}), "cpu")
    assert isinstance(ours, PooledEmbedder)
    assert (ours.width, ours.similarity) == (reference.width, reference.similarity)
    for name in (None, "query", "document"):
        names = [name] * len(TEXTS)
        mine, theirs = ours.tokenize(TEXTS, names), reference.tokenize(TEXTS, names)
        assert [text.tokens for text in mine] == [text.tokens for text in theirs]
        assert [text.truncated for text in mine] == [text.truncated for text in theirs]
        np.testing.assert_allclose(ours.run(mine), reference.run(theirs), atol=1e-5)
    by_role = ours.tokenize_roles(["a", "a"], ["query", "document"])
    assert by_role[0].tokens > by_role[1].tokens


async def test_requests_are_those_of_any_embedder(minilm_path: Path, engine: Engine) -> None:
    model = pooled_model(minilm_path, embedder(), engine)
    lines = [
        line("x", dimensions=8),
        line("x", dimensions=385),
        line([101, 2054, 102]),
        line([{"image": "data:image/png;base64,AAAA"}]),
    ]
    async with running("embedder", model, accept_token_ids=True) as running_engine:
        answers = await answers_of(running_engine, lines)
    assert [status for status, _ in answers] == [200, 400, 200, 400]
    assert len(answers[0][1]["data"][0]["embedding"]) == 8


def test_a_default_prompt_that_is_not_there_is_refused(minilm_path: Path, engine: Engine) -> None:
    with pytest.raises(ModelSettingsError, match="default_prompt_name: no prompt 'ask'"):
        pooled_model(minilm_path, embedder(default_prompt_name="ask"), engine)


def test_a_model_of_nan_does_not_start(minilm_path: Path) -> None:
    engine = Engine(minilm_path, lambda features: features["input_ids"][:, :1] * float("nan"))
    with pytest.raises(ModelSettingsError, match="NaN"):
        pooled_model(minilm_path, embedder(), engine)


def test_a_classifier_has_pytorchs_labels_and_logits(minilm_path: Path, tmp_path: Path) -> None:
    path = save_classifier(minilm_path, tmp_path, ["safe", "unsafe"])
    settings = ClassifierSettings.model_validate(
        {"kind": "classifier", "source": "path:/nowhere", "max_seq_length_tokens": 64}
    )
    reference = ClassificationModel(path, settings.model_copy(update={"dtype": "float32"}), "cpu")
    engine = Engine(path, lambda features: reference._model(**features).logits)
    ours = pooled_model(path, settings, engine)
    assert isinstance(ours, PooledClassifier)
    assert list(ours.labels) == ["safe", "unsafe"]
    assert ours.activation == reference.activation
    np.testing.assert_allclose(
        ours.run(ours.tokenize(TEXTS)), reference.run(reference.tokenize(TEXTS)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("activation", "expected"),
    [(None, True), ("torch.nn.modules.linear.Identity", False)],
)
def test_a_reranker_has_the_librarys_scores(
    minilm_path: Path, tmp_path: Path, activation: str | None, expected: bool
) -> None:
    path = save_classifier(minilm_path, tmp_path, ["score"])
    if activation is not None:
        config = orjson.loads((path / "config.json").read_bytes())
        config["sentence_transformers"] = {"activation_fn": activation}
        (path / "config.json").write_bytes(orjson.dumps(config))
    library = CrossEncoder(str(path), device="cpu", max_length=64)
    engine = Engine(path, lambda features: library[0].auto_model(**features).logits)
    settings = RerankerSettings.model_validate({"kind": "reranker", "source": "path:/nowhere"})
    ours = pooled_model(path, settings, engine)
    assert isinstance(ours, PooledReranker)
    scores = ours.activate(ours.run(ours.tokenize_pairs(PAIRS)))[:, 0]
    np.testing.assert_allclose(scores, library.predict(PAIRS), atol=1e-5)
    assert bool(((scores >= 0) & (scores <= 1)).all()) is expected


def test_a_reranker_of_several_labels_is_refused(minilm_path: Path, tmp_path: Path) -> None:
    path = save_classifier(minilm_path, tmp_path, ["a", "b"])
    library = CrossEncoder(str(path), device="cpu")
    engine = Engine(path, lambda features: library[0].auto_model(**features).logits)
    settings = RerankerSettings.model_validate({"kind": "reranker", "source": "path:/nowhere"})
    with pytest.raises(ModelSettingsError, match="gives 2 labels"):
        pooled_model(path, settings, engine)
