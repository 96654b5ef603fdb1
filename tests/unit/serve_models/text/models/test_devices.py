import logging

import pytest
import torch

from serve_models.text.models.devices import bound_tokenizer_threads, choose_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    has = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has["mps"])
    return has


def test_a_gpu_is_used_only_if_ray_gave_it(machine: dict[str, bool]) -> None:
    machine["cuda"] = True
    assert choose_device("auto", has_gpu=True) == "cuda"
    assert choose_device("auto", has_gpu=False) == "cpu"
    machine.update(cuda=False, mps=True)
    assert choose_device("auto", has_gpu=False) == "mps"


def test_a_device_that_is_set_is_used(machine: dict[str, bool]) -> None:
    assert choose_device("cuda:1", has_gpu=False) == "cuda:1"
    assert choose_device("cpu", has_gpu=True) == "cpu"


def test_a_gpu_that_pytorch_cannot_use_is_told(
    machine: dict[str, bool], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto", has_gpu=True) == "cpu"
    assert "make install GPU=1" in caplog.text


def test_tokenizers_take_the_replicas_threads_unless_the_operator_says_how_many() -> None:
    environment: dict[str, str] = {}
    bound_tokenizer_threads(2, environment)
    assert environment == {"RAYON_NUM_THREADS": "2"}
    bound_tokenizer_threads(4, environment)
    assert environment == {"RAYON_NUM_THREADS": "2"}
