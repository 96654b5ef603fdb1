"""The engine arguments of a text model on vLLM. Pure."""

from typing import Any, Literal

from pydantic import JsonValue

from schemas.settings.models import GeneratorSettings, TextModelSettings

PoolingTask = Literal["embed", "classify"]


def engine_settings(settings: TextModelSettings) -> GeneratorSettings:
    """Return what the engine's process and place depend on, as a generator's settings."""
    return GeneratorSettings(
        kind="generator",
        source=settings.source,
        trust_remote_code=settings.trust_remote_code,
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        threads=settings.threads,
    )


def pooling_args(settings: TextModelSettings) -> dict[str, JsonValue]:
    """Return the arguments that make vLLM's pooling runner of the settings."""
    chosen: dict[str, Any] = {"runner": "pooling"}
    if settings.dtype != "auto":
        # Else it is vLLM's to choose: the checkpoint's, where the device is good at it.
        chosen["dtype"] = settings.dtype
    if settings.trust_remote_code:
        chosen["trust_remote_code"] = True
    if settings.max_seq_length_tokens is not None:
        chosen["max_model_len"] = settings.max_seq_length_tokens
    return {**chosen, **settings.engine_args}
