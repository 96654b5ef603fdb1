"""The safety classifier's data, and a training of a few steps."""

import json
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from headrace.cli import output
from headrace.demo import guard_model
from headrace.demo.guard_model import ensure_guard_model, guard_data, guard_model_dir, training_bar
from headrace.demo.guard_training import (
    Example,
    GuardDataError,
    Metrics,
    Recipe,
    measure,
    read_examples,
    train,
)
from serve_models.weights.sources import check_safetensors, resolve

FEW_STEPS = Recipe(epochs=1, batch_examples=8)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other would make these small models slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base() -> Path:
    return resolve(guard_model.BASE_SOURCE)


@pytest.mark.parametrize(("name", "texts"), [("train", 600), ("test", 200)])
def test_the_data_is_valid_and_balanced(name: str, texts: int) -> None:
    examples = read_examples(guard_data(name).splitlines())

    assert Counter(example.label for example in examples) == {
        "safe": texts // 2,
        "unsafe": texts // 2,
    }
    assert all(2 < len(example.text.split()) < 60 for example in examples)
    assert all(example.text == example.text.strip() for example in examples)


def test_the_labels_cannot_be_told_by_length() -> None:
    for name in ("train", "test"):
        lengths: dict[str, list[int]] = {"safe": [], "unsafe": []}
        for example in read_examples(guard_data(name).splitlines()):
            lengths[example.label].append(len(example.text))
        # The best that any single length, taken as the border, would get right.
        right = max(
            sum(n < border for n in lengths["safe"]) + sum(n >= border for n in lengths["unsafe"])
            for border in range(200)
        )
        assert right / sum(map(len, lengths.values())) < 0.75


def test_no_text_is_there_twice(base: Path) -> None:
    texts = [
        example.text
        for name in ("train", "test")
        for example in read_examples(guard_data(name).splitlines())
    ]
    model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    vectors = model.encode(texts, normalize_embeddings=True)
    likeness = np.triu(vectors @ vectors.T, k=1)

    alike = [(texts[row], texts[column]) for row, column in np.argwhere(likeness > 0.95)]
    assert alike == []


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[]",
        b'{"text": "hello"}',
        b'{"text": "hello", "label": "safe", "extra": 1}',
        b'{"text": "hello", "label": "harmless"}',
        b'{"text": "", "label": "safe"}',
        b'{"text": 7, "label": "safe"}',
        b'{"text": "hello", "label": []}',
    ],
)
def test_an_invalid_line_is_named(line: bytes) -> None:
    with pytest.raises(GuardDataError, match="line 2: "):
        read_examples([b'{"text": "a text", "label": "safe"}', line])


def test_metrics_are_ratios_of_the_counts() -> None:
    metrics = Metrics(unsafe_refused=6, unsafe_passed=2, safe_refused=1, safe_passed=11)

    assert metrics.accuracy == pytest.approx(17 / 20)
    assert metrics.precision == pytest.approx(6 / 7)
    assert metrics.recall == pytest.approx(6 / 8)
    nothing_refused = Metrics(unsafe_refused=0, unsafe_passed=0, safe_refused=0, safe_passed=3)
    assert (nothing_refused.precision, nothing_refused.recall) == (1.0, 1.0)


def test_training_is_repeatable_and_reports_its_steps(base: Path) -> None:
    examples = _first_examples(24)
    steps: list[tuple[int, int]] = []
    torch.manual_seed(1)
    state = torch.random.get_rng_state()

    guard = train(base, examples, FEW_STEPS, lambda done, total: steps.append((done, total)))
    again = train(base, examples, FEW_STEPS)

    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    weights, weights_again = guard.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_training_learns_what_it_is_shown(base: Path) -> None:
    examples = _first_examples(16)

    metrics = measure(train(base, examples, Recipe(epochs=8, batch_examples=8)), examples)

    assert metrics.accuracy > 0.9


def test_the_model_is_trained_once_and_loads_as_a_classifier(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: Path
) -> None:
    shipped = guard_data
    monkeypatch.setattr(
        guard_model, "guard_data", lambda name: b"\n".join(shipped(name).splitlines()[:16])
    )
    steps: list[int] = []

    directory = ensure_guard_model(tmp_path, lambda done, _total: steps.append(done))

    assert steps
    check_safetensors(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    assert model.config.id2label == {0: "safe", 1: "unsafe"}
    # Neither padded nor cut by the encoder's own tokenizer settings.
    assert len(tokenizer("short")["input_ids"]) == 3
    assert len(tokenizer("long " * 300)["input_ids"]) == 302
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["test_texts"] == sum(metrics["counts"].values()) == 16

    steps.clear()
    assert ensure_guard_model(tmp_path, lambda done, _total: steps.append(done)) == directory
    assert steps == []
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_other_data_is_another_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = guard_model_dir(tmp_path)
    monkeypatch.setattr(guard_model, "guard_data", lambda name: name.encode())

    assert guard_model_dir(tmp_path) != directory
    assert directory.parent == tmp_path / "guard"


def test_the_bar_is_silent_until_training_begins(capsys: pytest.CaptureFixture[str]) -> None:
    with training_bar():
        pass
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_the_bar_shows_steps_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:

    written = StringIO()
    console = Console(file=written, force_terminal=True, width=120)
    monkeypatch.setattr(output, "err", console)

    with training_bar() as on_progress:
        for done in range(1, 4):
            on_progress(done, 3)

    assert "training the safety classifier" in written.getvalue()
    assert "3/3" in written.getvalue()
    assert "steps/s" in written.getvalue()


def _first_examples(count: int) -> list[Example]:
    return read_examples(islice(guard_data("train").splitlines(), count))
