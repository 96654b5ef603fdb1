"""Where a generator's replica runs: resources, bundles, engine arguments."""

from typing import Any

from pydantic import JsonValue

from schemas.settings.models import GeneratorSettings

_GPU_MEMORY_SHARE = 0.9
"""Of the part of a GPU that a replica has; the rest is for what no one counts."""
_BYTES_PER_GIB = 2**30
_MOST_RENDERERS = 4


def placement_options(settings: GeneratorSettings) -> dict[str, Any]:
    """Return the options of a Serve deployment that place a replica.

    A replica with one worker is one actor. With several GPUs, vLLM makes an actor for each worker
    in a bundle of the replica's placement group; the first bundle also holds the replica's own
    actor, which takes CPUs only. Workers on CPUs are processes on the replica's node.
    """
    workers = settings.workers
    if workers == 1 or settings.num_gpus == 0:
        return {"ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus}}
    first: dict[str, float] = {"CPU": settings.num_cpus, "GPU": 1.0}
    if not settings.num_cpus:
        del first["CPU"]  # Ray refuses a bundle with none of a resource that it names
    others = [{"GPU": 1.0} for _ in range(workers - 1)]
    return {
        "ray_actor_options": {"num_cpus": settings.num_cpus, "num_gpus": 0},
        "placement_group_bundles": [first, *others],
        "placement_group_strategy": placement_strategy(settings),
    }


def placement_strategy(settings: GeneratorSettings) -> str:
    """Return the settings' strategy; where unset, tensor parallelism stays on one node.

    Its workers exchange activations in every layer, which a network between nodes slows many
    times; with PACK Ray spreads them over nodes where none has room for all. The stages of pipeline
    parallelism exchange little, and may run on several nodes.
    """
    if settings.placement_strategy is not None:
        return settings.placement_strategy
    stages = settings.engine_args.get("pipeline_parallel_size", 1)
    return "STRICT_PACK" if stages == 1 else "PACK"


def placed_engine_args(settings: GeneratorSettings) -> dict[str, JsonValue]:
    """Return the engine arguments of the placement, overridden by the settings' own."""
    chosen: dict[str, JsonValue] = {"renderer_num_workers": _renderers(settings.num_cpus)}
    if settings.num_gpus == 0:
        chosen["enforce_eager"] = True
        chosen["kv_cache_memory_bytes"] = int(settings.cpu_kv_cache_gib * _BYTES_PER_GIB)
    elif settings.num_gpus < 1:
        chosen["gpu_memory_utilization"] = round(settings.num_gpus * _GPU_MEMORY_SHARE, 4)
    elif settings.workers > 1:
        chosen["distributed_executor_backend"] = "ray"
    return {**chosen, **settings.engine_args}


def _renderers(num_cpus: float) -> int:
    """Return how many threads apply chat templates and tokenize, beside the engine's own."""
    return max(1, min(_MOST_RENDERERS, int(num_cpus) // 2))
