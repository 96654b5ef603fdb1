"""Which of vLLM's attention kernels a CPU runs.

With vLLM 0.32 on a Xeon with AMX, SmolLM2-135M in bfloat16 answered "What is the capital of
France?" with nonsense. In float32, with Transformers, and with vLLM's AVX-512 kernel in bfloat16 it
says Paris, so the AMX kernel is wrong; matrices of other layers may go through AMX all the same.
"""

from typing import Any


def avoid_amx_attention() -> None:
    """Have vLLM take its AVX-512 kernel where it would take the one for AMX.

    vLLM calls this in each of its processes (a plug-in, see ``pyproject.toml``). On a GPU it does
    nothing.
    """
    # vLLM reads its environment as it is imported, and is there only in its own processes.
    from vllm.platforms import current_platform  # noqa: PLC0415 -- see above

    if not current_platform.is_cpu():
        return
    from vllm.v1.attention.backends import cpu_attn  # noqa: PLC0415 -- there in CPU builds only

    choose = cpu_attn._get_attn_isa  # noqa: SLF001 -- nothing public chooses

    def choose_but_amx(*arguments: Any, **named: Any) -> str:
        chosen: str = choose(*arguments, **named)
        return "vec" if chosen == "amx" else chosen

    cpu_attn._get_attn_isa = choose_but_amx  # noqa: SLF001
