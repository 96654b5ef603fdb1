"""The batch limits that vLLM chooses for a generator, by device, are those of its offline class.

No engine starts: vLLM makes its configuration from the arguments, as it does before it starts one.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import pytest

from schemas.settings.models import GeneratorSettings
from tests.vllm_marks import IMPORTS_VLLM

pytestmark = IMPORTS_VLLM
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """A device as vLLM's ``get_batch_defaults`` sees it."""

    name: str
    memory_bytes: int
    kind: str = "cuda"

    def get_device_name(self) -> str:
        return self.name

    def get_device_total_memory(self) -> int:
        return self.memory_bytes

    def is_cpu(self) -> bool:
        return self.kind == "cpu"

    def is_tpu(self) -> bool:
        return False


DEVICES = [
    (Device("NVIDIA B200", 178 * GIB), 1024, 16_384),
    (Device("NVIDIA H200", 139 * GIB), 1024, 16_384),
    (Device("NVIDIA A100-SXM4-80GB", 79 * GIB), 256, 8192),
    (Device("NVIDIA L4", 22 * GIB), 256, 8192),
    (Device("Intel Xeon", 64 * GIB, "cpu"), 256, 4096),
]


class CapturedError(Exception):
    """In place of an engine."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_hidden_layers": 1,
        "max_position_embeddings": 32_768,
        "vocab_size": 512,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Take down what both classes start their engines with."""
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415 -- slow to import
    from vllm.v1.engine.llm_engine import LLMEngine  # noqa: PLC0415 -- slow to import

    started: list[tuple[Any, Any]] = []

    def start(engine_args: Any, usage_context: Any = None, **_others: Any) -> Never:
        started.append((engine_args, usage_context))
        raise CapturedError

    monkeypatch.setattr(LLMEngine, "from_engine_args", start)
    monkeypatch.setattr(AsyncLLM, "from_engine_args", start)
    return started


def scheduler_of(started: tuple[Any, Any], device: Device, patch: pytest.MonkeyPatch) -> Any:
    from vllm.engine import arg_utils  # noqa: PLC0415 -- slow to import

    choose = arg_utils.EngineArgs.get_batch_defaults.__func__

    def on_device(cls: Any, world_size: int) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(arg_utils, "current_platform", device)
            return choose(cls, world_size)

    with patch.context() as context:
        context.setattr(arg_utils.EngineArgs, "get_batch_defaults", classmethod(on_device))
        engine_args, usage_context = started
        return engine_args.create_engine_config(usage_context).scheduler_config


async def start_generator(checkpoint: Path, **settings: Any) -> None:
    from serve_models.generation.vllm import VllmEngine  # noqa: PLC0415 -- slow to import

    values = {"kind": "generator", "source": f"path:{checkpoint}", **settings}
    with pytest.raises(CapturedError):
        await VllmEngine.start(
            GeneratorSettings.model_validate(values), name="m", model=checkpoint, adapters={}
        )


@pytest.mark.parametrize(("device", "sequences", "tokens"), DEVICES)
async def test_without_arguments_a_generator_has_the_limits_of_the_offline_class(
    device: Device,
    sequences: int,
    tokens: int,
    checkpoint: Path,
    engines: list[tuple[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vllm import LLM  # noqa: PLC0415 -- slow to import

    await start_generator(checkpoint)
    with pytest.raises(CapturedError):
        LLM(str(checkpoint))
    ours, offline = (scheduler_of(each, device, monkeypatch) for each in engines)

    assert (ours.max_num_seqs, ours.max_num_batched_tokens) == (sequences, tokens)
    assert ours == offline


async def test_the_settings_come_first(
    checkpoint: Path, engines: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    device, sequences, tokens = DEVICES[1]
    await start_generator(checkpoint, engine_args={"max_num_seqs": 8})
    await start_generator(checkpoint, engine_args={"performance_mode": "throughput"})
    set_by_user, doubled = (scheduler_of(each, device, monkeypatch) for each in engines)

    assert (set_by_user.max_num_seqs, set_by_user.max_num_batched_tokens) == (8, tokens)
    assert (doubled.max_num_seqs, doubled.max_num_batched_tokens) == (2 * sequences, 2 * tokens)


async def test_gpus_and_the_build_of_vllm_must_go_together(checkpoint: Path) -> None:
    from serve_models.generation.arguments import (  # noqa: PLC0415 -- slow to import
        GeneratorSettingsError,
        check_platform,
    )

    def generator(num_gpus: float) -> GeneratorSettings:
        return GeneratorSettings.model_validate(
            {"kind": "generator", "source": f"path:{checkpoint}", "num_gpus": num_gpus}
        )

    check_platform(generator(0), is_cpu=True, is_gpu=False)
    check_platform(generator(0), is_cpu=False, is_gpu=False)
    check_platform(generator(1), is_cpu=False, is_gpu=True)
    with pytest.raises(GeneratorSettingsError, match="set num_gpus to 1"):
        check_platform(generator(0), is_cpu=False, is_gpu=True)
    with pytest.raises(GeneratorSettingsError, match="make install GPU=1"):
        check_platform(generator(1), is_cpu=True, is_gpu=False)
