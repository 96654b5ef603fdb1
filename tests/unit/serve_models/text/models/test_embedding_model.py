"""The model's vectors are the library's own, whatever path its texts take."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SimilarityFunction
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer

from schemas.settings.models import Similarity
from serve_models.text.endpoints.similarity import similarities
from serve_models.text.endpoints.vectors import VectorForm, form_vectors, least_vector_bytes
from serve_models.text.models.base import ModelSettingsError, Rows
from serve_models.text.models.embedding import EmbeddingModel
from serve_models.text.models.preprocessing import FastFrontEnd, LibraryFrontEnd
from tests.unit.serve_models.fakes import settings

TEXTS = [
    "Where is the nearest library?",
    " ",
    "x",
    "Größe, 長さ, длина 🙂",
    "the quick brown fox " * 20,
    "one text that is far over the length " * 90,
    "[MASK] [SEP] as a user may write it",
]
PROMPTS = {"query": "Represent this question: ", "empty": ""}


@pytest.fixture(scope="module")
def library(minilm_path: Path) -> SentenceTransformer:
    return SentenceTransformer(str(minilm_path), device="cpu")


@pytest.fixture(scope="module")
def model(minilm_path: Path) -> EmbeddingModel:
    return EmbeddingModel(minilm_path, settings(prompts=PROMPTS, device="cpu"), "cpu")


def embed(
    model: EmbeddingModel, texts: list[str], prompt_names: Sequence[str | None] | None = None
) -> Rows:
    return model.run(model.tokenize(texts, prompt_names or [None] * len(texts)))


def test_vectors_are_the_librarys(library: SentenceTransformer, model: EmbeddingModel) -> None:
    assert isinstance(model._front_end, FastFrontEnd)
    np.testing.assert_allclose(embed(model, TEXTS), library.encode(TEXTS), atol=1e-5)


def test_the_librarys_own_tokenizing_gives_the_same(
    library: SentenceTransformer, model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = model.tokenize(TEXTS, ["query"] * len(TEXTS))
    monkeypatch.setattr(model, "_front_end", LibraryFrontEnd(library))
    slow = model.tokenize(TEXTS, ["query"] * len(TEXTS))
    assert [text.tokens for text in slow] == [text.tokens for text in fast]
    assert [text.truncated for text in slow] == [text.truncated for text in fast]
    np.testing.assert_allclose(model.run(slow), embed_with(library, PROMPTS["query"]), atol=1e-5)


def embed_with(library: SentenceTransformer, prompt: str) -> NDArray[Any]:
    return library.encode(TEXTS, prompt=prompt)


def test_texts_under_different_prompts_share_a_batch(
    library: SentenceTransformer, model: EmbeddingModel
) -> None:
    names = ["query", None, "empty", "query", "document", None, "query"]
    expected = np.stack(
        [
            library.encode([text], prompt=PROMPTS.get(name or "") or None)[0]
            for text, name in zip(TEXTS, names, strict=True)
        ]
    )
    np.testing.assert_allclose(embed(model, TEXTS, names), expected, atol=1e-5)


def test_pooling_leaves_prompts_out_where_the_model_says_so(
    minilm_path: Path, tmp_path: Path
) -> None:
    library = SentenceTransformer(str(minilm_path), device="cpu")
    library.set_pooling_include_prompt(include_prompt=False)
    library.save_pretrained(str(tmp_path))
    model = EmbeddingModel(tmp_path, settings(prompts=PROMPTS, device="cpu"), "cpu")
    names = ["query", None, "query", "empty", "query", "query", None]
    expected = np.stack(
        [
            library.encode([text], prompt=PROMPTS.get(name or "") or None)[0]
            for text, name in zip(TEXTS, names, strict=True)
        ]
    )
    np.testing.assert_allclose(embed(model, TEXTS, names), expected, atol=1e-5)


def test_an_empty_texts_vector_is_the_librarys(
    library: SentenceTransformer, model: EmbeddingModel
) -> None:
    np.testing.assert_allclose(embed(model, ["", "a"]), library.encode(["", "a"]), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("normalize", [True, False])
def test_no_texts_vector_takes_less_than_the_models_bound(
    minilm_path: Path, dtype: str, normalize: bool
) -> None:
    model = EmbeddingModel(minilm_path, settings(dtype=dtype, device="cpu"), "cpu")
    rows = embed(model, [*TEXTS, "", "0 0 0", "?", *map(str, range(50))])
    for dimensions in (1, 2, 8, 64, None):
        form = VectorForm(dimensions, normalize)
        taken = [len(encode(vector)) for vector in form_vectors(rows, form)]
        bound_bytes = least_vector_bytes(model.sample, form, "float")
        assert bound_bytes <= min(taken)
        assert bound_bytes >= 0.6 * max(taken)


def encode(vector: Rows) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def test_only_texts_over_the_length_count_as_truncated(minilm_path: Path) -> None:
    model = EmbeddingModel(minilm_path, settings(max_seq_length_tokens=8, device="cpu"), "cpu")
    exact, over = model.tokenize(["a b c d e f", "a b c d e f g"], [None, None])
    assert (exact.tokens, exact.truncated) == (8, False)
    assert (over.tokens, over.truncated) == (8, True)
    assert model.max_seq_length_tokens == 8


def test_the_default_prompt_is_put_before_texts_that_name_none(
    minilm_path: Path, library: SentenceTransformer
) -> None:
    configured = settings(prompts=PROMPTS, default_prompt_name="query", device="cpu")
    model = EmbeddingModel(minilm_path, configured, "cpu")
    expected = library.encode(TEXTS, prompt=PROMPTS["query"])
    np.testing.assert_allclose(embed(model, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("prompts", "default"),
    [
        ({}, None),
        ({"query": "Find: ", "document": "Document: ", "passage": "Text: "}, "query"),
        ({"search": "Search: "}, "search"),
    ],
)
def test_roles_have_the_prompts_that_the_library_gives_them(
    minilm_path: Path, prompts: dict[str, str], default: str | None
) -> None:
    changes: dict[str, Any] = {"prompts": prompts, "default_prompt_name": default}
    model = EmbeddingModel(minilm_path, settings(device="cpu", **changes), "cpu")
    library = SentenceTransformer(str(minilm_path), device="cpu", **changes)
    rows = model.run(model.tokenize_roles([TEXTS[0]] * 2, ["query", "document"]))
    np.testing.assert_allclose(rows[0], library.encode_query(TEXTS[0]), atol=1e-5)
    np.testing.assert_allclose(rows[1], library.encode_document(TEXTS[0]), atol=1e-5)


def test_the_settings_prompt_for_passages_is_that_for_documents(
    minilm_path: Path, library: SentenceTransformer
) -> None:
    prompts = {"query": "query: ", "passage": "passage: "}
    model = EmbeddingModel(minilm_path, settings(prompts=prompts, device="cpu"), "cpu")
    expected = library.encode(TEXTS[0], prompt="passage: ")

    row = model.run(model.tokenize_roles([TEXTS[0]], ["document"]))[0]
    np.testing.assert_allclose(row, expected, atol=1e-5)
    for name in ("document", "passage", "search_document"):
        np.testing.assert_allclose(embed(model, [TEXTS[0]], [name])[0], expected, atol=1e-5)


def test_token_ids_of_the_models_own_tokenizer_give_the_texts_vectors(
    minilm_path: Path, library: SentenceTransformer
) -> None:
    accepting = settings(accept_token_ids=True, device="cpu")
    model = EmbeddingModel(minilm_path, accepting, "cpu")
    ids = [library[0].tokenizer(text)["input_ids"] for text in TEXTS]  # type: ignore[operator] # not a tensor
    taken = model.take_token_ids(ids)

    assert model.vocabulary_tokens == 30522
    tokenized = model.tokenize(TEXTS, [None] * len(TEXTS))
    assert [text.tokens for text in taken] == [text.tokens for text in tokenized]
    assert [text.truncated for text in taken] == [False] * 5 + [True, False]
    np.testing.assert_allclose(model.run(taken), library.encode(TEXTS), atol=1e-5)


def test_token_ids_without_special_tokens_are_read_as_they_are(model: EmbeddingModel) -> None:
    whole, bare = model.take_token_ids([[101, 7592, 102], [7592]])
    assert (whole.tokens, bare.tokens) == (3, 1)
    first, second = model.run([whole, bare])
    assert abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("saved", "changes", "measure", "warns"),
    [
        ("cosine", {}, "cosine", False),
        ("dot", {}, "dot", True),
        ("dot", {"normalize": False}, "dot", False),
        ("dot", {"similarity": "cosine"}, "cosine", False),
        ("euclidean", {"normalize": True}, "euclidean", False),
    ],
)
def test_vectors_are_compared_as_the_checkpoint_says_unless_the_settings_do(
    minilm_path: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    saved: Any,
    changes: dict[str, Any],
    measure: str,
    warns: bool,
) -> None:
    library = SentenceTransformer(str(minilm_path), device="cpu", similarity_fn_name=saved)
    library.save_pretrained(str(tmp_path))
    model = EmbeddingModel(tmp_path, settings(device="cpu", **changes), "cpu")
    assert model.similarity == measure
    assert ("set normalize to false" in caplog.text) is warns


@pytest.mark.parametrize("measure", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("queries", [1, 7])
def test_vectors_are_as_alike_as_the_library_finds_them(measure: Similarity, queries: int) -> None:
    generator = np.random.default_rng(3)
    first = generator.normal(size=(queries, 32)).astype(np.float32)
    second = generator.normal(size=(7, 32)).astype(np.float32)
    expected = SimilarityFunction.to_similarity_pairwise_fn(measure)(first, second)
    found = similarities(measure, first, second)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_prompt_name": "none"}, "default_prompt_name: no prompt 'none'"),
        ({"max_seq_length_tokens": 4096}, "max_seq_length_tokens: 4096 is over the 512"),
    ],
)
def test_settings_that_do_not_fit_fail_at_construction(
    minilm_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelSettingsError, match=words):
        EmbeddingModel(minilm_path, settings(device="cpu", **changes), "cpu")


def test_bfloat16_stays_close_and_comes_back_as_float32(
    minilm_path: Path, library: SentenceTransformer
) -> None:
    model = EmbeddingModel(minilm_path, settings(dtype="bfloat16", device="cpu"), "cpu")
    vectors = embed(model, TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors * library.encode(TEXTS)).sum(axis=1).min() > 0.99


def test_batches_beside_each_other_give_what_one_at_a_time_gives(model: EmbeddingModel) -> None:
    tokenized = model.tokenize(TEXTS, [None] * len(TEXTS))
    expected = np.concatenate([model.run([text]) for text in tokenized])
    with ThreadPoolExecutor(3) as threads:
        for rows in threads.map(model.run, [tokenized] * 6):
            np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_tokenizing_beside_the_model_changes_nothing(model: EmbeddingModel) -> None:
    expected = embed(model, TEXTS)
    with ThreadPoolExecutor(1) as model_thread, ThreadPoolExecutor(1) as tokenizer_thread:
        batches = [
            tokenizer_thread.submit(model.tokenize, TEXTS, [None] * len(TEXTS)) for _ in range(5)
        ]
        rows = [model_thread.submit(model.run, batch.result()) for batch in batches]
        for row in rows:
            np.testing.assert_allclose(row.result(), expected, atol=1e-6)


@pytest.fixture
def static_path(minilm_path: Path, tmp_path: Path) -> Path:
    tokenizer = Tokenizer.from_file(str(minilm_path / "tokenizer.json"))
    tokenizer.no_truncation()
    torch.manual_seed(0)
    static = StaticEmbedding(tokenizer, embedding_dim=32)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path))
    return tmp_path


def test_a_model_that_takes_texts_only_says_so_at_construction(static_path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="accept_token_ids: the checkpoint takes texts"):
        EmbeddingModel(static_path, settings(accept_token_ids=True, device="cpu"), "cpu")


def test_a_static_embedding_takes_the_librarys_path(static_path: Path) -> None:
    library = SentenceTransformer(str(static_path), device="cpu")
    model = EmbeddingModel(static_path, settings(prompts=PROMPTS, device="cpu"), "cpu")
    assert isinstance(model._front_end, LibraryFrontEnd)
    assert model.max_seq_length_tokens is None
    names = [None, "query"] * 3 + [None]
    expected = np.stack(
        [
            library.encode([text], prompt=PROMPTS.get(name or ""))[0]
            for text, name in zip(TEXTS, names, strict=True)
        ]
    )
    np.testing.assert_allclose(embed(model, TEXTS, names), expected, atol=1e-5)
    assert model.tokenize(["one two three"], [None])[0].tokens == 3


def test_left_padding_and_last_token_pooling(minilm_path: Path, tmp_path: Path) -> None:
    library = SentenceTransformer(str(minilm_path), device="cpu")
    library[0].tokenizer.padding_side = "left"  # type: ignore[union-attr] # not a tensor's
    library[1] = Pooling(384, pooling_mode="lasttoken")
    library.save_pretrained(str(tmp_path))
    reloaded = SentenceTransformer(str(tmp_path), device="cpu")
    model = EmbeddingModel(tmp_path, settings(device="cpu"), "cpu")
    assert isinstance(model._front_end, FastFrontEnd)
    assert model._front_end.padding._pads_left
    np.testing.assert_allclose(embed(model, TEXTS), reloaded.encode(TEXTS), atol=1e-5)
