"""Tiny checkpoints, converted for the CPU, answer as PyTorch does."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import BertConfig, BertForSequenceClassification, BertModel

from schemas.settings.models import (
    ClassifierSettings,
    EmbedderSettings,
    RerankerSettings,
    TextModelSettings,
)
from serve_models.text.backends import loading
from serve_models.text.backends.loading import Loaded, load_text_model
from serve_models.text.models.base import ModelSettingsError
from tests.unit.serve_models.checkpoints import TEXTS, save_tiny

PAIRS = [(text, TEXTS[0]) for text in TEXTS]
BACKENDS = [
    pytest.param(
        backend,
        marks=pytest.mark.skipif(
            any(find_spec(package) is None for package in packages),
            reason=f"headrace[{backend}] is not installed; `make install` brings it",
        ),
    )
    for backend, packages in {
        "openvino": ("openvino", "nncf"),
        "onnx": ("onnx", "onnxruntime"),
    }.items()
]
pytestmark = [
    # The converters' own, at import and as they trace.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning"),
]


def config(**more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        **more,
    )


@pytest.fixture(scope="module")
def embedder_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("tiny")
    bert = save_tiny(BertModel(config()), minilm_path, folder / "bert")  # type: ignore[no-untyped-call] # Transformers' own
    transformer = Transformer(str(bert))
    model = SentenceTransformer(modules=[transformer, Pooling(32), Normalize()], device="cpu")
    model.save_pretrained(str(folder / "embedder"))
    return folder / "embedder"


@pytest.fixture(scope="module")
def scorer_path(
    minilm_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Path]:
    def save(labels: int) -> Path:
        torch.manual_seed(7)
        folder = tmp_path_factory.mktemp("tiny-scorer")
        model = BertForSequenceClassification(config(num_labels=labels))  # type: ignore[no-untyped-call] # Transformers' own
        return save_tiny(model, minilm_path, folder)

    return save


def load(path: Path, settings: TextModelSettings, cache: Path) -> Loaded:
    choice, device = loading.backend_of(settings, path, has_gpu=False)
    return load_text_model(path, settings, device, choice.backend, cache)


def embedder(backend: str, **changes: Any) -> EmbedderSettings:
    return EmbedderSettings.model_validate(
        {
            "kind": "embedder",
            "source": "path:/nowhere",
            "device": "cpu",
            "dtype": "float32",
            "backend": backend,
            **changes,
        }
    )


def rows_of(model: Any, texts: Sequence[str] = TEXTS) -> Any:
    return model.run(model.tokenize(texts, [None] * len(texts)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_quantization_vectors_are_pytorchs(
    embedder_path: Path, tmp_path: Path, backend: str
) -> None:
    reference = load(embedder_path, embedder("torch"), tmp_path).model
    loaded = load(embedder_path, embedder(backend, quantization="none"), tmp_path)
    np.testing.assert_allclose(rows_of(loaded.model), rows_of(reference), atol=1e-4)
    # Batches of other shapes than the one that was traced.
    for texts in (TEXTS[:1], TEXTS[4:5], TEXTS * 3):
        np.testing.assert_allclose(
            rows_of(loaded.model, texts), rows_of(reference, texts), atol=1e-4
        )
    assert loaded.agreement is not None
    assert loaded.agreement.minimum > 0.9999
    assert loaded.runs_on == ("cpu", "float32")


@pytest.mark.parametrize("backend", BACKENDS)
def test_int8_is_compared_kept_and_refused_below_the_floor(
    embedder_path: Path, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(embedder_path, embedder(backend, least_agreement=0.5), tmp_path)
    assert loaded.agreement is not None
    assert loaded.runs_on == ("cpu", "int8 and float32")
    assert 0.5 < loaded.agreement.minimum <= loaded.agreement.mean < 0.99999
    vectors = rows_of(loaded.model)
    # The next start converts nothing, whatever floor it asks for.
    monkeypatch.setattr(loading._RUNTIMES[backend], "convert", None)  # type: ignore[index]
    again = load(embedder_path, embedder(backend, least_agreement=-1), tmp_path)
    assert again.agreement == loaded.agreement
    np.testing.assert_allclose(rows_of(again.model), vectors, atol=1e-5)
    with pytest.raises(ModelSettingsError, match="least_agreement: with backend"):
        load(embedder_path, embedder(backend, least_agreement=1), tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_classifiers_and_rerankers_give_pytorchs_scores(
    scorer_path: Callable[[int], Path], tmp_path: Path, backend: str
) -> None:
    common = {"source": "path:/nowhere", "device": "cpu", "dtype": "float32"}
    quantization = {"backend": backend, "quantization": "none"}
    classifier = {"kind": "classifier", **common}
    reference = load(scorer_path(3), ClassifierSettings.model_validate(classifier), tmp_path).model
    ours = load(
        scorer_path(3), ClassifierSettings.model_validate({**classifier, **quantization}), tmp_path
    )
    np.testing.assert_allclose(
        ours.model.run(ours.model.tokenize(TEXTS)),
        reference.run(reference.tokenize(TEXTS)),
        atol=1e-3,
    )
    assert ours.agreement is not None
    assert ours.agreement.measure == "correlation"
    reranker = {"kind": "reranker", **common}
    reference = load(scorer_path(1), RerankerSettings.model_validate(reranker), tmp_path).model
    ours = load(
        scorer_path(1), RerankerSettings.model_validate({**reranker, **quantization}), tmp_path
    )
    np.testing.assert_allclose(
        ours.model.run(ours.model.tokenize_pairs(PAIRS)),
        reference.run(reference.tokenize_pairs(PAIRS)),
        atol=1e-3,
    )


def test_what_is_not_quantized_is_bfloat16_on_openvino_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ("auto", "float32", "bfloat16", "float16")
    for is_quick in (True, False):
        monkeypatch.setattr(
            "serve_models.devices.dtypes.is_quick_cpu", lambda _, quick=is_quick: quick
        )
        auto = "bfloat16" if is_quick else "float32"
        formats = [loading.converted_dtype(dtype, "openvino") for dtype in asked]
        assert formats == [auto, "float32", "bfloat16", "float32"]
        assert {loading.converted_dtype(dtype, "onnx") for dtype in asked} == {"float32"}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_of_more_than_token_ids_is_refused(
    embedder_path: Path, tmp_path: Path, backend: str
) -> None:
    model = SentenceTransformer(str(embedder_path), device="cpu")
    model.set_pooling_include_prompt(include_prompt=False)
    model.save_pretrained(str(tmp_path / "excluding"))
    with pytest.raises(ModelSettingsError, match=f"backend: {backend} takes checkpoints that read"):
        load(tmp_path / "excluding", embedder(backend), tmp_path)


def test_without_its_packages_a_backend_names_the_extra(
    embedder_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_models.text.backends.openvino.PACKAGES", ("no-such-package",))
    with pytest.raises(ModelSettingsError, match=r"install headrace\[openvino\]"):
        load(embedder_path, embedder("openvino"), tmp_path)
