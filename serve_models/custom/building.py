"""Builds a custom model from its settings, and the server for it."""

import inspect
import os
from importlib import import_module
from numbers import Integral, Real
from typing import Any

from headrace_client.logs.learned import learn_secrets
from schemas.settings.models import CustomModelSettings
from schemas.settings.option_secrets import REFERENCE
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
        model = model_class(**_from_environment(settings.options))
    except TypeError as error:
        raise CustomModelError(
            f"options: {settings.import_path} does not take them: {error}"
        ) from error
    if is_batched:
        _check_batches(settings.import_path, model)
    return model


def _from_environment(value: Any) -> Any:
    """Return options with what the environment has in place of each text ``${NAME}``."""
    if isinstance(value, dict):
        return {key: _from_environment(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_from_environment(each) for each in value]
    if not isinstance(value, str) or not REFERENCE.fullmatch(value):
        return value
    name = value[2:-1]
    if name not in os.environ:
        raise CustomModelError(
            f"options: {value} is not set in the environment of the replica; set {name} in that in "
            "which Ray starts"
        )
    learn_secrets(os.environ[name])
    return os.environ[name]


def _check_batches(import_path: str, model: BatchedModel) -> None:
    for name in ("load", "predict", "size", "probe", "check_health"):
        if inspect.iscoroutinefunction(getattr(model, name)):
            raise CustomModelError(
                f"import_path: {import_path}.{name} is async, and would not be awaited; make it a "
                "plain method, which may run in a thread"
            )
    # A batch of no records would be formed again and again, and its records never answered.
    sizes: dict[str, Any] = {
        "max_batch_records": model.max_batch_records,
        "parallel_batches": model.parallel_batches,
        "max_batch_size": 1 if model.max_batch_size is None else model.max_batch_size,
    }
    for name, size in sizes.items():
        if not isinstance(size, Integral) or not 1 <= int(size) < 2**63:
            raise CustomModelError(
                f"import_path: {import_path}.{name} is {size!r}; set a whole number, at least 1"
            )
    linger_ms: Any = model.outcome_linger_ms
    if not isinstance(linger_ms, Real) or not float(linger_ms) >= 0:
        raise CustomModelError(
            f"import_path: {import_path}.outcome_linger_ms is {linger_ms!r}; set milliseconds, "
            "0 or more"
        )


def serve_custom_model(model: Any, host: Host) -> ChunkServer:
    """Return the server of a custom model. Needs a running event loop."""
    if not isinstance(model, BatchedModel):
        return CustomEngine(model, host)
    engine = serve_batches(model, host)
    engine.start()
    return engine
