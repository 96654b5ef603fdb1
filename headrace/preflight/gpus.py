"""Whether the GPUs that the models ask for are there. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.preflight.findings import Finding
from schemas.settings.autoscaling import initial_replicas
from schemas.settings.file import Settings
from schemas.settings.models import GeneratorSettings, ModelSettings, TextModelSettings
from serve_models.generation.placement import placement_strategy

_GPU_BUILDS = "install the CUDA builds (make install GPU=1)"
_MEMORY_SHARE = 0.92
"""vLLM's default ``gpu_memory_utilization``."""


@dataclass(frozen=True, slots=True)
class GpusFound:
    """The GPUs of where the replicas will run.

    Attributes:
        by_node: GPUs of each node; one number for a single machine.
        is_cluster: Whether a Ray cluster runs, which may have an autoscaler.
        has_cuda: Whether PyTorch of this machine is built for CUDA.
        smallest_bytes: Memory of this machine's smallest GPU; 0 where it has none.
    """

    by_node: Sequence[float]
    is_cluster: bool = False
    has_cuda: bool = True
    smallest_bytes: int = 0

    @property
    def total(self) -> float:
        return sum(self.by_node)

    @property
    def where(self) -> str:
        return "the Ray cluster that runs here" if self.is_cluster else "this machine"


def asks_for_gpus(settings: Settings) -> bool:
    return any(
        model.num_gpus or (isinstance(model, TextModelSettings) and model.asks_for_gpu)
        for model in settings.called_models.values()
    )


def uncounted_gpus(settings: Settings) -> list[Finding]:
    """Return a warning for each model whose ``device`` is a GPU that Ray does not count."""
    return [
        Finding(
            "warning",
            "GPUs",
            f"models.{name}.device",
            f"is {model.device}, and num_gpus is 0, so Ray counts no GPU for it: all replicas of "
            "a node use the same one, beside whatever Ray places there",
            "set num_gpus (1, or a fraction), and leave out device",
        )
        for name, model in settings.models.items()
        if isinstance(model, TextModelSettings) and model.asks_for_gpu and not model.num_gpus
    ]


def gpu_findings(
    settings: Settings, found: GpusFound, weight_bytes: Mapping[str, int]
) -> list[Finding]:
    """Return what is wrong with the models' GPUs, or one finding that there are enough.

    ``weight_bytes`` has the size of the weights of models that are on this machine.
    """
    models = {name: model for name, model in settings.called_models.items() if model.num_gpus}
    if not models:
        return []
    findings = [
        finding
        for name, model in models.items()
        for finding in _of_model(name, model, found, weight_bytes.get(name, 0))
    ]
    wanted = sum(_replicas(model) * _gpus(model) for model in models.values())
    if not findings and wanted > found.total + 1e-9:
        findings.append(
            Finding(
                # More may come by autoscaling, and some replicas run in any case.
                "warning" if found.is_cluster else "error",
                "GPUs",
                f"models.{', '.join(models)}.num_gpus",
                f"the replicas ask for {wanted:g} GPUs in all, and {found.where} has "
                f"{found.total:g}: some will wait for room",
                "lower replicas or num_gpus, or add GPUs",
            )
        )
    if not findings:
        says = f"{wanted:g} of {found.total:g} on {found.where}"
        findings.append(Finding("ok", "GPUs", f"models.{', '.join(models)}.num_gpus", says))
    return findings


def _of_model(
    name: str, model: ModelSettings, found: GpusFound, weight_bytes: int
) -> list[Finding]:
    where = f"models.{name}.num_gpus"
    most = max(found.by_node, default=0.0)
    if not found.total:
        fix = "set num_gpus to 0 to run it on a CPU, or start it where there is a GPU"
        if not found.is_cluster and not found.has_cuda:
            fix = f"{_GPU_BUILDS} if there is one: PyTorch here is a CPU build; else set it to 0"
        says = f"is {model.num_gpus:g}, and {found.where} has no GPU"
        # A cluster with an autoscaler may have none yet.
        return [Finding("warning" if found.is_cluster else "error", "GPUs", where, says, fix)]
    if not found.has_cuda and not found.is_cluster:
        says = f"is {model.num_gpus:g}, and PyTorch here is a CPU build"
        return [Finding("error", "GPUs", where, says, _GPU_BUILDS)]
    on_one_node = _gpus_on_one_node(model)
    if on_one_node > most:
        return [
            Finding(
                "warning" if found.is_cluster else "error",
                "GPUs",
                where,
                f"a replica needs {on_one_node:g} GPUs of one node, and the largest of "
                f"{found.where} has {most:g}",
                "lower engine_args.tensor_parallel_size, or set placement_strategy to PACK to "
                "spread its workers over nodes, which is slower",
            )
        ]
    return _of_memory(name, model, found, weight_bytes)


def _of_memory(
    name: str, model: ModelSettings, found: GpusFound, weight_bytes: int
) -> list[Finding]:
    if not isinstance(model, GeneratorSettings) or found.is_cluster or not found.smallest_bytes:
        return []
    share = model.engine_args.get("gpu_memory_utilization", _MEMORY_SHARE)
    room = found.smallest_bytes * (float(share) if isinstance(share, int | float) else 1.0)
    room *= min(model.num_gpus, 1.0) * model.workers
    # Offloaded, or quantised as they load, weights take less than their files.
    shrinks = {"cpu_offload_gb", "quantization"} & set(model.engine_args)
    if weight_bytes <= room or shrinks:
        return []
    return [
        Finding(
            "error",
            "GPUs",
            f"models.{name}.source",
            f"its weights take {weight_bytes / 2**30:.1f} GiB, and its GPUs have room for "
            f"{room / 2**30:.1f}",
            "take a quantised checkpoint, or raise num_gpus and engine_args.tensor_parallel_size",
        )
    ]


def _replicas(model: ModelSettings) -> int:
    return initial_replicas(model.replicas, model.autoscaling, is_set=model.sets_replicas)


def _gpus(model: ModelSettings) -> float:
    if isinstance(model, GeneratorSettings) and model.workers > 1:
        return float(model.workers)
    return model.num_gpus


def _gpus_on_one_node(model: ModelSettings) -> float:
    if not isinstance(model, GeneratorSettings) or model.workers == 1:
        return model.num_gpus
    return float(model.workers) if placement_strategy(model) == "STRICT_PACK" else 1.0
