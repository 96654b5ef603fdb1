"""Every layout gives the library's vectors, whatever the texts of a batch."""

import copy
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, Qwen2Config, Qwen2Model, RobertaModel

from schemas.settings.models import EmbedderSettings
from serve_models.text.device import choice, varlen
from serve_models.text.device.layouts import PaddedLayout, PaddingIds
from serve_models.text.device.loop import DeviceLoop
from serve_models.text.device.streamed import StreamedDevice
from serve_models.text.device.streams import HostStreams
from serve_models.text.models.base import ModelSettingsError
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.tokenizing import TokenizedText
from tests.unit.serve_models.checkpoints import TEXTS, save_tiny, tiny_roberta

SIZE: dict[str, Any] = {
    "vocab_size": 30_522,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 300,
}


def tiny_bert() -> torch.nn.Module:
    torch.manual_seed(7)
    model: torch.nn.Module = BertModel(BertConfig(**SIZE))  # type: ignore[no-untyped-call]
    return model


def tiny_qwen() -> torch.nn.Module:
    """A decoder: causal, with fewer heads for keys, and rotary positions."""
    torch.manual_seed(7)
    return Qwen2Model(Qwen2Config(**SIZE, num_key_value_heads=2))


def tiny_windowed() -> torch.nn.Module:
    """A decoder of which every layer sees 16 tokens."""
    torch.manual_seed(7)
    layers = ["sliding_attention"] * 2
    return Qwen2Model(
        Qwen2Config(
            **SIZE,
            num_key_value_heads=4,
            use_sliding_window=True,
            sliding_window=16,
            layer_types=layers,
        )
    )


MODELS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "bert, mean": (tiny_bert, "mean", {}),
    "bert, cls": (tiny_bert, "cls", {}),
    "roberta, mean": (lambda: _as_base(tiny_roberta(labels=None, positions=300)), "mean", {}),
    "qwen, last token": (tiny_qwen, "lasttoken", {"padding_side": "left"}),
    "qwen with a window, mean": (tiny_windowed, "mean", {}),
}


def _as_base(model: Any) -> RobertaModel:
    assert isinstance(model, RobertaModel)
    return model


@pytest.fixture(params=list(MODELS))
def checkpoint(request: pytest.FixtureRequest, minilm_path: Path, tmp_path: Path) -> Path:
    make, pooling, options = MODELS[request.param]
    save_tiny(make(), minilm_path, tmp_path / "plain", **options)
    transformer = Transformer(str(tmp_path / "plain"), max_seq_length=128)
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling)], device="cpu")
    model.save(str(tmp_path / "saved"))
    return tmp_path / "saved"


def load(checkpoint: Path, **changes: Any) -> EmbeddingModel:
    values = {"kind": "embedder", "source": "path:/nowhere", "dtype": "float32", **changes}
    settings = EmbedderSettings.model_validate(values)
    return EmbeddingModel(checkpoint, settings, "cpu")


def batches_of(model: EmbeddingModel) -> list[list[TokenizedText]]:
    texts = model.tokenize(TEXTS, [None] * len(TEXTS))
    even = model.tokenize(["a b c", "d e f"], [None, None])
    return [texts, texts[:1], even, list(reversed(texts)), texts[2:5]]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_without_padding_the_vectors_are_the_librarys(checkpoint: Path) -> None:
    plain, packed = load(checkpoint), load(checkpoint, unpad_inputs=True)
    for batch in batches_of(plain):
        np.testing.assert_allclose(packed.run(batch), plain.run(batch), atol=2e-6)


def test_a_layout_that_makes_its_mask_gives_the_librarys_vectors(
    minilm_path: Path,
) -> None:
    plain = load(minilm_path)
    for few_shapes in (False, True):
        loop = loop_of(minilm_path, plain, prepares_mask=True, few_shapes=few_shapes)
        for batch in batches_of(plain):
            np.testing.assert_allclose(loop.run(batch), plain.run(batch), atol=2e-6)


def loop_of(path: Path, plain: EmbeddingModel, **options: Any) -> DeviceLoop:
    layout = PaddedLayout(PaddingIds(ids=0, type_ids=0, pads_left=False), **options)
    model = SentenceTransformer(str(path), device="cpu").eval()
    streamed = StreamedDevice(model, layout, HostStreams(), slots=2, width=plain.width)
    return DeviceLoop(streamed, 2, queues=False)


@pytest.mark.parametrize("pads_left", [False, True])
def test_texts_are_padded_on_their_tokenizers_side(pads_left: bool) -> None:
    padding = PaddingIds(ids=9, type_ids=5, pads_left=pads_left)
    layout = PaddedLayout(padding, prepares_mask=True)
    texts = [
        TokenizedText(tokens=2, truncated=False, ids=_ids(1, 2)),
        TokenizedText(tokens=3, truncated=False, ids=_ids(3, 4, 5), type_ids=_types(0, 1, 1)),
    ]
    shape = layout.shape_of(texts)
    ints = np.empty(layout.size(shape), np.int32)
    layout.fill(texts, shape, ints)
    short, short_types = ([9, 1, 2], [5, 0, 0]) if pads_left else ([1, 2, 9], [0, 0, 5])
    assert ints.tolist() == [*short, 3, 4, 5, *short_types, 0, 1, 1, 2, 3]


def test_few_shapes_are_filled_up_with_rows_of_one_token() -> None:
    padding = PaddingIds(ids=0, type_ids=None, pads_left=False)
    layout = PaddedLayout(padding, prepares_mask=True, few_shapes=True, most_tokens=512)
    texts = [TokenizedText(tokens=3, truncated=False, ids=_ids(1, 2, 3))] * 9
    shape = layout.shape_of(texts)
    assert (shape.texts, shape.rows, shape.tokens, shape.is_even) == (9, 10, 8, False)
    ints = np.empty(layout.size(shape), np.int32)
    layout.fill(texts, shape, ints)
    assert ints[:80].reshape(10, 8)[9].tolist() == [0] * 8
    assert ints[80:].tolist() == [3] * 9 + [1]


def test_what_cannot_be_run_without_padding_is_refused_with_the_settings_name(
    minilm_path: Path, tmp_path: Path
) -> None:
    model = SentenceTransformer(str(minilm_path), device="cpu")
    model.prompts = {"query": "q: "}
    pooling: Any = model[1]
    pooling.include_prompt = False
    model.save(str(tmp_path))
    for name in ("unpad_inputs", "compile"):
        with pytest.raises(ModelSettingsError, match=name):
            load(tmp_path, **{name: True})


def test_a_model_that_sees_its_neighbours_is_padded(
    minilm_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def over_all(module: Any, query: torch.Tensor, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        output = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return output.transpose(1, 2).contiguous(), None

    monkeypatch.setattr(varlen, "varlen_attention", over_all)
    with pytest.raises(ModelSettingsError, match="unpad_inputs"):
        load(minilm_path, unpad_inputs=True)
    assert "the vectors would change" in caplog.text


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_gives_the_librarys_vectors(
    minilm_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a compiler of C++, which this machine need not have.
    monkeypatch.setattr(choice, "COMPILE_OPTIONS", {"backend": "eager", "dynamic": True})
    plain, compiled = load(minilm_path), load(minilm_path, compile=True)
    for batch in batches_of(plain)[:2]:
        np.testing.assert_allclose(compiled.run(batch), plain.run(batch), atol=2e-6)


def test_few_shapes_and_no_padding_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="does not go with compile"):
        EmbedderSettings(kind="embedder", source="path:/x", unpad_inputs=True, compile=True)


def _ids(*ids: int) -> Any:
    return array("i", ids)


def _types(*ids: int) -> Any:
    return array("b", ids)


def test_buffers_grow_and_stay(minilm_path: Path) -> None:
    plain = load(minilm_path)
    loop = loop_of(minilm_path, plain, prepares_mask=True)
    short = plain.tokenize(["a"], [None])
    long = plain.tokenize(["word " * 200] * 40, [None] * 40)
    expected = plain.run(short)
    for batch in (short, long, short, long, short):
        rows = loop.run(batch)
        assert rows.shape == (len(batch), plain.width)
    kept = copy.deepcopy(rows)
    loop.run(long)
    loop.run(long)
    # Rows do not change with the buffers that they were read from.
    assert rows.tolist() == kept.tolist()
    np.testing.assert_allclose(rows, expected, atol=2e-6)
