"""Says what a quantised checkpoint needs to run. Pure; imports no vLLM, as commands ask too.

What vLLM 0.32 runs where is from its kernels: those of its CPU build were tried with checkpoints of
each kind, those of GPUs are listed in its documentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a checkpoint is quantised.

    Attributes:
        name: For a person: the method, and its bits of weights and activations.
        on_cpu: Why vLLM's CPU build does not run it; ``None`` if it does.
        on_gpu: What a GPU needs for it.
    """

    name: str
    on_cpu: str | None
    on_gpu: str


_GONE_METHODS = ("aqlm", "bitsandbytes", "eetq", "gguf", "hqq")
_NO_KERNEL = "vLLM's CPU build has no kernel for it"
_GONE = "vLLM 0.32 no longer loads it; quantise the model with compressed-tensors, AWQ or GPTQ"
_FOUR_BITS = "compute capability 7.5 (Turing) or higher"
_EIGHT_BITS = "compute capability 7.5 (Turing) to 9.0 (Hopper)"
_FP8 = (
    "compute capability 8.9 (Ada, Hopper and later) to compute in FP8; from 7.5 the weights alone "
    "stay in FP8"
)
_FP4 = "compute capability 10.0 (Blackwell) to compute in FP4; from 7.5 the weights alone stay so"


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """Return how a checkpoint is quantised, by its ``config.json``; ``None`` if it is not."""
    section = _section(config)
    return None if section is None else _read_section(section)


def _read_section(section: Mapping[str, Any]) -> Quantization:
    algorithm = str(section.get("quant_algo", "")).lower()
    method = str(section.get("quant_method") or algorithm or "unknown").lower()
    if method in {"awq", "gptq"}:
        return _of_groups(method.upper(), section)
    if method == "compressed-tensors":
        return _of_compressed_tensors(section)
    if method in _GONE_METHODS:
        return Quantization(method, _GONE, f"no GPU helps: {_GONE}")
    if "fp4" in method + algorithm:
        return Quantization(method.upper(), _NO_KERNEL, _FP4)
    if "fp8" in method + algorithm:
        return Quantization("FP8", None if method == "fp8" else _NO_KERNEL, _FP8)
    return Quantization(method, "it is not known whether vLLM's CPU build runs it", "to be tried")


def _section(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for holder in (config, config.get("text_config")):
        if isinstance(holder, Mapping):
            section = holder.get("quantization_config", holder.get("compression_config"))
            if isinstance(section, Mapping):
                return section
    return None


def _of_groups(name: str, section: Mapping[str, Any]) -> Quantization:
    bits = section.get("bits", section.get("w_bit"))
    on_cpu = None if bits == 4 else f"vLLM's CPU build has a kernel for 4 bits, not for {bits}"
    return Quantization(f"{name}, {bits} bits", on_cpu, _FOUR_BITS)


def _of_compressed_tensors(section: Mapping[str, Any]) -> Quantization:
    groups = section.get("config_groups")
    first: Mapping[str, Any] = {}
    if isinstance(groups, Mapping):
        first = next(iter(groups.values()), {})
    weights, inputs = first.get("weights") or {}, first.get("input_activations")
    bits, kind = weights.get("num_bits"), weights.get("type", "int")
    activations = inputs.get("num_bits") if isinstance(inputs, Mapping) else 16
    name = f"compressed-tensors, W{bits}A{activations} {kind}"
    if kind == "float":
        return Quantization(name, None if bits == 8 else _NO_KERNEL, _FP8 if bits == 8 else _FP4)
    if activations == 16:
        on_cpu = None if bits == 4 else f"vLLM's CPU build has a kernel for 4 bits, not for {bits}"
        return Quantization(name, on_cpu, _FOUR_BITS)
    return Quantization(name, None if bits == 8 else _NO_KERNEL, _EIGHT_BITS)
