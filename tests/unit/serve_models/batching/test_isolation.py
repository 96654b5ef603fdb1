"""Batches that fail, taken apart."""

import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from handoff.chunk import STATUS_FAILED, STATUS_UNRECOVERABLE
from serve_models.batching import isolation
from serve_models.batching.isolation import run_isolating
from serve_models.batching.memory import is_out_of_memory
from serve_models.chunks.failures import Refusal
from serve_models.text.models.base import CheckedModel, Rows
from serve_models.text.models.tokenizing import TokenizedText


def texts_of(*tokens: int) -> list[TokenizedText]:
    return [TokenizedText(tokens=each, truncated=False) for each in tokens]


class Activations:
    """What a forward holds until its frame is gone."""


class Device:
    """Has memory for batches of ``holds_texts`` texts, and counts activations that are alive."""

    def __init__(self, holds_texts: int) -> None:
        self.holds_texts = holds_texts
        self.alive: weakref.WeakSet[Activations] = weakref.WeakSet()
        self.most_alive = 0
        self.batches: list[int] = []

    def forward(self, texts: Sequence[TokenizedText]) -> Rows:
        activations = Activations()
        self.alive.add(activations)
        self.most_alive = max(self.most_alive, len(self.alive))
        self.batches.append(len(texts))
        self._layer(texts, activations)
        return np.array([[float(text.tokens)] for text in texts], dtype=np.float32)

    def _layer(self, texts: Sequence[TokenizedText], activations: Activations) -> None:
        assert activations in self.alive
        if len(texts) > self.holds_texts:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("holds_texts", [0, 1, 3])
def test_a_failed_forward_holds_no_memory_while_its_halves_run(holds_texts: int) -> None:
    device = Device(holds_texts)
    isolated = run_isolating(device.forward, texts_of(*range(1, 17)))
    assert device.most_alive == 1
    assert not device.alive
    assert device.batches[:2] == [16, 8]
    if holds_texts:
        assert [row[0] for row in isolated.rows if not isinstance(row, Refusal)] == [*range(1, 17)]
        assert not isolated.raised
    else:
        assert isolated.has_only_failures
        # Kept for the answers, while the model is tried with a harmless text.
        assert {row.status for row in isolated.rows if isinstance(row, Refusal)} == {STATUS_FAILED}


def test_memory_is_given_back_before_the_halves_run(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(holds_texts=2)
    events: list[object] = []

    def forward(texts: Sequence[TokenizedText]) -> Rows:
        events.append(len(texts))
        return device.forward(texts)

    monkeypatch.setattr(isolation, "release_memory", lambda: events.append("released"))
    isolated = run_isolating(forward, texts_of(5, 7, 9, 2))
    assert events == [4, "released", 2, 2]
    assert isolated.too_large_tokens == [4 * 9]


def test_only_texts_at_fault_fail_and_each_says_why() -> None:
    def forward(texts: Sequence[TokenizedText]) -> Rows:
        if any(text.tokens == 3 for text in texts):
            raise IndexError("index out of range in self")
        if any(text.tokens == 4 for text in texts):
            raise RuntimeError("CUDA error: unspecified launch failure")
        rows = np.array([[text.tokens] for text in texts], dtype=np.float32)
        rows[rows == 5] = np.nan
        return rows

    model: Any = SimpleNamespace(width=1, run=forward)
    rows = run_isolating(CheckedModel(model).run, texts_of(1, 2, 3, 4, 5, 6)).rows
    failures = {n: row for n, row in enumerate(rows) if isinstance(row, Refusal)}
    assert {n: failure.status for n, failure in failures.items()} == {
        2: STATUS_UNRECOVERABLE,
        3: STATUS_FAILED,
        4: STATUS_UNRECOVERABLE,
    }
    reasons = {n: orjson.loads(failure.body)["error"]["message"] for n, failure in failures.items()}
    assert reasons[2].endswith(": IndexError: index out of range in self")
    assert "NaN" in reasons[4]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
