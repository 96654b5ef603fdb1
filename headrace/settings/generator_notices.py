"""Says of a settings file's generators what is legal, and may not be what is wanted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from schemas.settings.file import Settings
from schemas.settings.models import GeneratorSettings
from serve_models.generation.quantization import read_quantization

_REASONING_TAKES_S = 120.0
_CONFIG_FILE = "config.json"


def describe_generators(settings: Settings, find: Callable[[str], Path | None]) -> Iterator[str]:
    """Yield a line for each thing to know; ``find`` returns where a source is on this machine."""
    for name, model in settings.models.items():
        if isinstance(model, GeneratorSettings):
            yield from _describe_weights(name, model, find(model.source))
            yield from _describe_times(name, model, settings)


def _describe_weights(name: str, model: GeneratorSettings, directory: Path | None) -> Iterator[str]:
    if directory is None:
        return
    if any(directory.glob("*.gguf")) and not any(directory.glob("*.safetensors")):
        yield (
            f"models.{name}.source: {directory} has GGUF files only, which are not run as they "
            "are; name the safetensors of the same model (AWQ, GPTQ or compressed-tensors for a "
            "quantised one)"
        )
        return
    try:
        config = orjson.loads((directory / _CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return  # What starts the model says what is wrong with it.
    quantization = read_quantization(config) if isinstance(config, dict) else None
    if quantization is None:
        return
    if model.num_gpus:
        yield f"models.{name}.source: {quantization.name}; a GPU needs {quantization.on_gpu}"
    elif quantization.on_cpu is not None:
        yield (
            f"models.{name}.source: {quantization.name}, and {quantization.on_cpu}; set num_gpus "
            f"(a GPU needs {quantization.on_gpu}), or name another checkpoint"
        )
    else:
        yield f"models.{name}.source: {quantization.name}; vLLM's CPU build runs it"


def _describe_times(name: str, model: GeneratorSettings, settings: Settings) -> Iterator[str]:
    if not model.engine_args.get("reasoning_parser"):
        return
    for route_name, route in settings.routes.items():
        is_short = route.drain_timeout_s < _REASONING_TAKES_S
        if is_short and name in settings.models_behind(route.model):
            yield (
                f"routes.{route_name}.drain_timeout_s: a stop waits {route.drain_timeout_s:g} s "
                f"for requests in flight, and {name} reasons (reasoning_parser), which may take "
                "minutes; what is not finished is generated again. Raise it, and "
                f"models.{name}.graceful_shutdown_timeout_s with it"
            )
