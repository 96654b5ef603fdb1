"""Sparse and multi-vector checkpoints give the library's vectors, and answers of their own form."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from jsonschema import Draft202012Validator
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from transformers import BertConfig, BertForMaskedLM, BertModel

from schemas.bodies.embeddings import EmbeddingsResponse
from schemas.settings.models import EmbedderSettings
from serve_models.text.kinds import KINDS
from serve_models.text.models.base import ModelSettingsError
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.other_vectors.library_class import read_library_class
from serve_models.text.other_vectors.multi_vector import MultiVectorModel
from serve_models.text.other_vectors.scoring import late_interaction
from serve_models.text.other_vectors.sparse import SparseEmbeddingModel, dense_of, sparse_of
from tests.unit.serve_models.checkpoints import TEXTS, save_tiny
from tests.unit.serve_models.fakes import line, settings
from tests.unit.serve_models.text_engines import answers_of, running

READABLE = [text for text in TEXTS if text.strip()]


def config() -> BertConfig:
    return BertConfig(
        vocab_size=30_522,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
    )


@pytest.fixture(scope="module")
def sparse_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("sparse")
    save_tiny(BertForMaskedLM(config()), minilm_path, folder / "bert")  # type: ignore[no-untyped-call] # Transformers' own
    SparseEncoder(str(folder / "bert"), device="cpu").save_pretrained(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module")
def multi_path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("multi")
    save_tiny(BertModel(config()), minilm_path, folder / "bert")  # type: ignore[no-untyped-call] # Transformers' own
    model = MultiVectorEncoder(str(folder / "bert"), device="cpu")
    model.prompts = {"query": "[Q] ", "document": "[D] "}
    model.save_pretrained(str(folder / "model"))
    return folder / "model"


def load(path: Path, **changes: object) -> Any:
    return KINDS[EmbedderSettings].load(path, settings(device="cpu", **changes), "cpu")


def test_the_checkpoint_says_which_class_runs_it(
    sparse_path: Path, multi_path: Path, minilm_path: Path
) -> None:
    for path, expected in (
        (sparse_path, SparseEmbeddingModel),
        (multi_path, MultiVectorModel),
        (minilm_path, EmbeddingModel),
    ):
        assert type(load(path)) is expected


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config_sentence_transformers.json", {"model_type": "ColBERT"}, "MultiVectorEncoder"),
        ("config.json", {"architectures": ["HF_ColBERT"]}, "MultiVectorEncoder"),
        ("config.json", {"architectures": ["BertModel"]}, "SentenceTransformer"),
        ("config_sentence_transformers.json", {"prompts": {}}, "SentenceTransformer"),
        ("config_sentence_transformers.json", ["not", "an", "object"], "SentenceTransformer"),
    ],
)
def test_checkpoints_of_other_programs_are_recognised(
    tmp_path: Path, file: str, content: Any, expected: str
) -> None:
    (tmp_path / file).write_bytes(orjson.dumps(content))
    assert read_library_class(tmp_path) == expected


def test_sparse_vectors_are_the_librarys(sparse_path: Path) -> None:
    model, library = load(sparse_path), SparseEncoder(str(sparse_path), device="cpu")
    expected = library.encode(READABLE, convert_to_sparse_tensor=False)
    rows = model.run(model.tokenize(READABLE, [None] * len(READABLE)))
    for row, reference in zip(rows, expected, strict=True):
        dense = dense_of(row, model.width)
        np.testing.assert_allclose(dense, reference.numpy(), atol=1e-5)
        assert (np.diff(row["index"]) > 0).all()
        assert (row["value"] != 0).all()
    assert model.similarity == library.similarity_fn_name == "dot"


def test_what_is_for_one_vector_a_text_is_off_or_refused(
    sparse_path: Path, multi_path: Path
) -> None:
    for path in (sparse_path, multi_path):
        model = load(path)
        assert model.front_spec("m", settings()) is None
        for name in ("unpad_inputs", "compile"):
            with pytest.raises(ModelSettingsError, match=f"{name}: the checkpoint is no plain"):
                load(path, **{name: True})


def test_a_sparse_vector_has_its_entries_and_no_others() -> None:
    vector = np.array([0, 1.5, 0, -2, 0], np.float32)
    assert sparse_of(vector).tolist() == [(1, 1.5), (3, -2.0)]
    np.testing.assert_array_equal(dense_of(sparse_of(vector), 5), vector)
    assert sparse_of(np.zeros(5, np.float32)).tolist() == []


@pytest.mark.parametrize("role", ["query", "document"])
def test_multi_vectors_are_the_librarys_for_each_role(multi_path: Path, role: Any) -> None:
    model, library = load(multi_path), MultiVectorEncoder(str(multi_path), device="cpu")
    encode: Callable[..., Any] = getattr(library, f"encode_{role}")
    expected = encode(READABLE, convert_to_numpy=True)
    rows = model.run(model.tokenize_roles(READABLE, [role] * len(READABLE)))
    for row, reference in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, reference, atol=1e-5)
    by_name = model.run(model.tokenize(READABLE, [role] * len(READABLE)))
    for row, reference in zip(by_name, expected, strict=True):
        np.testing.assert_allclose(row, reference, atol=1e-5)


def test_a_similarity_of_single_vectors_does_not_go_with_many(multi_path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="similarity: dot compares single vectors"):
        load(multi_path, similarity="dot")


def is_valid(body: Any) -> bool:
    schema = EmbeddingsResponse.model_json_schema()
    return bool(Draft202012Validator(schema).is_valid(body))


async def test_sparse_answers(sparse_path: Path) -> None:
    model = load(sparse_path)
    lines = [
        line(["one text", "another"]),
        line(["one text", "another"], encoding_format="base64"),
        line("x", dimensions=8),
        line("x", output_dtype="int8"),
        line("x", normalize=True),
    ]
    async with running("embedder", model) as engine:
        answers = await answers_of(engine, lines)
    assert [status for status, _ in answers] == [200, 200, 400, 400, 400]
    (_, plain), (_, packed) = answers[:2]
    assert is_valid(plain)
    assert is_valid(packed)
    rows = model.run(model.tokenize(["one text", "another"], [None, None]))
    for index, row in enumerate(rows):
        item = plain["data"][index]
        assert (item["object"], item["index"]) == ("sparse_embedding", index)
        assert item["embedding"]["indices"] == row["index"].tolist()
        np.testing.assert_allclose(item["embedding"]["values"], row["value"], rtol=1e-5)
        encoded = packed["data"][index]["embedding"]
        indices = np.frombuffer(base64.b64decode(encoded["indices"]), "<i4")
        values = np.frombuffer(base64.b64decode(encoded["values"]), "<f4")
        np.testing.assert_array_equal(indices, row["index"])
        np.testing.assert_allclose(values, row["value"], rtol=1e-5)
    for (_, refused), field in zip(
        answers[2:], ("dimensions", "output_dtype", "normalize"), strict=True
    ):
        assert refused["error"]["param"] == field
        assert "sparse" in refused["error"]["message"]


async def test_multi_vector_answers(multi_path: Path) -> None:
    model = load(multi_path)
    lines = [
        line(["one text", "another, longer text"], input_type="document"),
        line("one text", input_type="document", encoding_format="base64"),
        line("one text", input_type="document", dimensions=4, output_dtype="int8"),
    ]
    async with running("embedder", model) as engine:
        answers = await answers_of(engine, lines)
    assert [status for status, _ in answers] == [200] * 3
    plain, packed, short = (body for _, body in answers)
    assert all(map(is_valid, (plain, packed, short)))
    first, second = (np.array(each["embedding"]) for each in plain["data"])
    assert first.shape[1] == second.shape[1] == model.width
    assert len(second) > len(first)
    assert plain["data"][0]["object"] == "multi_vector_embedding"
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    item = packed["data"][0]
    vectors = np.frombuffer(base64.b64decode(item["embedding"]), "<f4").reshape(item["shape"])
    np.testing.assert_allclose(vectors, first, atol=1e-5)
    assert np.array(short["data"][0]["embedding"]).shape == (len(first), 4)


QUERY, DOCUMENTS = "where is the library", ["the library is near", "fish", "where is it"]


async def test_rerank_by_maxsim(multi_path: Path) -> None:
    library = MultiVectorEncoder(str(multi_path), device="cpu")
    expected = library.similarity(
        library.encode_query([QUERY]), library.encode_document(DOCUMENTS)
    )[0]
    await check_scores(load(multi_path), expected.numpy())


async def test_rerank_by_the_dot_product_of_sparse_vectors(sparse_path: Path) -> None:
    library = SparseEncoder(str(sparse_path), device="cpu")
    expected = library.similarity(
        library.encode_query([QUERY]), library.encode_document(DOCUMENTS)
    )[0]
    await check_scores(load(sparse_path), expected.numpy())


async def check_scores(model: Any, expected: Any) -> None:
    url = {"custom_id": "1", "method": "POST", "url": "/v1/score"}
    one = {**url, "body": {"queries": QUERY, "documents": DOCUMENTS}}
    each = {**url, "body": {"queries": [QUERY, "fish"], "documents": DOCUMENTS[:2]}}
    async with running("embedder", model) as engine:
        answers = await answers_of(engine, [orjson.dumps(one), orjson.dumps(each)])
    scores = [item["score"] for item in answers[0][1]["data"]]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    pairs = [item["score"] for item in answers[1][1]["data"]]
    assert pairs[0] == pytest.approx(scores[0], rel=1e-4)
    assert pairs[1] != pytest.approx(scores[1], rel=1e-4)


def test_a_text_without_vectors_scores_nothing() -> None:
    nothing = np.empty((0, 4), np.float32)
    assert late_interaction("maxsim", nothing, np.ones((2, 4), np.float32)) == 0
    assert late_interaction("meanmaxsim", np.ones((2, 4), np.float32), nothing) == 0
