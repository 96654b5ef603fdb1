"""The replica of a generator: when its engine starts, and what changes while it runs. No vLLM."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from schemas.settings.models import GeneratorSettings
from serve_models.generation.adapters.checkpoint import AdapterError
from serve_models.generation.engine import Answer
from serve_models.replicas import generator as module
from serve_models.replicas.generator import Generator
from tests.unit.serve_models.fakes import host


class FakeAdapters:
    def __init__(self) -> None:
        self.applied: list[Mapping[str, str]] = []
        self.loaded: dict[str, str] = {}
        self.problems: dict[str, str] = {}

    async def apply(self, wanted: Mapping[str, str]) -> None:
        self.applied.append(dict(wanted))
        self.loaded = dict(wanted)

    async def check(self, name: str, source: str) -> None:
        if name == "large":
            raise AdapterError("rank 64 is over the 16")


class FakeEngine:
    max_num_seqs = 8
    runs_on = ("cpu", "bfloat16")
    starts: list[dict[str, Any]]

    def __init__(self) -> None:
        self.adapters = FakeAdapters()

    @classmethod
    async def start(cls, settings: GeneratorSettings, **arguments: Any) -> "FakeEngine":
        cls.starts.append({"settings": settings, **arguments})
        await asyncio.sleep(0)
        engine = cls()
        engine.adapters.loaded = dict(settings.adapters)
        return engine

    async def answer(self, url: str, body: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def check_alive(self) -> None:
        pass

    def shut_down(self) -> None:
        pass


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    FakeEngine.starts = []
    fake = ModuleType("serve_models.generation.vllm")
    fake.VllmEngine = FakeEngine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(module, "set_engine_environment", lambda _: None)
    monkeypatch.setattr(module, "this_replica", host)
    monkeypatch.setattr(Generator, "_export_metrics", lambda *_: None)
    monkeypatch.setattr(module, "given_gpus", list)
    monkeypatch.setattr(module, "hide_gpus", lambda: None)
    monkeypatch.setattr(module, "report_runs_on", lambda *_: None)
    for name in ("base", "poet"):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.zeros(1)}, tmp_path / name / "model.safetensors")
    return tmp_path


class Replica(Generator):
    """Ray Serve would await its end."""

    def __del__(self) -> None:  # type: ignore[override] # nothing to await
        pass


def replica(weights: Path, **arguments: Any) -> Generator:
    settings = GeneratorSettings(kind="generator", source=f"path:{weights / 'base'}")
    return Replica("chat", settings, **arguments)


async def test_the_first_configuration_says_which_adapters_need_room(weights: Path) -> None:
    generator = replica(weights, takes_adapters=True)
    assert FakeEngine.starts == []
    poet = f"path:{weights / 'poet'}"

    await generator.reconfigure({"live": {"adapters": {"poet": poet}, "in_flight_ratio": 2.0}})

    (start,) = FakeEngine.starts
    assert start["name"] == "chat"
    assert start["model"] == weights / "base"
    assert start["adapters"] == {"poet": weights / "poet"}
    assert start["takes_adapters"] is True
    assert await generator.adapters() == {
        "replica": "replica-1",
        "loaded": {"poet": poet},
        "problems": {},
    }
    await generator.check_health()


async def test_later_ones_change_what_runs(weights: Path) -> None:
    generator = replica(weights)
    await generator.reconfigure({"live": {}})
    await generator.reconfigure(
        {"live": {"adapters": {"a": "path:/a"}, "in_flight_ratio": 2.0, "outcome_linger_ms": 5}}
    )
    assert len(FakeEngine.starts) == 1
    assert generator._server.outcome_linger_s == 0.005
    assert generator._server._window is not None
    assert generator._server._window.records == 16
    # Left out, a key has its default.
    await generator.reconfigure({"live": {}})
    assert generator._server._window.records == 10
    assert generator._started.adapters.applied == [{"a": "path:/a"}, {}]  # type: ignore[attr-defined]


async def test_one_that_comes_while_the_engine_starts_is_taken_over_after_it(
    weights: Path,
) -> None:
    generator = replica(weights)
    await asyncio.gather(
        generator.reconfigure({"live": {}}),
        generator.reconfigure({"live": {"adapters": {"a": "path:/a"}}}),
    )
    assert len(FakeEngine.starts) == 1
    assert (await generator.adapters())["loaded"] == {"a": "path:/a"}


async def test_a_replica_says_whether_it_could_load_an_adapter(weights: Path) -> None:
    generator = replica(weights)
    await generator.reconfigure({"live": {}})
    assert await generator.adapter_problem("fine", "path:/x") is None
    assert await generator.adapter_problem("large", "path:/x") == "rank 64 is over the 16"


async def test_what_cannot_start_says_why(weights: Path) -> None:
    generator = replica(weights)
    with pytest.raises(ValueError, match="there is no directory /nowhere"):
        await generator.reconfigure({"live": {"adapters": {"a": "path:/nowhere"}}})
