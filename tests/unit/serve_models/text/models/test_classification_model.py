"""The classifier's logits are Transformers' own, whatever batch a text ends up in."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    pipeline,
)

from schemas.settings.models import ClassifierSettings
from serve_models.text.endpoints.probabilities import Activation, apply_activation
from serve_models.text.models.base import ModelSettingsError
from serve_models.text.models.classification import ClassificationModel
from serve_models.text.models.tokenizing import PythonTokenizer, RustTokenizer
from tests.unit.serve_models.checkpoints import TEXTS, save_classifier, save_tiny, tiny_roberta

LABELS = ["safe", "unsafe", "unclear"]


def load(path: Path, **changes: object) -> ClassificationModel:
    settings = {"kind": "classifier", "source": "path:/nowhere", "dtype": "float32", **changes}
    return ClassificationModel(path, ClassifierSettings.model_validate(settings), "cpu")


@pytest.fixture(scope="module")
def path(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(minilm_path, tmp_path_factory.mktemp("classifier"), LABELS)


@pytest.fixture(scope="module")
def model(path: Path) -> ClassificationModel:
    return load(path)


@pytest.fixture(scope="module")
def expected(path: Path) -> NDArray[np.float32]:
    """What Transformers gives for each text alone."""
    library = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    with torch.inference_mode():
        logits = [
            library(**tokenizer(text, truncation=True, max_length=512, return_tensors="pt")).logits
            for text in TEXTS
        ]
    return torch.cat(logits).numpy()


def changed(path: Path, directory: Path, file: str, **changes: object) -> Path:
    """A copy of a checkpoint, by links, with some keys of a JSON file changed."""
    for original in path.iterdir():
        (directory / original.name).symlink_to(original)
    content = json.loads((path / file).read_text(encoding="utf-8"))
    (directory / file).unlink()
    (directory / file).write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return directory


def test_logits_are_the_librarys(model: ClassificationModel, expected: NDArray[np.float32]) -> None:
    rows = model.run(model.tokenize(TEXTS))
    assert rows.dtype == np.float32
    assert np.ptp(rows, axis=0).min() > 0.1
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert (model.width, model.labels) == (3, LABELS)


def test_probabilities_are_those_of_the_librarys_pipeline(
    path: Path, model: ClassificationModel
) -> None:
    library: Any = pipeline("text-classification", model=str(path), top_k=None, device="cpu")
    texts = [TEXTS[0], TEXTS[3], TEXTS[4]]
    ours = apply_activation(model.run(model.tokenize(texts)), model.activation)
    for row, theirs in zip(ours, library(texts), strict=True):
        by_label = {one["label"]: one["score"] for one in theirs}
        np.testing.assert_allclose(row, [by_label[label] for label in LABELS], atol=1e-5)


def test_a_batch_of_its_own_or_shared_and_in_threads_changes_nothing(
    model: ClassificationModel, expected: NDArray[np.float32]
) -> None:
    tokenized = model.tokenize(TEXTS)
    with ThreadPoolExecutor(3) as threads:
        alone = [threads.submit(model.run, [text]) for text in tokenized for _ in range(3)]
        together = [threads.submit(model.run, tokenized) for _ in range(3)]
        rows = np.concatenate([future.result() for future in alone])
        np.testing.assert_allclose(rows, np.repeat(expected, 3, axis=0), atol=1e-5)
        for future in together:
            np.testing.assert_allclose(future.result(), expected, atol=1e-5)


def test_texts_over_the_models_positions_are_cut_and_say_so(model: ClassificationModel) -> None:
    assert model.max_seq_length_tokens == 512
    tokenized = model.tokenize(TEXTS)
    assert [text.truncated for text in tokenized] == [False] * 5 + [True, False]
    assert max(text.tokens for text in tokenized) == 512


def test_a_tokenizer_without_a_rust_part_gives_the_same(
    model: ClassificationModel, path: Path
) -> None:
    assert isinstance(model._tokenizer, RustTokenizer)
    fast = model.tokenize(TEXTS)
    slow = PythonTokenizer(AutoTokenizer.from_pretrained(path), 512).encode(TEXTS)
    assert [list(text.ids) for text in slow] == [list(text.ids) for text in fast]
    assert [text.truncated for text in slow] == [text.truncated for text in fast]


@pytest.mark.parametrize(
    ("problem_type", "activation"),
    [
        (None, Activation.SOFTMAX),
        ("single_label_classification", Activation.SOFTMAX),
        ("multi_label_classification", Activation.SIGMOID),
        ("regression", Activation.IDENTITY),
    ],
)
def test_the_checkpoints_problem_decides_the_activation(
    path: Path, tmp_path: Path, problem_type: str | None, activation: Activation
) -> None:
    copy = changed(path, tmp_path, "config.json", problem_type=problem_type)
    assert load(copy).activation is activation


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config.json", {"id2label": {"0": "a", "1": "b", "2": "a"}}, "called 'a'"),
        ("config.json", {"model_type": "whisper"}, "cannot be loaded as a sequence classifier"),
        ("tokenizer_config.json", {"pad_token": None}, "no padding token"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_how(
    path: Path, tmp_path: Path, file: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelSettingsError, match=words):
        load(changed(path, tmp_path, file, **changes))


def test_an_encoder_without_a_head_is_refused_not_given_a_random_one(minilm_path: Path) -> None:
    with pytest.raises(ModelSettingsError, match=r"no sequence classifier.*classifier\.bias"):
        load(minilm_path)


def test_a_length_beyond_the_positions_is_refused(path: Path) -> None:
    with pytest.raises(ModelSettingsError, match="max_seq_length_tokens: 4096 is over the 512"):
        load(path, max_seq_length_tokens=4096)
    assert load(path, max_seq_length_tokens=8).tokenize(["a b c d e f g"])[0].tokens == 8


def test_a_decoder_that_names_no_padding_token_classifies_by_each_texts_last(
    minilm_path: Path, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    config = LlamaConfig(  # type: ignore[call-arg] # the base class's num_labels
        vocab_size=30_522,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=2,
        initializer_range=1.0,
    )
    library = LlamaForSequenceClassification(config).eval()  # type: ignore[no-untyped-call]
    model = load(save_tiny(library, minilm_path, tmp_path))
    texts = ["a b", "a b c d", "one of several words more"]
    tokenized = model.tokenize(texts)
    with torch.inference_mode():
        alone = [library(torch.tensor([list(text.ids)])).logits for text in tokenized]
    assert np.ptp(torch.cat(alone).numpy(), axis=0).min() > 0.1
    np.testing.assert_allclose(model.run(tokenized), torch.cat(alone), atol=1e-4)


def test_positions_that_count_from_behind_the_padding_leave_fewer_tokens(
    minilm_path: Path, tmp_path: Path
) -> None:
    path = save_tiny(tiny_roberta(labels=2, positions=33), minilm_path, tmp_path)
    model = load(path)
    assert model.max_seq_length_tokens == 32
    long = model.tokenize(["word " * 90])
    assert (long[0].tokens, long[0].truncated) == (32, True)
    assert model.run(long).shape == (1, 2)
    with pytest.raises(ModelSettingsError, match="over the 32 positions"):
        load(path, max_seq_length_tokens=33)


def test_bfloat16_stays_close_and_comes_back_as_float32(
    path: Path, expected: NDArray[np.float32]
) -> None:
    rows = load(path, dtype="bfloat16").run(load(path).tokenize(TEXTS))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, atol=0.3)


def test_activations_are_right_at_the_extremes() -> None:
    logits = np.array([[0.0, 1000.0], [-1000.0, 0.0]], dtype=np.float32)
    softmax = apply_activation(logits, Activation.SOFTMAX)
    sigmoid = apply_activation(logits, Activation.SIGMOID)
    np.testing.assert_allclose(softmax, [[0, 1], [0, 1]])
    np.testing.assert_allclose(sigmoid, [[0.5, 1], [0, 0.5]])
    assert softmax.dtype == sigmoid.dtype == np.float32
