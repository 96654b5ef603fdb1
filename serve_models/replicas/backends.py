"""Loads a text model on its backend in a replica."""

import asyncio
import importlib
from pathlib import Path
from typing import Any

from schemas.settings.backends import Backend
from schemas.settings.models import TextModelSettings
from serve_models.generation.engine_process import set_engine_environment
from serve_models.pooling.placement import engine_settings
from serve_models.text.backends.loading import Loaded, load_text_model
from serve_models.text.backends.packages import is_installed
from serve_models.text.backends.pooled import pooled_model
from serve_models.text.models.base import ModelSettingsError


async def load_on(backend: Backend, path: Path, settings: TextModelSettings, device: str) -> Loaded:
    """Load the checkpoint of ``path``; ``ModelSettingsError`` if a setting does not fit it."""
    if backend == "vllm":
        return await load_on_vllm(path, settings)
    return await asyncio.to_thread(load_text_model, path, settings, device, backend)


async def load_on_vllm(path: Path, settings: TextModelSettings) -> Loaded:
    """Load a checkpoint into an engine of vLLM, which belongs to the calling event loop.

    Raises ``ModelSettingsError`` if vLLM is not installed, or cannot run the checkpoint.
    """
    if not is_installed("vllm"):
        raise ModelSettingsError(
            "backend: vllm is not installed here; install headrace[cpu] or headrace[gpu], or set "
            "backend to torch"
        )
    set_engine_environment(engine_settings(settings))
    # vLLM reads its environment when it is imported, and is optional.
    pooling: Any = importlib.import_module("serve_models.pooling.vllm")
    engine = await pooling.VllmPooling.start(settings, path)
    try:
        model = await asyncio.to_thread(pooled_model, path, settings, engine)
    except BaseException:
        engine.shut_down()
        raise
    return Loaded(model, engine.runs_on, engine=engine)
