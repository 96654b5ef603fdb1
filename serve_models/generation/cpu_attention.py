"""Chooses the attention kernel that vLLM runs on a CPU.

With vLLM 0.32 on a Xeon with AMX, SmolLM2-135M in bfloat16 answers "What is the capital of France?"
with nonsense. It says Paris in float32, with Transformers, and with vLLM's AVX-512 kernel in
bfloat16. So the AMX kernel of attention is wrong; other layers may use AMX.
"""

from typing import Any


def avoid_amx_attention() -> None:
    """Make vLLM choose its AVX-512 kernel instead of the AMX one; changes nothing on a GPU.

    vLLM calls this in each of its processes (a plug-in, see ``pyproject.toml``).
    """
    # vLLM reads its environment when it is imported.
    from vllm.platforms import current_platform  # noqa: PLC0415 -- see above

    if not current_platform.is_cpu():
        return
    from vllm.v1.attention.backends import cpu_attn  # noqa: PLC0415 -- there in CPU builds only

    choose = cpu_attn._get_attn_isa  # noqa: SLF001 -- nothing public chooses

    def choose_but_amx(*arguments: Any, **named: Any) -> str:
        chosen: str = choose(*arguments, **named)
        return "vec" if chosen == "amx" else chosen

    cpu_attn._get_attn_isa = choose_but_amx  # noqa: SLF001
