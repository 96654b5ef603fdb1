"""The number format that suits a device."""

from typing import Any

import pytest
import torch

from serve_models.devices.dtypes import dtype_in_words, is_quick_cpu, torch_dtype


@pytest.mark.parametrize(
    ("capabilities", "is_quick"),
    [
        ({"avx2": True}, False),
        ({"avx512_f": True, "avx512_vnni": True, "avx512_bf16": False}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"amx_tile": True, "amx_int8": True, "amx_bf16": False}, False),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True, "sve_bf16": True}, True),
        ({}, False),
    ],
)
def test_a_cpu_with_instructions_for_bfloat16_computes_in_it(
    capabilities: dict[str, Any], is_quick: bool
) -> None:
    assert is_quick_cpu(capabilities) is is_quick


@pytest.mark.parametrize("is_quick", [True, False])
def test_auto_is_what_the_device_is_quick_in(
    monkeypatch: pytest.MonkeyPatch, is_quick: bool
) -> None:
    asked: list[bool] = []

    def supports(*, including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return is_quick

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supports)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": is_quick})
    quick = torch.bfloat16 if is_quick else torch.float32
    assert torch_dtype("auto", "cuda") == torch_dtype("auto", "cuda:1") == quick
    assert torch_dtype("auto", "cpu") == quick
    assert torch_dtype("auto", "mps") == torch.float32
    assert not any(asked), "an emulated format is slower than float32"


def test_a_format_that_is_set_is_used_on_any_device() -> None:
    for device in ("cpu", "cuda", "mps"):
        assert torch_dtype("float32", device) == torch.float32
        assert dtype_in_words("float16", device) == "float16"


def test_float32_is_computed_as_float32() -> None:
    """Nothing here turns TF32 on."""
    assert torch.get_float32_matmul_precision() == "highest"
