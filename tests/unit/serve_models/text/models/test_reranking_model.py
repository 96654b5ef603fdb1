"""The reranker's scores are those of ``CrossEncoder.predict``."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from torch import nn

from schemas.settings.models import RerankerSettings
from serve_models.text.models.base import ModelSettingsError
from serve_models.text.models.preprocessing import FastFrontEnd, LibraryFrontEnd
from serve_models.text.models.reranking import RerankingModel
from tests.unit.serve_models.checkpoints import TEXTS, save_classifier

PAIRS = [(TEXTS[0], text) for text in TEXTS] + [(text, TEXTS[0]) for text in reversed(TEXTS)]


def load(path: Path, **changes: object) -> RerankingModel:
    settings = {"kind": "reranker", "source": "path:/nowhere", "dtype": "float32", **changes}
    return RerankingModel(path, RerankerSettings.model_validate(settings), "cpu")


def scores_of(
    model: RerankingModel, pairs: Sequence[tuple[str, str]] = PAIRS
) -> NDArray[np.float32]:
    return model.activate(model.run(model.tokenize_pairs(pairs)))[:, 0]


@pytest.fixture(scope="module")
def path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As cross-encoders were saved before they had modules.json."""
    return save_classifier(minilm_path, tmp_path_factory.mktemp("reranker"), ["LABEL_0"])


@pytest.fixture(scope="module")
def library(path: Path) -> CrossEncoder:
    encoder: CrossEncoder = CrossEncoder(str(path), device="cpu")
    return encoder


@pytest.fixture(scope="module")
def model(path: Path) -> RerankingModel:
    return load(path)


def test_scores_are_the_librarys(library: CrossEncoder, model: RerankingModel) -> None:
    assert isinstance(model._front_end, FastFrontEnd)
    scores = scores_of(model)
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(scores, library.predict(PAIRS), atol=1e-5)


def test_each_token_knows_which_text_it_is_of(model: RerankingModel) -> None:
    pair = model.tokenize_pairs([("a b", "c d e")])[0]
    assert list(pair.type_ids) == [0, 0, 0, 0, 1, 1, 1, 1]


def test_of_a_long_pair_the_longer_text_is_cut(model: RerankingModel) -> None:
    long = "word " * 900
    short_query, long_query = model.tokenize_pairs([("a b", long), (long, "a b")])
    assert (short_query.tokens, short_query.truncated) == (512, True)
    assert (long_query.tokens, long_query.truncated) == (512, True)
    assert list(short_query.type_ids).count(0) == 4
    assert list(long_query.type_ids).count(1) == 3


def test_the_librarys_own_tokenizing_gives_the_same(
    library: CrossEncoder, model: RerankingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = model.tokenize_pairs(PAIRS)
    expected = model.run(fast)
    monkeypatch.setattr(model, "_front_end", LibraryFrontEnd(library))
    slow = model.tokenize_pairs(PAIRS)
    assert [pair.tokens for pair in slow] == [pair.tokens for pair in fast]
    assert [pair.truncated for pair in slow] == [pair.truncated for pair in fast]
    np.testing.assert_allclose(model.run(slow), expected, atol=1e-5)


def test_batches_beside_each_other_give_what_one_at_a_time_gives(model: RerankingModel) -> None:
    pairs = model.tokenize_pairs(PAIRS)
    expected = np.concatenate([model.run([pair]) for pair in pairs])
    with ThreadPoolExecutor(3) as threads:
        for rows in threads.map(model.run, [pairs] * 6):
            np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_saved_activation_and_prompt_count(
    library: CrossEncoder, path: Path, tmp_path: Path
) -> None:
    saved = CrossEncoder(
        str(path),
        device="cpu",
        activation_fn=nn.Identity(),
        prompts={"search": "Is it relevant? "},
        default_prompt_name="search",
    )
    saved.save_pretrained(str(tmp_path))
    expected = CrossEncoder(str(tmp_path), device="cpu").predict(PAIRS)
    assert np.abs(expected - library.predict(PAIRS)).max() > 0.1
    np.testing.assert_allclose(scores_of(load(tmp_path)), expected, atol=1e-5)


def test_the_activation_of_old_checkpoints_counts(
    path: Path, tmp_path: Path, library: CrossEncoder
) -> None:
    for original in path.iterdir():
        (tmp_path / original.name).symlink_to(original)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["sbert_ce_default_activation_function"] = "torch.nn.modules.linear.Identity"
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    expected = library.predict(PAIRS, activation_fn=nn.Identity())
    np.testing.assert_allclose(scores_of(load(tmp_path)), expected, atol=1e-5)


def test_more_labels_than_one_are_refused(minilm_path: Path, tmp_path: Path) -> None:
    save_classifier(minilm_path, tmp_path, ["a", "b", "c"])
    with pytest.raises(ModelSettingsError, match="3 labels for a pair"):
        load(tmp_path)


def test_an_embedding_model_is_refused_not_given_a_random_head(minilm_path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="kind: embedder it answers"):
        load(minilm_path)


def test_an_encoder_without_a_head_is_refused(path: Path, tmp_path: Path) -> None:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertModel"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelSettingsError, match="architecture is BertModel"):
        load(tmp_path)


def test_a_length_beyond_the_positions_is_refused(path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="max_seq_length_tokens: 4096 is over the 512"):
        load(path, max_seq_length_tokens=4096)
    assert load(path, max_seq_length_tokens=16).max_seq_length_tokens == 16
