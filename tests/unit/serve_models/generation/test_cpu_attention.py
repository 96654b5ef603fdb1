"""Which attention kernel a CPU runs; vLLM is a stand-in here."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from serve_models.generation.cpu_attention import avoid_amx_attention


def stand_in_for_vllm(
    monkeypatch: pytest.MonkeyPatch, *, is_cpu: bool, kernel: str
) -> SimpleNamespace:
    cpu_attn = SimpleNamespace(_get_attn_isa=lambda _dtype, _block_size: kernel)
    platforms: Any = ModuleType("vllm.platforms")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: is_cpu)
    backends: Any = ModuleType("vllm.v1.attention.backends")
    backends.cpu_attn = cpu_attn
    for module in (platforms, backends):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cpu_attn


@pytest.mark.parametrize(
    ("is_cpu", "kernel", "taken"),
    [(True, "amx", "vec"), (True, "vec16", "vec16"), (True, "neon", "neon"), (False, "amx", "amx")],
)
def test_the_kernel_for_amx_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, is_cpu: bool, kernel: str, taken: str
) -> None:
    cpu_attn = stand_in_for_vllm(monkeypatch, is_cpu=is_cpu, kernel=kernel)

    avoid_amx_attention()

    assert cpu_attn._get_attn_isa("bfloat16", 128) == taken
