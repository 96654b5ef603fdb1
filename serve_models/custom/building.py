"""Builds a custom model from its settings, and the server for it."""

import inspect
from importlib import import_module
from typing import Any

from schemas.settings.models import CustomModelSettings
from serve_models.chunks.chunk_server import ChunkServer, Host
from serve_models.custom.batched_model import BatchedModel
from serve_models.custom.batches import serve_batches
from serve_models.custom.engine import CustomEngine


class CustomModelError(ValueError):
    """The settings name a class that cannot be used; the message names the setting and the fix."""


def build_custom_model(settings: CustomModelSettings) -> Any:
    """Import the class and construct it with the settings' options.

    Raises ``CustomModelError`` if the class is missing, refuses its options, or is no custom model.
    """
    module_name, _, class_name = settings.import_path.partition(":")
    try:
        model_class = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise CustomModelError(
            f"import_path: {settings.import_path} cannot be imported ({error}); it must be "
            "MODULE:CLASS, importable where the replicas run"
        ) from error
    is_batched = inspect.isclass(model_class) and issubclass(model_class, BatchedModel)
    if not is_batched and not inspect.isasyncgenfunction(getattr(model_class, "infer", None)):
        raise CustomModelError(
            f"import_path: {settings.import_path} needs a method `async def infer(self, chunk)` "
            "that yields headrace.sdk.Outcomes, or headrace.sdk.BatchedModel as its base class"
        )
    try:
        return model_class(**settings.options)
    except TypeError as error:
        raise CustomModelError(
            f"options: {settings.import_path} does not take them: {error}"
        ) from error


def serve_custom_model(model: Any, host: Host) -> ChunkServer:
    """Return the server of a custom model. Needs a running event loop."""
    if not isinstance(model, BatchedModel):
        return CustomEngine(model, host)
    engine = serve_batches(model, host)
    engine.start()
    return engine
